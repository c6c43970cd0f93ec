"""ONNX files: quantize, clip and dequantize; QONNX; and plain ReLU networks."""

from toolchain.importers.onnx_format.importing import import_onnx, read_onnx

__all__ = ["import_onnx", "read_onnx"]
