"""Recognised segments of a recording, kept beside its output until that is written.

A long transcription that was interrupted, even by a power cut, continues where it stopped: the audio is read again,
which is fast, and segments that were recognised before are not recognised again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.terms import Term
from device_app.recognition.families import Recogniser
from device_app.recognition.results import Recognition, Word
from editing.errors import StorageError
from editing.files import is_stream
from editing.json_text import is_number, parse_json, read_bounded

SUFFIX = ".unfinished"
KIND = "asr-edge unfinished transcript"
MIN_SPEECH_S = 60.0  # of speech; to recognise less again takes seconds, so there is no file for it
MAX_BYTES = 1 << 28  # about 300 hours of speech; a larger file is left alone


class UnfinishedTranscript:
    """The segments of one recording that have been recognised so far.

    A segment is found by the SHA-256 of its audio, so a result is reused only for the same samples. The first line of
    the file identifies the model and its options; results of others are ignored and replaced. A file of that name which
    asr-edge did not write is left alone. Where the file cannot be written, the transcription continues without it.
    Matches of keyterms (`Recognition.terms`) are not stored: the interrupted run has counted their use, and they must
    not count twice.
    """

    def __init__(self, output: Path, identity: str) -> None:
        """
        Args:
            output: the file of the transcript; results are kept in `output` + ".unfinished".
            identity: identifies the model and its options (`Transcriber.identity`).
        """
        self.path = output.with_name(output.name + SUFFIX)
        self.has_file = False  # whether the file exists and is one of asr-edge
        self._header = {"kind": KIND, "identity": identity}
        self.known: dict[str, Recognition] = {}  # by the SHA-256 of the segment's audio
        self._waiting: list[bytes] = []  # lines that are not in the file yet
        self._speech_s = 0.0  # recognised so far in this run, or found here
        self._size = 0  # bytes of whole lines in the file; what follows is the damaged end of an interrupted write
        self._can_store = not _is_stream(output)
        if self._can_store:
            self._read()

    def wrap(self, recogniser: Recogniser) -> Recogniser:
        """Returns a recogniser that looks results up here first, and adds new ones."""
        return _CachingRecogniser(recogniser, self)

    def find(self, audio: Samples) -> Recognition | None:
        """The result for a segment of audio, (samples,) at 16 kHz, if there is one."""
        found = self.known.get(_key(audio))
        if found is not None:
            self._speech_s += len(audio) / SAMPLE_RATE
        return found

    def add(self, audio: Samples, recognition: Recognition) -> None:
        """Appends the result for a segment of audio, (samples,) at 16 kHz."""
        if not self._can_store:
            return
        words = [[w.text, float(w.start_s), float(w.end_s), float(w.confidence)] for w in recognition.words]
        self._waiting.append(_line({"audio": _key(audio), "text": recognition.text, "words": words}))
        self._speech_s += len(audio) / SAMPLE_RATE
        if self._speech_s >= MIN_SPEECH_S:
            self._write()

    def remove(self) -> None:
        """Removes the file, once the transcript has been written."""
        if self.has_file:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        """Reads the file, if there is one. One that cannot be read, or is not of asr-edge, is left alone."""
        try:
            if not self.path.exists() and not self.path.is_symlink():
                return
            if self.path.is_symlink() or not self.path.is_file():
                self._can_store = False
                return
            lines = read_bounded(self.path, MAX_BYTES).splitlines(keepends=True)
        except (OSError, ValueError):
            self._can_store = False
            return
        header = _parsed(lines[0]) if lines else {}
        if header.get("kind") != KIND:
            self._can_store = False
            return
        self.has_file = True
        if header != self._header:
            return
        self._size = len(lines[0])
        for line in lines[1:]:
            entry = _entry(_parsed(line))
            if entry is None or not line.endswith(b"\n"):  # the last line of a process that was killed
                break
            self.known[entry[0]] = entry[1]
            self._size += len(line)

    def _write(self) -> None:
        """Appends the waiting lines to the file; replaces a file of another model or other options."""
        if not self._size:
            self._waiting.insert(0, _line(self._header))
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self.has_file = True
            with open(descriptor, "r+b") as file:  # noqa: PTH123 (it is a descriptor)
                file.truncate(self._size)
                file.seek(self._size)
                file.writelines(self._waiting)
                file.flush()  # a full disk fails here, not in `tell`
                self._size = file.tell()
        except OSError:
            self._can_store = False
            if not self._size:  # without its first line, the file would not be known as one of asr-edge
                self.remove()
                self.has_file = False
        self._waiting.clear()


class _CachingRecogniser:
    """Looks a result up before it recognises, and stores new ones."""

    def __init__(self, recogniser: Recogniser, results: UnfinishedTranscript) -> None:
        self._recogniser = recogniser
        self._results = results

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        return self._recogniser.log_probabilities(audio, text)

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> Recogniser:
        """A recogniser without stored results, because those are of the keyterms in `UnfinishedTranscript.identity`."""
        return self._recogniser.with_keyterms(keyterms)

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        return self._recogniser.text_loss(log_probabilities, text)

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        found = self._results.find(audio)
        if found is None:
            found = self._recogniser.recognise(audio, is_draft=is_draft)
            if not is_draft:
                self._results.add(audio, found)
        return found


def _is_stream(output: Path) -> bool:
    """Whether the output is a pipe or a device, beside which no file is kept."""
    try:
        return is_stream(output)
    except StorageError:  # reported when the output is written
        return True


def _key(audio: Samples) -> str:
    return hashlib.sha256(audio.tobytes()).hexdigest()


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _parsed(line: bytes) -> Mapping[str, object]:
    """The JSON object in a line; an empty one if the line is damaged."""
    try:
        record = parse_json(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _entry(record: Mapping[str, object]) -> tuple[str, Recognition] | None:
    """The key and the result of a line; None if it is damaged."""
    match record:
        case {"audio": str(key), "text": str(text), "words": list(words)}:
            pass
        case _:
            return None
    found = []
    for word in words:
        match word:
            case [str(spelling), start, end, confidence] if all(map(is_number, word[1:])):
                found.append(Word(spelling, float(start), float(end), float(confidence)))
            case _:
                return None
    return key, Recognition(text, found)
