"""Import of NIR graphs: spiking networks of snnTorch, SpikingJelly, sinabs and others."""

from toolchain.importers.nir_format.importer import import_nir

__all__ = ["import_nir"]
