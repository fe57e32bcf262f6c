"""Recordings from elsewhere -> utterances of the store: read, checked, and kept as 16 kHz mono FLAC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from device_app.audio.samples import duration_s
from device_app.data.names import checked_text
from device_app.data.recordings import is_stored_form, recording_of
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from editing.errors import BadAudioError, BadInputError, one_line

LONGEST_S = 30.0  # what the recogniser was made for; a longer clip cannot be learnt from in one piece
BATCH = 64  # utterances that are confirmed together
CAPITALS_SHARE = 0.95


@dataclass
class ImportReport:
    """What became of the utterances; lists hold a line for each recording that was left out.

    `other_texts` are those of the duplicates whose text is not the stored one, which was kept.
    """

    imported: int = 0
    unlabelled: int = 0
    seconds: float = 0.0
    duplicates: list[str] = field(default_factory=list)
    other_texts: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    bad_texts: list[str] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)


def import_utterances(
    store: Store,
    utterances: Sequence[Utterance],
    domain: str | None,
    *,
    lower_case: bool = False,
    on_done: Callable[[int], None] = lambda _count: None,
) -> ImportReport:
    """Keeps the utterances, a batch at a time: memory stays flat, and each batch is confirmed.

    After a kill, importing again goes on where it stopped, as recordings that the domain has
    already are passed over.

    Args:
        store: where they go.
        utterances: as `find_utterances` lists them.
        domain: where they belong; None for what the corpus says.
        lower_case: write all texts in lower case.
        on_done: called with how many more have been dealt with.

    Raises:
        StorageError: the disk is full or cannot be written; what was confirmed before is kept.
    """
    report = ImportReport()
    speakers: dict[str, set[str]] = defaultdict(set)
    for one in utterances:
        if one.speaker is not None:
            speakers[domain or one.domain].add(one.speaker)
    for name, speaking in speakers.items():
        store.expect_speakers(name, speaking)
    remaining = iter(utterances)
    with ThreadPoolExecutor(2) as pool:
        while batch := list(islice(remaining, BATCH)):
            new: list[Utterance] = []
            for one, result in zip(batch, pool.map(partial(_read, domain, lower_case), batch), strict=True):
                if isinstance(result, _LeftOut):
                    result.where(report).append(f"{one.audio}: {result.reason}")
                else:
                    new.append(result)
            _count(report, store, new, store.add(new))
            on_done(len(batch))
    return report


def _count(report: ImportReport, store: Store, new: Sequence[Utterance], stored: Sequence[StoredUtterance]) -> None:
    kept = {(one.domain, one.sha256) for one in stored}
    for one in new:
        key = (one.domain, one.recorded.sha256)
        if key not in kept:  # the domain has it, or another process was faster
            report.duplicates.append(str(one.audio))
            report.other_texts += _other_text(one, store.find(*key))
            continue
        kept.remove(key)
        report.imported += 1
        report.seconds += one.recorded.duration_s
        report.unlabelled += one.text is None


def _other_text(one: Utterance, there: StoredUtterance | None) -> list[str]:
    """A line if the recording is stored with another text than it comes with."""
    if there is None or one.text is None or one.text == there.text:
        return []
    kept = "without a text" if there.text is None else f"with the text {one_line(there.text)!r}, which was kept"
    return [
        f"{one.place or one.audio}: {one_line(one.text)!r}: stored as utterance {there.number} {kept}; "
        f"to change it: asr-edge label set {there.number} TEXT"
    ]


def is_all_capitals(utterances: Sequence[Utterance]) -> bool:
    """Whether the corpus was published in capitals, so that its case says nothing."""
    texts = [one.text for one in utterances if one.text and any(letter.isalpha() for letter in one.text)]
    return bool(texts) and sum(text.isupper() for text in texts) >= CAPITALS_SHARE * len(texts)


@dataclass(frozen=True)
class _LeftOut:
    where: Callable[[ImportReport], list[str]]
    reason: str


def _read(domain: str | None, lower_case: bool, found: Utterance) -> Utterance | _LeftOut:
    text = found.text.lower() if found.text and lower_case else found.text
    try:
        text = None if text is None else checked_text(text)
    except BadInputError as error:
        return _LeftOut(lambda report: report.bad_texts, str(error))
    try:
        length_s = duration_s(found.file)
        if length_s > LONGEST_S:  # known from the header: an hour of audio is not decoded to be refused
            return _LeftOut(lambda report: report.too_long, f"{length_s:.1f} s; {LONGEST_S:g} s is the most")
        audio = found.read()
    except BadAudioError as error:
        return _LeftOut(lambda report: report.unreadable, str(error).removeprefix(f"{found.audio}: "))
    flac = found.file.read_bytes() if is_stored_form(found.file) else None
    return replace(found, text=text, domain=domain or found.domain, recording=recording_of(audio, flac))
