"""asr-edge on the device: hear, record, correct, merge. Needs no torch.

from device_app import Transcriber, embedded_bundle

transcript = Transcriber(embedded_bundle()).transcribe(audio, sample_rate)
transcript.text, transcript.words
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_app.models.bundles import embedded_bundle
    from device_app.recognition.families import Word
    from device_app.recognition.transcriber import Stream, Transcriber, Transcript, Update, Utterance

__all__ = ["Stream", "Transcriber", "Transcript", "Update", "Utterance", "Word", "embedded_bundle"]


def __getattr__(name: str) -> Any:
    """Loads the library's parts when they are asked for: `asr-edge --help` needs none of them."""
    if name == "embedded_bundle":
        from device_app.models import bundles as models

        return models.embedded_bundle
    if name == "Word":
        from device_app.recognition import families

        return families.Word
    if name in __all__:
        from device_app.recognition import transcriber

        return getattr(transcriber, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
