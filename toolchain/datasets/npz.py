"""A user's own arrays in one ``.npz`` file."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from toolchain.datasets.channel_order import LAYOUTS, channels_first
from toolchain.datasets.dataset import Dataset
from toolchain.datasets.labels import class_labels, implied_classes
from toolchain.datasets.size_limit import check_size
from toolchain.errors import DataError
from toolchain.shown_values import first_line, shown_text

_FIELDS = ("train_images", "train_labels", "test_images", "test_labels")
_OPTIONS = ("num_classes", "max_value", "layout")
_MAX_VALUES = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65_535}
_LARGEST_INTEGER = 2**24
_LONGEST_HEADER_BYTES = 10_000


def load_npz(path: Path, limit_bytes: int) -> Dataset:
    """Read ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Images are uint8 or uint16 of shape ``(B, H, W)``, ``(B, C, H, W)`` or ``(B, H, W, C)``, labels integers
    of shape ``(B,)`` or, with one class per pixel, ``(B, H, W)``. Three more arrays are optional:
    ``num_classes``, if not all classes occur, ``max_value``, if pixels have fewer bits than their type, and
    ``layout``, ``"NCHW"`` or ``"NHWC"``.

    Raises:
        DataError: naming the file and the field.
    """
    arrays, unread = _read(path, limit_bytes)
    layout = _layout(path, arrays)
    notes = [f"arrays that are not read: {', '.join(map(shown_text, unread))}"] if unread else []
    images = {}
    for part in ("train", "test"):
        where = f"{path}: {part}_images"
        pixels = arrays[f"{part}_images"]
        if pixels.dtype.newbyteorder("=") not in _MAX_VALUES:
            raise DataError(
                f"{where} must be uint8 (pixels 0 to 255) or uint16 (0 to 65,535), not {pixels.dtype}"
                f"{_scaling(pixels)}"
            )
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        images[part], note = channels_first(where, native, layout, f"{part}_images")
        notes += [] if note is None else [note]
    types = {part: array.dtype for part, array in images.items()}
    if types["train"] != types["test"]:
        raise DataError(
            f"{path}: train_images are {types['train']}, but test_images {types['test']}; store both with "
            f"one type"
        )
    fields = ("train_labels", "test_labels")
    labels = {field: class_labels(f"{path}: {field}", arrays[field]) for field in fields}
    num_classes, gaps = implied_classes(
        str(path),
        labels,
        _integer(path, arrays, "num_classes"),
        "add an array num_classes to the file",
    )
    return Dataset(
        name=str(path),
        max_value=_max_value(path, arrays, images),
        num_classes=num_classes,
        train_pixels=images["train"],
        train_labels=labels["train_labels"],
        test_pixels=images["test"],
        test_labels=labels["test_labels"],
        notes=(*notes, *gaps),
    )


def _read(path: Path, limit_bytes: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that a data set has, and the names of others.

    Their headers are checked first, and nothing else is decompressed.
    """
    if not path.is_file():  # opening a FIFO would wait for a writer
        found = "is no regular file" if path.exists() else "no such file"
        raise DataError(f"{path}: {found}; choose a file of numpy.savez")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names):
                raise ValueError("it holds an array twice")
            for member in archive.infolist():
                archive.open(member).close()  # its name must be the same in both of its places
            missing = [field for field in _FIELDS if f"{field}.npy" not in names]
            if missing:
                raise DataError(f"{path}: has no array named {', '.join(missing)}; add it")
            fields = [field for field in (*_FIELDS, *_OPTIONS) if f"{field}.npy" in names]
            total = sum(_declared_bytes(path, archive, field) for field in fields)
            check_size(path, "its arrays", total, limit_bytes)
            arrays = {field: _array(archive, field) for field in fields}
            others = (name.removesuffix(".npy") for name in names)
            return arrays, [name for name in others if name not in fields]
    except DataError:
        raise
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or first_line(error)}; choose a file that can be read"
        ) from None
    except Exception as error:  # zipfile and numpy raise many types on damaged content
        raise DataError(
            f"{path}: cannot be read as .npz without pickles: {first_line(error)}; save it again with "
            f"numpy.savez"
        ) from None


def _declared_bytes(path: Path, archive: zipfile.ZipFile, field: str) -> int:
    """Bytes of an array by its own header, which must agree with the size of the archive's member."""
    member = archive.getinfo(f"{field}.npy")
    with archive.open(member) as file:
        start = file.read(12)
        major = start[6] if start[:6] == np.lib.format.MAGIC_PREFIX and len(start) == 12 else 0
        length_bytes = {1: 2, 2: 4}.get(major)
        if length_bytes is None:
            raise ValueError(f"{field} does not begin as an array of numpy does")
        end = 8 + length_bytes
        header_bytes = int.from_bytes(start[8:end], "little")
        if header_bytes > _LONGEST_HEADER_BYTES:
            raise ValueError(f"the header of {field} has {header_bytes:,} bytes")
        header = io.BytesIO(start[8:] + file.read(end + header_bytes - len(start)))
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
    shape, _, dtype = read(header)
    if dtype.hasobject:
        raise ValueError(f"{field} holds Python objects")
    num_bytes = math.prod(shape) * dtype.itemsize
    held = member.file_size - end - header_bytes
    if min(shape, default=0) < 0 or num_bytes != held:
        raise DataError(
            f"{path}: {field} of shape {shape} and type {dtype} needs {num_bytes:,} bytes, but the file "
            f"holds {held:,}; save it again"
        )
    return num_bytes


def _array(archive: zipfile.ZipFile, field: str) -> np.ndarray:
    with archive.open(f"{field}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _layout(path: Path, arrays: dict[str, np.ndarray]) -> str | None:
    if "layout" not in arrays:
        return None
    layout = str(arrays["layout"][()]) if arrays["layout"].ndim == 0 else ""
    if layout not in LAYOUTS:
        raise DataError(f"{path}: layout must be one of the texts {', '.join(LAYOUTS)}")
    return layout


def _max_value(path: Path, arrays: dict[str, np.ndarray], images: dict[str, np.ndarray]) -> int:
    largest = _MAX_VALUES[images["train"].dtype]
    declared = _integer(path, arrays, "max_value")
    if declared is None:
        return largest
    found = max(int(pixels.max(initial=0)) for pixels in images.values())
    if not found <= declared <= largest:
        raise DataError(
            f"{path}: max_value is {declared:,}, but must be at least the largest pixel, {found:,}, and at "
            f"most {largest:,}"
        )
    return declared


def _integer(path: Path, arrays: dict[str, np.ndarray], field: str) -> int | None:
    if field not in arrays:
        return None
    declared = arrays[field]
    if (
        declared.ndim
        or not np.issubdtype(declared.dtype, np.integer)
        or not (1 <= declared <= _LARGEST_INTEGER)
    ):
        raise DataError(f"{path}: {field} must be one integer from 1 to {_LARGEST_INTEGER:,}")
    return int(declared)


def _scaling(pixels: np.ndarray) -> str:
    """How to make pixel integers of other numbers, where their range says it."""
    if not pixels.size or not np.issubdtype(pixels.dtype, np.number):
        return ""
    low, high = pixels.min(), pixels.max()
    if np.issubdtype(pixels.dtype, np.floating) and low >= 0 and high <= 1:
        return "; store (images * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "; store images.round().astype(np.uint8)"
    return f"; its values are {low:g} to {high:g}: scale them to 0 to 255 first"
