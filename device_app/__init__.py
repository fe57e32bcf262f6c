"""asr-edge on the device: transcribe with the model that this machine's owner has adapted. Needs no torch.

```python
from pathlib import Path

from device_app import Transcriber, my_model

transcript = Transcriber(my_model()).transcribe_file(Path("talk.flac"))
print(transcript.text)
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editing.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from device_app.audio.vad import SegmentSettings
    from device_app.models.active import my_model
    from device_app.models.bundles import embedded_bundle
    from device_app.recognition.ngram import NGram
    from device_app.recognition.options import DecodingOptions
    from device_app.recognition.results import Transcript, TranscriptSegment, Update, Word
    from device_app.recognition.stream import Stream
    from device_app.recognition.transcriber import Transcriber
    from editing.errors import (
        AsrEdgeError,
        BadAudioError,
        BadInputError,
        BundleError,
        IncompleteAudioError,
        StorageError,
    )

__all__ = [
    "AsrEdgeError",
    "BadAudioError",
    "BadInputError",
    "BundleError",
    "DecodingOptions",
    "IncompleteAudioError",
    "NGram",
    "SegmentSettings",
    "StorageError",
    "Stream",
    "Transcriber",
    "Transcript",
    "TranscriptSegment",
    "Update",
    "Word",
    "embedded_bundle",
    "my_model",
]

_MODULES = {
    "AsrEdgeError": "editing.errors",
    "BadAudioError": "editing.errors",
    "BadInputError": "editing.errors",
    "BundleError": "editing.errors",
    "DecodingOptions": "device_app.recognition.options",
    "IncompleteAudioError": "editing.errors",
    "NGram": "device_app.recognition.ngram",
    "SegmentSettings": "device_app.audio.vad",
    "StorageError": "editing.errors",
    "Stream": "device_app.recognition.stream",
    "Transcriber": "device_app.recognition.transcriber",
    "Transcript": "device_app.recognition.results",
    "TranscriptSegment": "device_app.recognition.results",
    "Update": "device_app.recognition.results",
    "Word": "device_app.recognition.results",
    "embedded_bundle": "device_app.models.bundles",
    "my_model": "device_app.models.active",
}

__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
