"""Fashion-MNIST from its IDX files (Xiao et al., 2017): 70,000 28x28 grey images of 10 garments."""

from __future__ import annotations

from pathlib import Path

from toolchain.datasets.dataset import Dataset, data_folder
from toolchain.datasets.idx import FIRST_FILE, load_idx_folder


def load_fashion_mnist(limit_bytes: int) -> Dataset:
    """Read the data set from its four files, plain or compressed."""
    folder = data_folder(
        "fashion-mnist",
        FIRST_FILE,
        "On Debian or Ubuntu: apt install dataset-fashion-mnist; otherwise download the four "
        "*-ubyte.gz files of github.com/zalandoresearch/fashion-mnist",
        Path("/usr/share/datasets/fashion-mnist"),
    )
    return load_idx_folder(folder, limit_bytes, name="fashion-mnist", num_classes=10)
