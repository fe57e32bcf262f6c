"""Manifests: recordings and their transcripts, one JSON object per line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from device_app.data.folders import not_a_file, table_in
from device_app.data.names import cleaned_name, one_spaced
from device_app.data.text_files import read_text, split_lines
from device_app.data.utterance import Utterance
from editing.errors import BadAudioError, BadInputError, one_line
from editing.json_text import is_number, parse_json, shown

# The keys of NeMo, of Moonshine and Hugging Face datasets, and of audiofolder's metadata.jsonl, in this order.
AUDIO_KEYS = ("audio_filepath", "audio", "file_name")
MAX_TEXT_CHARS = 200_000  # about four hours of speech; to score a longer text takes minutes
TEXT_KEYS = ("text", "transcription", "sentence")
FILE_NAME = "manifest.jsonl"  # of the manifest, where the path given is a folder
MAX_PATH_LENGTH, MAX_FILE_NAME_LENGTH = 4096, 255  # bytes, on Linux
MAX_DURATION_S = 1e7  # seconds (115 days); a larger offset or duration is an error


def read_manifest(path: Path, split: str | None = None) -> list[Utterance]:
    """Reads a manifest as NeMo, Moonshine and Hugging Face tools write it.

    A line has "audio_filepath", "audio" or "file_name" (absolute, or relative to the manifest) and "text"
    or "transcription"; optionally "speaker", "split", "id", and "offset" and "duration" in seconds,
    which select a part of the recording. A field that is null counts as absent.

    Args:
        path: the manifest, or a folder with `manifest.jsonl`.
        split: read only lines of this split.

    Raises:
        BadInputError: the manifest cannot be read, a line does not have the form above, a recording is
            missing, a part is outside its recording, an id is not unique, or no utterance is left.
            The message names the line.
    """
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a name is too long)
        path = table_in(path, FILE_NAME) or path / FILE_NAME
    utterances = list(read_lines(path, needs_text=True))
    for one in utterances:
        if (reason := not_a_file(one.file)) is not None:
            raise BadInputError(f"{one.location}: {one.audio}: is {reason}; name a sound file")
        if not os.path.isfile(one.file):  # noqa: PTH113 (as above)
            raise BadInputError(f"{one.location}: the recording {one.audio} is missing")
    chosen = [one for one in utterances if split is None or one.split == split]
    if not chosen:
        splits = sorted({one.split for one in utterances} - {""})
        of_split = f" of split {split!r} (it has {', '.join(splits) or 'no splits'})" if split else ""
        raise BadInputError(f"{path}: has no utterances{of_split}")
    twice = [identity for identity, count in Counter(one.id for one in chosen).items() if count > 1]
    if twice:
        raise BadInputError(f'{path}: {twice[0]!r} occurs more than once; give each line a unique "id"')
    return _fitted(chosen)


def read_lines(path: Path, *, needs_text: bool = False, only_inside: bool = False) -> Iterator[Utterance]:
    """Reads the utterances of a manifest, whether or not their recordings exist.

    Args:
        path: the manifest.
        needs_text: a line without a text is an error; otherwise it is an utterance without a label.
        only_inside: a relative path that leads out of the manifest's folder is an error, as in a corpus of others.

    Raises:
        BadInputError: the manifest cannot be read, or a line does not have the form of `read_manifest`.
    """
    if not os.path.exists(path):  # noqa: PTH110 (as above)
        raise BadInputError(f"{path}: there is no such manifest")
    for number, line in enumerate(split_lines(read_text(path)), 1):
        if line.strip():
            yield _utterance(path, number, line, needs_text=needs_text, only_inside=only_inside)


def path_of(folder: Path, name: str, location: str, *, only_inside: bool = True) -> Path:
    """Returns the path of a file that a corpus names: absolute, or relative to the corpus and inside its folder.

    Symbolic links in the corpus may point outside it: the Hugging Face cache, DVC and git-annex
    store recordings elsewhere.

    Args:
        folder: the folder of the corpus.
        name: the name of the file as the corpus writes it.
        location: the file and line of the name, for the error message.
        only_inside: a relative name that leads out of the folder is an error.

    Raises:
        BadInputError: the name is empty, cannot be the name of a file, or leads out of the folder.
    """
    if not _is_file_name(name):
        raise BadInputError(f"{location}: {shown(name)} cannot be the name of a recording")
    inner = Path(os.path.normpath(name))
    if only_inside and inner.parts[:1] == (os.pardir,):
        real = os.path.realpath(folder)
        inside = os.path.relpath(os.path.join(real, inner), real)  # noqa: PTH118 (as Path, "a/../b" stays)
        if Path(inside).parts[0] == os.pardir:
            raise BadInputError(
                f"{location}: {one_line(name)} points outside the folder; put the table beside the recordings, or "
                "write absolute paths"
            )
        return folder / inside
    return folder / inner


def _is_file_name(name: str) -> bool:
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    is_short = len(encoded) < MAX_PATH_LENGTH and max(map(len, encoded.split(b"/"))) <= MAX_FILE_NAME_LENGTH
    return bool(name.strip()) and b"\0" not in encoded and is_short


def fit_cut(utterance: Utterance, length_s: Callable[[Path], float]) -> Utterance:
    """Checks that the part of a recording that an utterance selects lies inside the recording.

    Args:
        utterance: an utterance of any manifest.
        length_s: returns the length of a recording in seconds, 0 if it is unknown.

    Returns:
        The utterance; its `end` is None if the part ends with the recording.

    Raises:
        BadInputError: the part is not inside the recording.
        BadAudioError: the recording cannot be read.
    """
    from device_app.data.cuts import fit  # numpy is slow to import

    if utterance.is_whole:
        return utterance
    start, end = fit(utterance.start, utterance.end, length_s(utterance.file))
    return replace(utterance, start=start, end=end)


def _fitted(utterances: Sequence[Utterance]) -> list[Utterance]:
    from device_app.audio.samples import duration_s

    length_s = cache(duration_s)  # many lines may name one recording
    fitted = []
    for one in utterances:
        try:
            fitted.append(fit_cut(one, length_s))
        except BadAudioError:  # reported when the recording is read
            fitted.append(one)
        except BadInputError as error:
            raise BadInputError(f"{one.location}: {one.audio}: {error}") from None
    return fitted


def _utterance(manifest: Path, number: int, line: str, *, needs_text: bool, only_inside: bool) -> Utterance:
    location = f"{manifest}, line {number}"
    try:
        record: Any = parse_json(line, unique=True)
    except ValueError as error:
        raise BadInputError(f"{location}: not JSON ({error}); expected one object a line") from error
    if not isinstance(record, dict):
        hint = "; write each element of the list on a line of its own" if isinstance(record, list) else ""
        raise BadInputError(f"{location}: {shown(record)}; expected a JSON object{hint}")
    record = {key: value for key, value in record.items() if value is not None}
    audio = _first(record, AUDIO_KEYS)
    text = _first(record, TEXT_KEYS)
    if audio is None or audio == "":
        raise BadInputError(f'{location}: has no "audio" (or "audio_filepath")')
    if text is None and needs_text:
        raise BadInputError(f'{location}: has no "text"')
    if not isinstance(audio, str):
        raise BadInputError(f"{location}: {shown(audio)} as a recording; expected its path as a string")
    if text is not None and not isinstance(text, str):
        raise BadInputError(f"{location}: {shown(text)} as a text; expected a string")
    if text is not None and len(text) > MAX_TEXT_CHARS:
        raise BadInputError(f"{location}: a text of {len(text):,} characters; {MAX_TEXT_CHARS:,} is the maximum")
    start, end = cut_of(record, location)
    return Utterance(
        id=_name(record, "id", location) or _default_id(audio, record),
        audio=path_of(manifest.parent, audio, location, only_inside=only_inside),
        start=start,
        end=end,
        text=_checked_unicode(one_spaced(text or ""), "text", location) or None,
        speaker=cleaned_name(_name(record, "speaker", location)) or None,
        split=_name(record, "split", location),
        location=location,
    )


def _first(record: dict[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of these keys that a record has; an empty text only if no other key has a value."""
    values = [record[key] for key in keys if key in record]
    return next((value for value in values if not isinstance(value, str) or value.strip()), next(iter(values), None))


def _name(record: dict[str, Any], key: str, location: str) -> str:
    """Returns a field with a text or a number as a text; "" if the field is absent."""
    value = record.get(key, "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadInputError(f'{location}: "{key}" is {shown(value)}; expected a text')
    return _checked_unicode(str(value), key, location)


def _checked_unicode(text: str, key: str, location: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInputError(f'{location}: "{key}" contains half of a surrogate pair') from None
    return text


def cut_of(record: Mapping[str, Any], location: str) -> tuple[int, int | None]:
    """Start and end, in samples at 16 kHz, of the part that "offset" and "duration" select; an end of None is open.

    Raises:
        BadInputError: "offset" or "duration" is no number of seconds. The message begins with `location`.
    """
    from device_app.audio.samples import SAMPLE_RATE

    for key in ("offset", "duration"):
        value = record.get(key, 1)  # 1 is valid for both: an absent key is no error
        if not is_number(value) or not 0 <= value <= MAX_DURATION_S or (key == "duration" and not value):
            least = "above 0" if key == "duration" else "from 0"
            raise BadInputError(
                f'{location}: "{key}" is {shown(value)}; expected seconds, a number {least} to {MAX_DURATION_S:,.0f}'
            )
    start = round(record.get("offset", 0) * SAMPLE_RATE)
    if "duration" not in record:
        return start, None
    return start, round((record.get("offset", 0) + record["duration"]) * SAMPLE_RATE)


def _default_id(audio: str, record: dict[str, Any]) -> str:
    """The id of a line without one: the path as the line has it, and the part in seconds unless it begins at 0."""
    if not record.get("offset"):
        return audio
    return f"{audio}@{record['offset']:.3f}" + (f"+{record['duration']:.3f}" if "duration" in record else "")
