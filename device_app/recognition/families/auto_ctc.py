"""CTC models of transformers on ONNX Runtime: as for a conformer-ctc, one graph from audio to log-probabilities."""

from device_app.recognition.families.conformer_ctc import load

__all__ = ["load"]
