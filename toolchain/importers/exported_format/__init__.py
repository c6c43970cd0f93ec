"""Programs of ``torch.export``: quantized by pt2e or torchao, with our quantizers, or with plain ReLUs."""

from toolchain.importers.exported_format.importing import import_exported, read_exported

__all__ = ["import_exported", "read_exported"]
