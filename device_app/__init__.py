"""asr-edge on the device: record, transcribe, correct, merge. Needs no torch.

from device_app import Transcriber, embedded_bundle

transcript = Transcriber(embedded_bundle()).transcribe(audio, sample_rate)
transcript.text, transcript.words
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_app.models.bundles import embedded_bundle
    from device_app.recognition.results import Transcript, TranscriptSegment, Update, Word
    from device_app.recognition.stream import Stream
    from device_app.recognition.transcriber import Transcriber

__all__ = ["Stream", "Transcriber", "Transcript", "TranscriptSegment", "Update", "Word", "embedded_bundle"]

_MODULES = {
    "Stream": "device_app.recognition.stream",
    "Transcriber": "device_app.recognition.transcriber",
    "Transcript": "device_app.recognition.results",
    "TranscriptSegment": "device_app.recognition.results",
    "Update": "device_app.recognition.results",
    "Word": "device_app.recognition.results",
    "embedded_bundle": "device_app.models.bundles",
}


def __getattr__(name: str) -> Any:
    """Imports a public name's module when the name is first used: `asr-edge --help` needs none of them."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
