"""Fashion-MNIST from its IDX files (Xiao et al., 2017): 70,000 28x28 grey images of 10 garments."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset, data_folder
from toolchain.errors import DataError

_UNSIGNED_BYTE = 0x08  # the element type in an IDX header


def load_fashion_mnist() -> Dataset:
    """Read the data set from its four files, plain or compressed."""
    folder = data_folder(
        "fashion-mnist",
        "train-images-idx3-ubyte",
        "On Debian or Ubuntu: apt install dataset-fashion-mnist; otherwise download the four "
        "*-ubyte.gz files of github.com/zalandoresearch/fashion-mnist",
        Path("/usr/share/datasets/fashion-mnist"),
    )

    def read(name: str) -> np.ndarray:
        plain = folder / name
        return read_idx(plain if plain.is_file() else folder / f"{name}.gz")

    return Dataset(
        name="fashion-mnist",
        max_value=255,
        num_classes=10,
        train_pixels=read("train-images-idx3-ubyte")[:, None],
        train_labels=read("train-labels-idx1-ubyte").astype(np.int64),
        test_pixels=read("t10k-images-idx3-ubyte")[:, None],
        test_labels=read("t10k-labels-idx1-ubyte").astype(np.int64),
    )


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes: magic number, sizes, data, all big-endian.

    Raises:
        DataError: it cannot be read, is of another type, or is shorter or longer than its header says.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; get the file again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise DataError(f"{path}: not an IDX file of unsigned bytes; get the file again")
    num_axes = content[3]
    header = 4 + 4 * num_axes
    if len(content) < header:
        raise DataError(f"{path}: ends within its header; get the file again")
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], ">u4"))
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DataError(
            f"{path}: its header says {expected:,} bytes of data, but it holds {len(content) - header:,}; "
            f"get the file again"
        )
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)
