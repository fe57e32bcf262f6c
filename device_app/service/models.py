"""The models that the service offers: for each profile the active version, with the profile's terms.

When the active version or the list of terms changes, the new transcriber is loaded beside the old one, which serves
until the new one is ready. Requests keep the transcriber that they began with.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from device_app.data.terms import FILE, stored_terms
from device_app.data.terms.usage import UsageCounter
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger, edited, ledger_files
from device_app.paths import data_folder, in_profile
from device_app.profiles import profiles
from device_app.recognition.options import DecodingOptions
from device_app.recognition.results import TranscriptSegment
from device_app.recognition.transcriber import Transcriber
from editing.errors import AsrEdgeError, BadInputError, one_line
from export.bundle import WEIGHTS

NAME = "asr-edge"  # of the default model, in requests
MOST_LOADED = 4  # profiles; the least recently used one is unloaded

log = logging.getLogger(__name__)

FileStates = tuple[object, ...]  # the metadata of each watched file, or None; equal while no file changes


class UnknownModelError(BadInputError):
    """There is no such model."""

    @classmethod
    def of(cls, name: str, names: Iterable[str]) -> Self:
        """The error for a name that is not one of the names."""
        return cls(f"there is no model {one_line(name, 100)!r}; choose one of: {', '.join(names)}")


class TermCounts:
    """Counts how often the terms of a profile match; see `device_app.data.terms.usage`."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._counter = UsageCounter()
        self._lock = threading.Lock()

    def add(self, segments: Iterable[TranscriptSegment]) -> None:
        """Counts the terms in segments."""
        matches = [(term.term, term.is_helped) for segment in segments for term in segment.terms]
        self._attempt(lambda: self._counter.add(matches))

    def write(self) -> None:
        """Adds to the file what was counted since the last call."""
        self._attempt(self._counter.write)

    def _attempt(self, count: Callable[[], None]) -> None:
        try:
            with self._lock, in_profile(self._profile):
                count()
        except AsrEdgeError as error:
            log.warning("matches of terms are not counted: %s", type(error).__name__)


@dataclass(frozen=True)
class Loaded:
    """A profile's model in memory.

    Attributes:
        profile: empty for the main data folder.
        version: its number in the ledger; 0 is the base.
        watched: the files that decide the transcriber: the ledger and the list of terms.
        file_states: the states of these files when the transcriber was loaded.
        term_counts: counts the owner's terms that match.
    """

    profile: str
    version: int
    transcriber: Transcriber
    watched: Sequence[Path]
    file_states: FileStates
    term_counts: TermCounts


class Models:
    """Loads the models of profiles, and replaces them when they change. Methods may be called in any thread."""

    def __init__(self, base: str | None = None, only: str | None = None) -> None:
        """
        Args:
            base: an installed model or the folder of a bundle; None is the embedded one.
            only: the one profile to serve; None serves the main data folder and all profiles.

        Raises:
            BundleError: there is no such model.
        """
        self._base, self._only = base, only
        self._folder = find_bundle(base).folder
        self._loaded: dict[str, Loaded] = {}  # by profile, the least recently used first
        self._failed: dict[str, FileStates] = {}  # by profile: of a version that could not be loaded
        self._counts: dict[str, TermCounts] = {}  # by profile
        self._reloading: set[str] = set()  # profiles whose new version is being loaded in a thread
        self._lock = threading.Lock()  # of the attributes above; held for moments only
        self._loading = threading.Lock()  # held while a model is loaded, so one at a time

    @property
    def base(self) -> str | None:
        """The installed model or the folder of the bundle that is served; None is the embedded one."""
        return self._base

    @property
    def folder(self) -> Path:
        """The folder of the model that is served."""
        return self._folder

    def names(self) -> list[str]:
        """The names by which requests choose a profile: "asr-edge", or "asr-edge:NAME" for the profile NAME."""
        if self._only is not None:
            return [NAME]
        return [NAME, *(f"{NAME}:{profile}" for profile in profiles())]

    def languages(self) -> Mapping[str, str]:
        """The language of each model's text, a code of ISO 639, by the model's name. Reads files.

        Raises:
            AsrEdgeError: a model cannot be read.
        """
        return {name: self._language(self.profile_of(name)) for name in self.names()}

    def _language(self, profile: str) -> str:
        with in_profile(profile):
            return find_bundle(self._base).language

    def profile_of(self, model: str) -> str:
        """The profile that a model's name means; other names without a colon, such as "whisper-1", mean the default.

        Raises:
            UnknownModelError: there is no such profile.
        """
        head, is_profile, profile = model.partition(":")
        if not is_profile:
            return self._only or ""
        if head != NAME or model not in self.names():
            raise UnknownModelError.of(model, self.names())
        return profile

    def get(self, model: str = NAME) -> Loaded:
        """The model in memory; loads it first if it is not. May take seconds: call it in a thread.

        Raises:
            UnknownModelError: there is no such profile.
            AsrEdgeError: it cannot be loaded.
        """
        profile = self.profile_of(model)
        with self._lock:
            found = self._loaded.pop(profile, None)
            if found is not None:
                self._loaded[profile] = found  # the most recently used
        if found is None:
            return self._load_first(profile)
        states = _file_states(found.watched)
        if states != found.file_states and states != self._failed.get(profile):
            self._replace_later(profile, states)
        return found

    def close(self) -> None:
        """Writes what is kept in memory: how often terms have matched."""
        for counts in self._counts.values():
            counts.write()

    def _load_first(self, profile: str) -> Loaded:
        with self._loading:
            with self._lock:
                found = self._loaded.get(profile)
            return found if found is not None else self._load(profile)

    def _replace_later(self, profile: str, states: FileStates) -> None:
        """Loads the new version in a thread of its own, unless one does so already.

        Args:
            profile: the profile.
            states: the states of its files, which differ from those of the version in memory.
        """
        with self._lock:
            if profile in self._reloading:
                return
            self._reloading.add(profile)
        context = contextvars.copy_context()
        arguments = (self._replace, profile, states)
        threading.Thread(target=context.run, args=arguments, name="asr-edge-load", daemon=True).start()

    def _replace(self, profile: str, states: FileStates) -> None:
        try:
            with self._loading:
                loaded = self._load(profile)
            log.info("version %d is active", loaded.version)
        except AsrEdgeError as error:  # the version before serves on
            log.warning("the new version could not be loaded: %s", type(error).__name__)
            with self._lock:
                self._failed[profile] = states  # not those of now: a change meanwhile is a reason to try again
        finally:
            self._reloading.discard(profile)

    def _load(self, profile: str) -> Loaded:
        with in_profile(profile):
            base = find_bundle(self._base)
            has_versions = WEIGHTS in base.files  # an exported model has none
            watched = [data_folder() / FILE, *([ledger_files(base).ledger] if has_versions else [])]
            states = _file_states(watched)  # before reading, so that a change meanwhile is seen at the next request
            terms = stored_terms()
            options = DecodingOptions(keyterms=terms.terms, replacements=terms.replacements)
            version = Ledger(base).current.id if has_versions else 0
            transcriber = Transcriber(edited(base, version), options=options, is_shared=True)
        counts = self._counts.setdefault(profile, TermCounts(profile))
        loaded = Loaded(profile, version, transcriber, watched, states, counts)
        with self._lock:
            self._failed.pop(profile, None)
            self._loaded[profile] = loaded
            while len(self._loaded) > MOST_LOADED:
                del self._loaded[next(iter(self._loaded))]
        return loaded


def _file_states(watched: Sequence[Path]) -> FileStates:
    """The states of the files that decide the transcriber of a profile."""
    return tuple(map(_metadata, watched))


def _metadata(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of the last change; None if the file does not exist or cannot be examined."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
