"""Networks of Brevitas' modules in memory."""

from toolchain.importers.brevitas_format.importing import (
    import_brevitas,
    is_brevitas_network,
    read_brevitas,
)

__all__ = ["import_brevitas", "is_brevitas_network", "read_brevitas"]
