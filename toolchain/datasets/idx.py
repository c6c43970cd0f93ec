"""IDX files, the format of MNIST and of data sets that follow it."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from toolchain.datasets.channel_order import channels_first
from toolchain.datasets.dataset import Dataset
from toolchain.datasets.labels import class_labels, implied_classes
from toolchain.datasets.size_limit import check_size
from toolchain.errors import DataError
from toolchain.shown_values import first_line

FIRST_FILE = "train-images-idx3-ubyte"
_PARTS = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 0x08  # the element type in an IDX header
_AXES = range(1, 5)


def find_idx(folder: Path, name: str) -> Path:
    """An IDX file in a folder, plain or else with suffix ``.gz``."""
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def load_idx_folder(
    folder: Path,
    limit_bytes: int,
    *,
    name: str | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """Read the four files of a data set in the layout of MNIST, such as ``t10k-labels-idx1-ubyte``.

    Args:
        name: of the data set; None takes the folder.
        num_classes: None takes the largest label.

    Raises:
        DataError: a file is missing, damaged or too large, or its labels are no classes.
    """
    images, labels, notes = {}, {}, []
    for part, prefix in _PARTS.items():
        pixels = find_idx(folder, f"{prefix}-images-idx3-ubyte")
        images[part], note = channels_first(
            str(pixels), read_idx(pixels, limit_bytes), None, pixels.name
        )
        notes += [] if note is None else [note]
        path = find_idx(folder, f"{prefix}-labels-idx1-ubyte")
        labels[path.name] = class_labels(str(path), read_idx(path, limit_bytes))
    how = "store the data set as .npz with an array num_classes"
    num_classes, gaps = implied_classes(str(folder), labels, num_classes, how)
    train_labels, test_labels = labels.values()
    return Dataset(
        name=name or str(folder),
        max_value=255,
        num_classes=num_classes,
        train_pixels=images["train"],
        train_labels=train_labels,
        test_pixels=images["test"],
        test_labels=test_labels,
        source=str(folder) if name else None,
        notes=(*notes, *gaps),
    )


def read_idx(path: Path, limit_bytes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes: magic number, sizes, data, all big-endian.

    No more is decompressed than the header says, and that only within the limit.

    Raises:
        DataError: it cannot be read, is of another type, is too large, or is shorter or longer than its
            header says.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; put it there")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(path, file, limit_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read: {first_line(error)}; get the file again"
        ) from None


def _read(path: Path, file: BufferedIOBase, limit_bytes: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise DataError(f"{path}: not an IDX file of unsigned bytes; get the file again")
    if magic[3] not in _AXES:
        raise DataError(
            f"{path}: has {magic[3]} axes, but images have 3 or 4 and labels 1 to 3; get the file again"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: ends within its header; get the file again")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(
            f"{path}: its header says {' x '.join(map(str, shape))}, which is empty; get the file again"
        )
    expected = math.prod(shape)
    if path.suffix != ".gz":
        _check_length(path, expected, f"{os.fstat(file.fileno()).st_size - 4 - len(sizes):,}")
    check_size(path, f"its array of {' x '.join(map(str, shape))}", expected, limit_bytes)
    data = bytearray(expected)
    held = _fill(file, data)
    _check_length(path, expected, f"{held:,}" if held < expected or not file.read(1) else "more")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_length(path: Path, expected: int, held: str) -> None:
    if held != f"{expected:,}":
        raise DataError(
            f"{path}: its header says {expected:,} bytes of data, but it holds {held}; get the file again"
        )


def _fill(file: BufferedIOBase, data: bytearray) -> int:
    """Read until the data are complete or the file ends; returns the number of bytes read."""
    view, held = memoryview(data), 0
    while held < len(view) and (count := file.readinto(view[held : held + 2**20])):
        held += count
    return held
