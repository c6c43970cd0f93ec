"""CIFAR-10 and CIFAR-100 from their *binary version* (Krizhevsky, 2009): 32x32 colour images.

The Python version of these files holds pickles, which may execute code; it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset, data_folder
from toolchain.datasets.size_limit import check_size
from toolchain.errors import DataError
from toolchain.shown_values import first_line

_PIXELS = 3 * 32 * 32
_SOURCE = (
    "Download the *binary version* ({archive}) of cs.toronto.edu/~kriz/cifar.html and unpack it"
)


def load_cifar10(limit_bytes: int) -> Dataset:
    """Read CIFAR-10, whose records are one label byte and 3,072 pixel bytes."""
    train = [f"data_batch_{n}.bin" for n in range(1, 6)]
    return _load("cifar-10", 10, train, "test_batch.bin", 1, "cifar-10-binary.tar.gz", limit_bytes)


def load_cifar100(limit_bytes: int) -> Dataset:
    """Read CIFAR-100, whose records are a coarse label, a fine label (the one used) and the pixels."""
    return _load(
        "cifar-100", 100, ["train.bin"], "test.bin", 2, "cifar-100-binary.tar.gz", limit_bytes
    )


def _load(
    name: str,
    num_classes: int,
    train: Sequence[str],
    test: str,
    label_bytes: int,
    archive: str,
    limit_bytes: int,
) -> Dataset:
    folder = data_folder(name, test, _SOURCE.format(archive=archive))
    parts = [_read_records(folder / file, label_bytes, limit_bytes) for file in train]
    test_pixels, test_labels = _read_records(folder / test, label_bytes, limit_bytes)
    return Dataset(
        name=name,
        max_value=255,
        num_classes=num_classes,
        train_pixels=np.concatenate([pixels for pixels, _ in parts]),
        train_labels=np.concatenate([labels for _, labels in parts]),
        test_pixels=test_pixels,
        test_labels=test_labels,
        source=str(folder),
    )


def _read_records(path: Path, label_bytes: int, limit_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; unpack the archive again")
    try:
        check_size(path, "its records", path.stat().st_size, limit_bytes)
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {first_line(error)}; unpack the archive again"
        ) from None
    record = label_bytes + _PIXELS
    if not len(content) or len(content) % record:
        raise DataError(
            f"{path}: {len(content):,} bytes are no whole number of {record:,}-byte records; unpack the "
            f"archive of the binary version again"
        )
    records = content.reshape(-1, record)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return pixels, records[:, label_bytes - 1].astype(np.int64)
