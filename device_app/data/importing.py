"""Imports recordings into the store: reads and checks them, and stores them as 16 kHz mono FLAC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Literal

from device_app.audio.samples import SAMPLE_RATE, duration_s
from device_app.data.folders import not_a_file
from device_app.data.manifest import fit_cut
from device_app.data.names import GUARD_SET, checked_text
from device_app.data.overlaps import with_parts
from device_app.data.recordings import is_stored_form, recording_of
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
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
    them and an edit may have been trained on them. `repaired` lists recordings that were imported although a few of
    their samples are no numbers.
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
    with ThreadPoolExecutor(READERS) as pool:
        while batch := list(islice(remaining, BATCH)):
            new: list[Utterance] = []
            for result in pool.map(partial(_read, domain, lower_case, report.repaired.append), batch):
                if isinstance(result, _Skipped):
                    getattr(report, result.kind).append(result.message)
                else:
                    new.append(result)
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


@dataclass(frozen=True)
class _Skipped:
    """A recording that is not imported: the list of the report that it belongs to, and the message."""

    kind: Literal["bad_texts", "unreadable", "too_long"]
    message: str


def _source(one: Utterance) -> str:
    """The file of an utterance; before it the line of the manifest, if others may be parts of the same file."""
    return str(one.audio) if one.is_whole or not one.location else f"{one.location}: {one.audio}"


def _line(one: Utterance) -> str:
    """The file of an utterance, and before it the line that names it, if there is one."""
    return f"{one.location}: {one.audio}" if one.location else str(one.audio)


def _read(
    domain: str | None, lower_case: bool, on_repair: Callable[[str], None], found: Utterance
) -> Utterance | _Skipped:
    """Reads an utterance, checks it and encodes it for the store. Runs in a thread of the pool."""
    source = _line(found)
    text = found.text.lower() if found.text and lower_case else found.text
    try:
        text = None if text is None else _checked_label(text)
    except BadInputError as error:
        return _Skipped("bad_texts", f"{source}: {error}")
    try:
        if (what := not_a_file(found.file)) is not None:
            raise BadAudioError(f"is {what}; name a sound file")
        whole_s = duration_s(found.file)
        try:
            found = fit_cut(found, lambda _path: whole_s)
        except BadInputError as error:
            return _Skipped("unreadable", f"{source}: {error}")
        length_s = (whole_s if found.end is None else found.end / SAMPLE_RATE) - found.start / SAMPLE_RATE
        if length_s > MAX_UTTERANCE_S:  # from the header, so that recordings that are too long are not decoded
            return _too_long(source, length_s)
        audio = found.read(on_repair)
    except BadAudioError as error:
        reason = str(error).removeprefix(f"{source}: ").removeprefix(f"{found.audio}: ")
        return _Skipped("unreadable", f"{source}: {reason}")
    if len(audio) > (MAX_UTTERANCE_S + TOLERANCE_S) * SAMPLE_RATE:  # the header may give no length, or a wrong one
        return _too_long(source, len(audio) / SAMPLE_RATE)
    flac = found.file.read_bytes() if found.is_whole and is_stored_form(found.file) else None
    return replace(found, text=text, domain=domain or found.domain, recording=recording_of(audio, flac))


def _checked_label(text: str) -> str:
    """Checks a text as `checked_text` does; it must also have a letter or digit.

    Raises:
        BadInputError: it has none, such as "..." where nobody wrote the text, or is not valid.
    """
    text = checked_text(text)
    if not any(character.isalnum() for character in text):
        raise BadInputError(f"the text {one_line(text)!r} has no word; write what is said, or leave the text empty")
    return text


def _too_long(source: str, length_s: float) -> _Skipped:
    return _Skipped("too_long", f"{source}: {length_s:.1f} s long; {MAX_UTTERANCE_S:g} s is the maximum")
