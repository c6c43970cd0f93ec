"""A user's own arrays in one ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset
from toolchain.errors import DataError

_FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


def load_npz(path: Path) -> Dataset:
    """Read ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Images are uint8 of shape ``(B, H, W)`` or ``(B, C, H, W)``, labels integers of shape ``(B,)``.

    Raises:
        DataError: naming the file and the field.
    """
    try:
        if path.exists() and not zipfile.is_zipfile(path):  # numpy opens single arrays as well
            raise zipfile.BadZipFile("File is not a zip file")
        with np.load(path, allow_pickle=False) as file:
            missing = [field for field in _FIELDS if field not in file]
            if missing:
                raise DataError(f"{path}: has no array named {', '.join(missing)}; add it")
            arrays = {field: file[field] for field in _FIELDS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as .npz without pickles: {error}") from None
    images = {part: _images(path, f"{part}_images", arrays) for part in ("train", "test")}
    labels = {part: _labels(path, f"{part}_labels", arrays) for part in ("train", "test")}
    return Dataset(
        name=str(path),
        max_value=255,
        num_classes=int(max(array.max(initial=0) for array in labels.values())) + 1,
        train_pixels=images["train"],
        train_labels=labels["train"],
        test_pixels=images["test"],
        test_labels=labels["test"],
    )


def _images(path: Path, field: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    array = arrays[field]
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {field} must be uint8 (pixels 0 to 255), not {array.dtype}")
    if array.ndim not in (3, 4):
        raise DataError(
            f"{path}: {field} must have shape (B, H, W) or (B, C, H, W), not {array.shape}"
        )
    return array[:, None] if array.ndim == 3 else array


def _labels(path: Path, field: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    array = arrays[field]
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{path}: {field} must be integers of shape (B,), not {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)
