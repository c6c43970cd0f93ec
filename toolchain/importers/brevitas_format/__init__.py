"""Networks of Brevitas' modules in memory."""

from toolchain.importers.brevitas_format.importing import import_brevitas, read_brevitas

__all__ = ["import_brevitas", "read_brevitas"]
