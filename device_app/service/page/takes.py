"""Takes that the browser sends: decoded, measured and recognised."""

from __future__ import annotations

import hashlib
import io
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE
from device_app.audio.vad import VoiceActivity
from device_app.data.importing import MAX_UTTERANCE_S, TOLERANCE_S
from device_app.data.recordings import as_stored
from device_app.recognition.results import Word
from device_app.recognition.transcriber import Transcriber
from device_app.recording.quality import measure
from device_app.recording.session import Take
from device_app.service.errors import ServiceError
from editing.errors import BadAudioError

LARGEST = 16 << 20  # bytes of a WAV file: 30 s of 16-bit stereo at 96 kHz have 11 MB
KEPT = 16  # takes that are remembered between their check and their saving
MAX_SILENCE_S = 1.0  # by which a take may be longer than an utterance, because the silence at its ends is cut off
WAV_FORMATS = ("WAV", "WAVEX")  # libsndfile's names: with a header of the usual kind, and of the extensible one


@dataclass(frozen=True)
class CheckedTake:
    """A take and the words that were recognised in it."""

    take: Take
    words: list[Word]


class Takes:
    """Decodes, measures and recognises takes; remembers the last ones, as each is checked first and saved later."""

    def __init__(self) -> None:
        # By the sha256 of the file and the transcriber. Weak references: a model that was replaced is not kept, and a
        # new one at its address is another key.
        self._known: OrderedDict[tuple[str, weakref.ref[Transcriber]], CheckedTake] = OrderedDict()
        self._voice = VoiceActivity()

    def checked(self, wav: bytes, transcriber: Transcriber) -> CheckedTake:
        """The take in a WAV file, recognised by the transcriber; takes seconds unless it is remembered.

        Raises:
            BadAudioError: it is not a WAV file, is empty, or has more speech than an utterance may have.
        """
        key = (hashlib.sha256(wav).hexdigest(), weakref.ref(transcriber))
        found = self._known.get(key)
        if found is None:
            raw, rate = _decoded(wav)
            audio, quality = measure(raw, rate, self._voice)
            if len(audio) > (MAX_UTTERANCE_S + TOLERANCE_S) * SAMPLE_RATE:
                raise _too_long()
            # The samples that are stored, so that Correct recognises the same.
            transcript = transcriber.transcribe(as_stored(audio), SAMPLE_RATE)
            # As decoded, before replacements, because it is compared with what was said.
            text = " ".join(segment.decoded_text for segment in transcript.segments)
            found = CheckedTake(Take(audio, quality, text, transcript.confidence), transcript.words)
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found


async def received(request: Request) -> bytes:
    """The body of a request, a WAV file.

    Raises:
        ServiceError: it is larger than any take, or is declared as another kind of file.
    """
    if request.headers.get("content-type") != "audio/wav":
        raise ServiceError(415, "the take must be a WAV file (audio/wav)")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise ServiceError(413, f"the take is too large; at most {LARGEST} bytes are accepted")
    return bytes(body)


def _decoded(wav: bytes) -> tuple[NDArray[Any], float]:
    """The samples, (samples,) or (samples, channels), as float32, and their rate in Hz.

    Raises:
        BadAudioError: as `Takes.checked`.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            if file.format not in WAV_FORMATS:
                raise BadAudioError("the take is not a WAV file")
            if file.frames > (MAX_UTTERANCE_S + MAX_SILENCE_S) * file.samplerate:
                raise _too_long()
            return file.read(dtype="float32", always_2d=False), float(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise BadAudioError(f"the take cannot be read ({error})") from error


def _too_long() -> BadAudioError:
    return BadAudioError(f"the take is too long; {MAX_UTTERANCE_S:g} s is the maximum")
