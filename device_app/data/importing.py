"""Recordings from elsewhere -> utterances of the store: read, checked, and kept as 16 kHz mono FLAC."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples, duration_s, encode, level_dbfs, read
from device_app.data.corpora import Candidate
from device_app.data.names import checked_text
from device_app.data.store import NewUtterance, Source, Store
from editing.errors import BadAudioError, BadInputError

LONGEST_S = 30.0  # what the recogniser was made for; a longer clip cannot be learnt from in one piece
BATCH = 64  # utterances that are confirmed together
FULL_SCALE = 0.999
CAPITALS_SHARE = 0.95


@dataclass
class ImportReport:
    """What became of the candidates; lists hold a line for each recording that was left out."""

    imported: int = 0
    unlabelled: int = 0
    seconds: float = 0.0
    duplicates: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    bad_texts: list[str] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)


def import_candidates(
    store: Store,
    candidates: Sequence[Candidate],
    domain: str | None,
    *,
    lower_case: bool = False,
    on_done: Callable[[int], None] = lambda _count: None,
) -> ImportReport:
    """Keeps the candidates, a batch at a time: memory stays flat, and each batch is confirmed.

    After a kill, importing again goes on where it stopped, as recordings that the domain has
    already are passed over.

    Args:
        store: where they go.
        candidates: as `find_candidates` lists them.
        domain: where they belong; None for what the corpus says.
        lower_case: write all texts in lower case.
        on_done: called with how many more have been dealt with.

    Raises:
        StorageError: the disk is full or cannot be written; what was confirmed before is kept.
    """
    report = ImportReport()
    speakers: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        if candidate.speaker is not None:
            speakers[_domain_of(candidate, domain)].add(candidate.speaker)
    for name, speaking in speakers.items():
        store.expect_speakers(name, speaking)
    remaining = iter(candidates)
    with ThreadPoolExecutor(2) as pool:
        while batch := list(islice(remaining, BATCH)):
            results = pool.map(lambda candidate: _read(candidate, domain, lower_case), batch)
            new: list[tuple[Candidate, NewUtterance]] = []
            for candidate, result in zip(batch, results, strict=True):
                if isinstance(result, _LeftOut):
                    result.where(report).append(f"{candidate.audio}: {result.reason}")
                else:
                    new.append((candidate, result))
            kept = {(u.domain, u.sha256) for u in store.add([utterance for _, utterance in new])}
            for candidate, utterance in new:
                key = (utterance.domain, utterance.sha256)
                if key not in kept:  # the domain has it, or another process was faster
                    report.duplicates.append(str(candidate.audio))
                    continue
                kept.remove(key)
                report.imported += 1
                report.seconds += utterance.duration_s
                report.unlabelled += utterance.text is None
            on_done(len(batch))
    return report


def is_all_capitals(candidates: Sequence[Candidate]) -> bool:
    """Whether the corpus was published in capitals, so that its case says nothing."""
    texts = [c.text for c in candidates if c.text and any(letter.isalpha() for letter in c.text)]
    return bool(texts) and sum(text.isupper() for text in texts) >= CAPITALS_SHARE * len(texts)


def new_utterance(
    audio: Samples,
    *,
    domain: str,
    text: str | None,
    speaker: str | None,
    source: Source,
    flac: bytes | None = None,
    held_out: bool = False,
    heard: str | None = None,
    confidence: float | None = None,
) -> NewUtterance:
    """An utterance with its figures.

    Args:
        audio: (samples,) at 16 kHz.
        domain, text, speaker, source, held_out, heard, confidence: as in `NewUtterance`.
        flac: the audio as a FLAC file, where there is one already.
    """
    peak = float(np.abs(audio).max(initial=0))
    return NewUtterance(
        domain=domain,
        audio=encode(audio) if flac is None else flac,
        text=text,
        source=source,
        duration_s=len(audio) / SAMPLE_RATE,
        level_dbfs=_finite(level_dbfs(audio)),
        peak_dbfs=_finite(20 * math.log10(peak) if peak > 0 else -math.inf),
        clipped=float(np.mean(np.abs(audio) >= FULL_SCALE)),
        speaker=speaker,
        held_out=held_out,
        heard=heard,
        confidence=confidence,
    )


@dataclass(frozen=True)
class _LeftOut:
    where: Callable[[ImportReport], list[str]]
    reason: str


def _read(candidate: Candidate, domain: str | None, lower_case: bool) -> NewUtterance | _LeftOut:
    text = candidate.text.lower() if candidate.text and lower_case else candidate.text
    try:
        text = None if text is None else checked_text(text)
    except BadInputError as error:
        return _LeftOut(lambda report: report.bad_texts, str(error))
    try:
        length_s = duration_s(candidate.audio)
        if length_s > LONGEST_S:  # known from the header: an hour of audio is not decoded to be refused
            return _LeftOut(lambda report: report.too_long, f"{length_s:.1f} s; {LONGEST_S:g} s is the most")
        audio = read(candidate.audio)
    except BadAudioError as error:
        return _LeftOut(lambda report: report.unreadable, str(error).removeprefix(f"{candidate.audio}: "))
    return new_utterance(
        audio,
        domain=_domain_of(candidate, domain),
        text=text,
        speaker=candidate.speaker,
        source="imported",
        flac=candidate.audio.read_bytes() if is_stored_form(candidate.audio) else None,
        held_out=candidate.held_out,
    )


def _domain_of(candidate: Candidate, domain: str | None) -> str:
    return domain or candidate.domain or ""


def is_stored_form(path: Path) -> bool:
    """Whether a file is as the store keeps its own, so that its bytes can be taken over."""
    import soundfile

    information = soundfile.info(path)
    form = (information.format, information.subtype, information.samplerate, information.channels)
    return form == ("FLAC", "PCM_16", SAMPLE_RATE, 1)


def _finite(decibels: float) -> float:
    return max(decibels, -200.0)  # of digital silence
