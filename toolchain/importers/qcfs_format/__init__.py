"""Checkpoints of the public QCFS code."""

from toolchain.importers.qcfs_format.importing import NORMALIZATIONS, load_qcfs_network

__all__ = ["NORMALIZATIONS", "load_qcfs_network"]
