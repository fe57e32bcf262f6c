"""Exports torch models as weightless ONNX graphs, one module a family. Only this folder of the package needs torch.

The initialisers of a graph are named exactly as the model's parameters and have no data: each
refers to `weights.safetensors` as ONNX external data without an offset. A merge on the device
therefore only needs numpy on that file, and a new ONNX file needs neither torch nor tracing
(`export.bake`).
"""
