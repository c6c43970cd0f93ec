"""A digest of samples, by which a later run detects that they have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from toolchain.datasets.image_files import ImageFiles
from toolchain.datasets.pixel_source import PixelSource
from toolchain.errors import DataError
from toolchain.shown_values import first_line

_BATCH = 1_024


def samples_sha256(pixels: PixelSource, labels: np.ndarray) -> str:
    """SHA-256 of images and labels, in their order.

    Image files are hashed without decoding, which would take a hundred times as long. Other pixels are
    hashed as arrays, with shape and type.

    Args:
        labels: labels of the first B images, shape ``(B,)``; only these images are hashed.

    Raises:
        DataError: an image file cannot be read.
    """
    digest = hashlib.sha256(f"{labels.shape} {pixels.shape[1:]}".encode())
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    count = len(labels)
    parts = _files(pixels, count) if isinstance(pixels, ImageFiles) else _arrays(pixels, count)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _files(images: ImageFiles, count: int) -> Iterator[bytes]:
    for path in images.paths[:count]:
        try:
            yield hashlib.sha256(path.read_bytes()).digest()
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read: {first_line(error)}; remove or replace it"
            ) from None


def _arrays(pixels: PixelSource, count: int) -> Iterator[bytes]:
    for start in range(0, count, _BATCH):
        batch = pixels[start : min(start + _BATCH, count)]
        little_endian = np.ascontiguousarray(batch, batch.dtype.newbyteorder("<"))
        yield little_endian.dtype.str.encode() + little_endian.tobytes()
