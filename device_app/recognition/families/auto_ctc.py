"""CTC models of transformers on ONNX Runtime: as a conformer-ctc, audio to log-probabilities."""

from device_app.recognition.families.conformer_ctc import load

__all__ = ["load"]
