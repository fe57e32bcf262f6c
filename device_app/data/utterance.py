"""One type for an utterance, from a manifest's line to a training batch.

Each stage adds its results with `dataclasses.replace` and renames no field. Two subclasses add fields that are always
set in their stage: `StoredUtterance` here, and `TrainingUtterance` in `trainer.training.data`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from editing.errors import BadAudioError

if TYPE_CHECKING:
    from device_app.audio.samples import Samples  # numpy is slow to import
    from device_app.data.cuts import CutReader

Source = Literal["recorded", "imported", "corrected"]
Split = Literal["train", "test"]

# How corpora name their splits: "test", "dev-clean", "validation[:10%]", "Train", "devtest", "unseen_test", "tst2013".
_HELD_OUT = "testing|test|tst|development|devel|dev|validation|valid|val|evaluation|eval|heldout|holdout|held"
_PART = "set|data|split|part|clean|other|seen|unseen|common|mini|small"
HELD_OUT = re.compile(rf"(?:{_PART})*(?:{_HELD_OUT})+(?:{_PART})*|train(?:{_HELD_OUT})")
TRAINING = re.compile(rf"(?:{_PART})*(?:training|train|trn)(?:{_PART})*")
HELD_OUT_OF_TRAINING = ["train", "dev"]  # "train_dev" in the recipes of Kaldi; the rest is "train_nodev"

MIN_CONFIDENCE = 0.8  # hypotheses and words with a lower confidence are shown as unsure; chosen, not measured


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording to store, with its measurements.

    Attributes:
        flac: the whole FLAC file, 16 kHz, mono.
        duration_s: duration of the audio in seconds.
        level_dbfs, peak_dbfs: loudness (RMS) and peak in dB relative to full scale.
        clipped: fraction of samples that are clipped: at full scale, or, where it was recorded here, in a flat peak.
        snr_db: signal-to-noise ratio; None if it was not measured.
    """

    flac: bytes = field(repr=False)
    duration_s: float
    level_dbfs: float
    peak_dbfs: float
    clipped: float
    snr_db: float | None = None

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the FLAC file in hexadecimal."""
        return hashlib.sha256(self.flac).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """An utterance and its metadata.

    Attributes:
        audio: its file, of any format and sampling rate, which may be missing; None if there is no file yet.
        samples: (samples,) at 16 kHz: the audio, if it is in memory already.
        start, end: the part of the audio to use, in samples at 16 kHz; all of it by default.
        recording: the FLAC file to write into the store.
        text: the reference transcript; None if it is not labelled.
        id: its name in its manifest or corpus, or "".
        speaker: a name, or None.
        domain: the domain's name, or "" if it is unknown.
        split: the split's name in the corpus, or "".
        part: the split of the parts of its recording that overlap it, if neither the corpus nor the speaker decides.
        location: manifest and line, for error messages.
        source: how it was added.
        prompt: the sentence that the speaker was asked to read; `text` may have been edited since.
        hypothesis: the recogniser's transcript.
        confidence: the confidence of the hypothesis, from 0 to 1.
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
    part: Split | None = None
    location: str = ""
    source: Source = "imported"
    prompt: str | None = None
    hypothesis: str | None = None
    confidence: float | None = None

    @property
    def file(self) -> Path:
        """Its audio file.

        Raises:
            ValueError: it has none, which is a mistake in the program.
        """
        if self.audio is None:
            raise ValueError(f"the utterance {self.id or self.text!r} has no file")
        return self.audio

    @property
    def recorded(self) -> Recording:
        """The FLAC file to write into the store.

        Raises:
            ValueError: it has none, which is a mistake in the program.
        """
        if self.recording is None:
            raise ValueError(f"the utterance {self.id or self.text!r} has no recording to store")
        return self.recording

    @property
    def transcript(self) -> str:
        """The reference transcript; "" if it is not labelled."""
        return self.text or ""

    @property
    def is_held_out(self) -> bool:
        """Whether the corpus assigns it to a split that must never be used for training."""
        return self._split_kind == "test"

    @property
    def is_for_training(self) -> bool:
        """Whether the corpus assigns it to the training split."""
        return self._split_kind == "train"

    @property
    def has_split(self) -> bool:
        """Whether the corpus assigns it to a split."""
        return self._split_kind is not None

    @property
    def _split_kind(self) -> Split | None:
        """What the first word of the split's name says that is known."""
        words = re.findall("[a-z]+", self.split.lower())
        for word in words:
            if HELD_OUT.fullmatch(word) or words[:2] == HELD_OUT_OF_TRAINING:
                return "test"
            if TRAINING.fullmatch(word):
                return "train"
        return None

    @property
    def is_whole(self) -> bool:
        """Whether it uses the whole recording."""
        return self.start == 0 and self.end is None

    def read(
        self, on_repair: Callable[[str], None] = lambda _message: None, reader: CutReader | None = None
    ) -> Samples:
        """Reads the audio from `start` to `end`: (samples,) at 16 kHz, mono.

        Args:
            on_repair: called with a message if a few samples are no numbers, and were read as 0.
            reader: reads the parts of recordings; one reader for many utterances does not decode from the beginning of
                the recording for each.

        Raises:
            BadAudioError: the file cannot be read, or the part is outside it.
        """
        if self.samples is not None:
            return self.samples[self.start : self.end]
        if self.is_whole:
            from device_app.audio.samples import read

            return read(self.file, on_repair)
        from device_app.data.cuts import read_cut

        try:
            return (read_cut if reader is None else reader.read)(self.file, self.start, self.end, on_repair)
        except BadAudioError as error:  # other lines may be parts of the same file
            raise BadAudioError(f"{self.location}: {error}" if self.location else str(error)) from error

    def base_fields(self) -> dict[str, Any]:
        """The fields of `Utterance` by name, from which a stage builds a subclass with more fields."""
        return {one.name: getattr(self, one.name) for one in fields(Utterance)}

    def in_memory(self) -> Self:
        """A copy whose audio is in memory, so that it is read only once.

        Raises:
            BadAudioError: as for `read`.
        """
        samples = self.read()
        return replace(self, samples=samples, start=0, end=None if self.end is None else len(samples))


@dataclass(frozen=True, kw_only=True)
class StoredUtterance(Utterance):
    """An utterance in the store.

    Attributes:
        audio: its FLAC file.
        split: training or held out; it never changes from "test" to "train".
        number: the number of its row; never reused.
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

    def read(
        self, on_repair: Callable[[str], None] = lambda _message: None, reader: CutReader | None = None
    ) -> Samples:
        """As `Utterance.read`; the error of a missing or damaged file names the command that repairs the store."""
        try:
            return super().read(on_repair, reader)
        except BadAudioError as error:
            raise BadAudioError(f"{error}; 'asr-edge doctor' says what can be done") from error

    def record(self) -> dict[str, Any]:
        """Its metadata for JSON; the keys are those of the quarantine's files and of `dataset show --json`."""
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
