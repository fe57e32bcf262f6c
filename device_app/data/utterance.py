"""The one type for an utterance, from a manifest's line to a training batch.

A stage adds what it finds out with `dataclasses.replace`, and renames nothing. Two subclasses add fields that their
stage always has: `StoredUtterance` here, and `TrainingUtterance` in `trainer.training.data`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from device_app.audio.samples import Samples  # numpy is slow to import

Source = Literal["recorded", "imported", "corrected"]
Split = Literal["train", "test"]

HELD_OUT: Collection[str] = ("test", "dev", "valid", "validation")  # splits that are not for training


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording that is to be stored, and what is measured of it.

    Attributes:
        flac: the whole FLAC file, 16 kHz, mono.
        duration_s: of the audio.
        level_dbfs, peak_dbfs: loudness and peak in dB below full scale.
        clipped: share of samples at full scale, or flat at the top.
        snr_db: speech to noise, where it was measured.
    """

    flac: bytes = field(repr=False)
    duration_s: float
    level_dbfs: float
    peak_dbfs: float
    clipped: float
    snr_db: float | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the FLAC file, in hexadecimal."""
        return hashlib.sha256(self.flac).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Speech, and what is known of it.

    Attributes:
        audio: its file, of any format and sampling rate, which may be missing; None where there is none yet.
        samples: (samples,) at 16 kHz: the audio where it is in memory, read or changed already.
        start, end: the part of the audio that counts, in samples at 16 kHz; all of it by default.
        recording: the FLAC file that the store is to write.
        text: the reference transcript; None where it is not labelled.
        id: its name in its manifest or corpus, or "".
        speaker: a name, or None.
        domain: the domain's name, or "" where none is known.
        split: the part of the corpus, as the corpus names it, or "".
        place: manifest and line, for error messages.
        source: how it came to be on this machine.
        prompt: the sentence that was to be read; `text` may have been edited since.
        hypothesis: what a recogniser makes of it.
        confidence: how sure that recogniser is, from 0 to 1.
    """

    audio: Path | None = None
    samples: Samples | None = field(default=None, repr=False, compare=False)
    start: int = 0
    end: int | None = None
    recording: Recording | None = None
    text: str | None = None
    id: str = ""
    speaker: str | None = None
    domain: str = ""
    split: str = ""
    place: str = ""
    source: Source = "imported"
    prompt: str | None = None
    hypothesis: str | None = None
    confidence: float | None = None

    @property
    def file(self) -> Path:
        """Its audio file.

        Raises:
            ValueError: there is none; a mistake in the program.
        """
        if self.audio is None:
            raise ValueError(f"the utterance {self.id or self.text!r} has no file")
        return self.audio

    @property
    def recorded(self) -> Recording:
        """The FLAC file that the store is to write.

        Raises:
            ValueError: there is none; a mistake in the program.
        """
        if self.recording is None:
            raise ValueError(f"the utterance {self.id or self.text!r} has no recording to be stored")
        return self.recording

    @property
    def transcript(self) -> str:
        """The reference transcript; "" where it is not labelled."""
        return self.text or ""

    @property
    def is_held_out(self) -> bool:
        """Whether its split is one that must never be trained on."""
        return self.split in HELD_OUT

    def read(self) -> Samples:
        """(samples,) at 16 kHz, from `start` to `end`.

        Raises:
            BadAudioError: the file cannot be read.
        """
        from device_app.audio.samples import read

        audio = read(self.file) if self.samples is None else self.samples
        return audio[self.start : self.end]

    def known(self) -> dict[str, Any]:
        """What every utterance has, by field: for a stage whose type adds to it."""
        return {one.name: getattr(self, one.name) for one in fields(Utterance)}


@dataclass(frozen=True, kw_only=True)
class StoredUtterance(Utterance):
    """An utterance in the store, which has a number, a file and a part.

    Attributes:
        audio: its FLAC file.
        split: the part that it belongs to, once and for all.
        number: of its row; never given twice.
        sha256: of the FLAC file.
        created: ISO 8601, UTC.
        duration_s, level_dbfs, peak_dbfs, clipped, snr_db: as in `Recording`.
    """

    audio: Path
    split: Split
    number: int
    sha256: str
    created: str
    duration_s: float
    level_dbfs: float | None = None
    peak_dbfs: float | None = None
    clipped: float | None = None
    snr_db: float | None = None

    def record(self) -> dict[str, Any]:
        """What is known of it, JSON-able; the keys are those of the quarantine's files and `dataset show --json`."""
        return {
            "id": self.number,
            "domain": self.domain,
            "speaker": self.speaker,
            "text": self.text,
            "source": self.source,
            "split": self.split,
            "audio": str(self.audio),
            "sha256": self.sha256,
            "created": self.created,
            "duration_s": self.duration_s,
            "level_dbfs": self.level_dbfs,
            "peak_dbfs": self.peak_dbfs,
            "clipped": self.clipped,
            "hypothesis": self.hypothesis,
            "confidence": self.confidence,
            "prompt": self.prompt,
            "snr_db": self.snr_db,
        }
