"""Autoregressive models on ONNX Runtime: an encoder graph, and a graph of one decoder step."""
