"""Imports recordings into the store: reads and checks them, and stores them as 16 kHz mono FLAC."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Literal

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.cuts import CutReader
from device_app.data.folders import not_a_file
from device_app.data.manifest import fit_cut
from device_app.data.names import GUARD_SET, checked_label
from device_app.data.overlaps import with_parts
from device_app.data.recordings import is_stored_form, recording_of
from device_app.data.store import Store
from device_app.data.utterance import Recording, StoredUtterance, Utterance
from editing.errors import BadAudioError, BadInputError, one_line

MAX_UTTERANCE_S = 30.0  # the longest segment that the recogniser supports and is fine-tuned on
TOLERANCE_S = 0.1  # a recording of the maximal length may have a few samples more after resampling
BATCH = 64  # utterances in a transaction
READERS = 2  # threads that read and encode the recordings of a batch
# A corpus of at least so many texts, of which at least this share is in capitals, is published in capitals.
MIN_CAPITAL_TEXTS = 10
CAPITALS_SHARE = 0.95


@dataclass
class ImportReport:
    """The result of an import; each list has one message per utterance that was skipped.

    A message begins with the line of the manifest or table, if there is one, and the file. Those in `duplicates` have
    the line only where it selects a part of the file, and nothing else; `other_texts` lists those whose text differs
    from the stored text, which is kept. `in_domains` lists recordings not added to the guard set, because a domain has
    them and an edit may have been trained on them. `first_tracks` lists recordings in files with several
    audio tracks, of which only the first was read. `repaired` lists recordings that were imported although a few
    of their samples are no numbers.
    """

    imported: int = 0
    unlabelled: int = 0
    seconds: float = 0.0
    duplicates: list[str] = field(default_factory=list)
    other_texts: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    bad_texts: list[str] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)
    in_domains: list[str] = field(default_factory=list)
    first_tracks: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


def import_utterances(
    store: Store,
    utterances: Sequence[Utterance],
    domain: str | None,
    *,
    lower_case: bool = False,
    on_done: Callable[[int], None] = lambda _count: None,
) -> ImportReport:
    """Stores the utterances in batches, each in one transaction, so that memory use does not grow.

    If the process is killed, the same import continues where it stopped, because recordings that the
    domain already has are skipped. If the corpus assigns utterances to a held-out split, all its other
    utterances are for training. If no utterance is held out, the store splits those without a split.

    Args:
        store: the store.
        utterances: as `find_utterances` lists them.
        domain: the domain of all utterances; None uses the domains that the corpus assigns.
        lower_case: convert all texts to lower case.
        on_done: called with the number of utterances processed since the last call.

    Raises:
        BadInputError: the name of a domain or speaker is invalid; earlier batches stay stored.
        StorageError: the disk is full or cannot be written; earlier batches stay stored.
    """
    report = ImportReport()
    if any(one.is_held_out for one in utterances):
        utterances = [one if one.is_held_out else replace(one, split="train") for one in utterances]
    speakers: dict[str, set[str]] = defaultdict(set)
    utterances = with_parts(utterances)
    for one in utterances:
        if one.speaker is not None and not one.has_split:
            speakers[domain or one.domain].add(one.speaker)
    for name, names_of_speakers in speakers.items():
        store.split_speakers(name, names_of_speakers)
    remaining = iter(utterances)
    with CutReader() as reader, ThreadPoolExecutor(READERS) as pool:
        while batch := list(islice(remaining, BATCH)):
            labelled = _checked_texts(report, batch, lower_case, needs_text=domain == GUARD_SET)
            new = [replace(one, domain=domain or one.domain) for one in _read(report, labelled, reader, pool)]
            new = [one for one in new if not _is_in_domain(report, store, one)]
            _count(report, store, new, store.add(new))
            on_done(len(batch))
    return report


def _is_in_domain(report: ImportReport, store: Store, one: Utterance) -> bool:
    """Whether a recording for the guard set is in a domain already; the report then says in which."""
    if one.domain != GUARD_SET:
        return False
    same = [stored for stored in store.with_sha256(one.recorded.sha256) if stored.domain != GUARD_SET]
    if same:
        report.in_domains.append(f"{_source(one)}: is utterance {same[0].number} of {same[0].domain!r}")
    return bool(same)


def _count(report: ImportReport, store: Store, new: Sequence[Utterance], stored: Sequence[StoredUtterance]) -> None:
    """Counts the utterances of a batch in the report: `stored` are those of `new` that the store took."""
    added = {(one.domain, one.sha256) for one in stored}
    for one in new:
        key = (one.domain, one.recorded.sha256)
        if key not in added:  # the domain already had it, or another process has just added it
            report.duplicates.append(_source(one))
            report.other_texts += _other_text(one, store.find(*key))
            continue
        added.remove(key)  # a second one of this batch is a duplicate
        report.imported += 1
        report.seconds += one.recorded.duration_s
        report.unlabelled += one.text is None


def _other_text(one: Utterance, stored: StoredUtterance | None) -> list[str]:
    """A message if the stored text of the recording differs from the new one; otherwise none."""
    if stored is None or one.text is None or one.text == stored.text:
        return []
    kept = "without a text" if stored.text is None else f"with the text {one_line(stored.text)!r}, which is unchanged"
    return [
        f"{one.location or one.audio}: {one_line(one.text)!r}: already stored as utterance {stored.number} {kept}; "
        f"to change it: asr-edge label set {stored.number} TEXT"
    ]


def is_all_capitals(utterances: Sequence[Utterance]) -> bool:
    """Whether the corpus is published in capitals, so that its case has no meaning.

    A few texts do not show that: one may be an abbreviation.
    """
    texts = [one.text for one in utterances if one.text and any(letter.isalpha() for letter in one.text)]
    return len(texts) >= MIN_CAPITAL_TEXTS and sum(text.isupper() for text in texts) >= CAPITALS_SHARE * len(texts)


def _source(one: Utterance) -> str:
    """The file of an utterance; before it the line of the manifest, if others may be parts of the same file."""
    return str(one.audio) if one.is_whole or not one.location else f"{one.location}: {one.audio}"


def _line(one: Utterance) -> str:
    """The file of an utterance, and before it the line that names it, if there is one."""
    return f"{one.location}: {one.audio}" if one.location else str(one.audio)


def _checked_texts(
    report: ImportReport, batch: Sequence[Utterance], lower_case: bool, *, needs_text: bool
) -> list[Utterance]:
    """The utterances with their texts as they are stored; those whose text is refused go to the report."""
    checked = []
    for one in batch:
        text = one.text.lower() if one.text and lower_case else one.text
        try:
            if text is None and needs_text:
                raise BadInputError("has no text; write what is said")
            label = None if text is None else checked_label(text, may_be_empty=not needs_text)
            checked.append(replace(one, text=label))
        except BadInputError as error:
            report.bad_texts.append(f"{_line(one)}: {error}")
    return checked


@dataclass(frozen=True)
class _Part:
    """A part of a recording, read for the store.

    Attributes:
        start, end: in samples at 16 kHz; the end is None where the part reaches the end of the recording.
        recording: the encoded audio; None if it is not imported.
        kind: otherwise the list of the report for it.
        reason: why it is not imported.
        repairs: messages about invalid samples.
        tracks: audio tracks of the file, of which the first was read; 0 if that is not known.
    """

    start: int = 0
    end: int | None = None
    recording: Recording | None = None
    kind: Literal["unreadable", "too_long"] = "unreadable"
    reason: str = ""
    repairs: Sequence[str] = ()
    tracks: int = 1


@dataclass(frozen=True)
class _Queue:
    """One utterance for each part of a recording, in the order in which the parts are read: one thread at a time."""

    utterances: deque[Utterance]
    lock: AbstractContextManager[object] = field(default_factory=Lock)


def _read(
    report: ImportReport, batch: Sequence[Utterance], reader: CutReader, pool: ThreadPoolExecutor
) -> list[Utterance]:
    """Reads and encodes the utterances of a batch; those that are not imported go to the report.

    Utterances with the same part of a recording share one reading.
    """
    distinct = {_key(one): one for one in batch}
    queues: list[_Queue] = []
    for _path, keys in groupby(sorted(distinct, key=_order), key=itemgetter(0)):
        utterances = deque(distinct[key] for key in keys)
        queues += [_Queue(utterances)] * len(utterances)
    parts = dict(pool.map(partial(_read_next, reader), queues))
    read = []
    for one in batch:
        part = parts[_key(one)]
        report.repaired += part.repairs
        if part.recording is None:
            getattr(report, part.kind).append(f"{_line(one)}: {part.reason}")
        else:
            read.append(replace(one, start=part.start, end=part.end, recording=part.recording))
            if part.tracks > 1:
                report.first_tracks.append(f"{_line(one)}: has {part.tracks} audio tracks")
    return read


_Key = tuple[Path, int, int | None]  # a file, and the part of it in samples at 16 kHz


def _key(one: Utterance) -> _Key:
    return one.file, one.start, one.end


def _order(key: _Key) -> tuple[Path, int, float]:
    path, start, end = key
    return path, start, math.inf if end is None else end


def _read_next(reader: CutReader, queue: _Queue) -> tuple[_Key, _Part]:
    """Reads the next part of a recording and encodes it. Runs in a thread of the pool."""
    with queue.lock:
        found = queue.utterances.popleft()
        part, audio = _loaded(reader, found)
    if audio is not None:
        fitted = replace(found, start=part.start, end=part.end)
        flac = fitted.file.read_bytes() if fitted.is_whole and is_stored_form(fitted.file) else None
        part = replace(part, recording=recording_of(audio, flac))
    return _key(found), part


def _loaded(reader: CutReader, found: Utterance) -> tuple[_Part, Samples | None]:
    """A part of a recording without its encoded audio, and its audio, (samples,) at 16 kHz; None if it is refused."""
    source = _line(found)
    repairs: list[str] = []
    try:
        if (what := not_a_file(found.file)) is not None:
            raise BadAudioError(f"is {what}; name a sound file")
        whole_s = reader.duration_s(found.file)
        found = fit_cut(found, lambda _path: whole_s)
        length_s = (whole_s if found.end is None else found.end / SAMPLE_RATE) - found.start / SAMPLE_RATE
        if length_s > MAX_UTTERANCE_S:  # from the header, so that recordings that are too long are not decoded
            return _too_long(length_s), None
        audio = found.read(repairs.append, reader)
    except BadInputError as error:
        reason = str(error).removeprefix(f"{source}: ").removeprefix(f"{found.audio}: ")
        return _Part(reason=reason), None
    if len(audio) > (MAX_UTTERANCE_S + TOLERANCE_S) * SAMPLE_RATE:  # the header may give no length, or a wrong one
        return replace(_too_long(len(audio) / SAMPLE_RATE), repairs=repairs), None
    return _Part(start=found.start, end=found.end, repairs=repairs, tracks=reader.tracks(found.file)), audio


def _too_long(length_s: float) -> _Part:
    return _Part(kind="too_long", reason=f"{length_s:.1f} s long; {MAX_UTTERANCE_S:g} s is the maximum")
