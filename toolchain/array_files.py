"""Our files of arrays, safetensors and uncompressed ``.npz``: read if they are what they declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import IO
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import numpy as np

from toolchain.errors import ModelFileError
from toolchain.shown_values import first_line, shown_name

NUMBER_TYPES = (
    np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64,
)  # fmt: skip
"""Types of the numbers in our files."""

MAX_DIMENSIONS = 8


def read_safetensors(path: Path, dtypes: Iterable[type], remedy: str) -> dict[str, np.ndarray]:
    """Read all tensors of a safetensors file.

    The library checks the header: its length, that the offsets fill the file without holes, and that each
    fits its type and shape.

    Args:
        dtypes: types that a tensor may have.
        remedy: end of every error message.

    Raises:
        ModelFileError: the file cannot be read, is damaged, or holds a tensor that is none of ours.
    """
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except OSError as error:
        raise _unreadable(path, remedy) from error
    except Exception as error:  # SafetensorError, and those of NumPy for a type that it lacks
        raise _damaged(path, error, remedy) from error
    require_plain_arrays(path, arrays, path.stat().st_size, dtypes, remedy)
    return arrays


def read_npz(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """Read all arrays of an uncompressed ``.npz`` file, after checking the checksum of each.

    Args:
        remedy: end of every error message.

    Raises:
        ModelFileError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        with path.open("rb") as file:
            if not is_zipfile(file):
                raise ModelFileError(f"{path}: not an .npz file, or truncated; {remedy}")
            with ZipFile(file) as archive:
                members = archive.infolist()
                if any(member.compress_type != ZIP_STORED for member in members):
                    raise ModelFileError(f"{path}: its arrays must not be compressed; {remedy}")
                if (damaged := archive.testzip()) is not None:
                    raise ModelFileError(
                        f"{path}: damaged: '{shown_name(damaged)}' does not match its checksum; {remedy}"
                    )
                if len({member.filename for member in members}) < len(members):
                    raise ValueError("two arrays have one name")
                for member in members:
                    if not member.filename.endswith(".npy"):
                        raise ValueError(f"'{shown_name(member.filename)}' is no array")
                    with archive.open(member) as content:
                        _require_declared_size(content, member.file_size)
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
    except OSError as error:
        raise _unreadable(path, remedy) from error
    except ModelFileError:
        raise
    except Exception as error:  # zipfile and NumPy raise many types on damaged content
        raise _damaged(path, error, remedy) from error
    require_plain_arrays(path, arrays, path.stat().st_size, NUMBER_TYPES, remedy)
    return arrays


def require_plain_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    file_bytes: int,
    dtypes: Iterable[type],
    remedy: str,
) -> None:
    """Check that arrays of a file are of our types, finite, and together no larger than the file.

    Raises:
        ModelFileError: naming the file, the array and what it must be.
    """
    allowed = {np.dtype(dtype) for dtype in dtypes}
    bytes_left = file_bytes
    for name, array in arrays.items():
        if type(array) is not np.ndarray or array.dtype not in allowed:
            names = ", ".join(sorted(map(str, allowed)))
            raise ModelFileError(
                f"{path}: array '{shown_name(name)}' must be of type {names}, not {array.dtype}; {remedy}"
            )
        bytes_left -= array.size * array.itemsize
        if bytes_left < 0:
            raise ModelFileError(
                f"{path}: array '{shown_name(name)}' takes more bytes than the file has; {remedy}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelFileError(
                f"{path}: array '{shown_name(name)}' must be finite, but holds NaN or infinity; {remedy}"
            )


def _require_declared_size(file: IO[bytes], num_bytes: int) -> None:
    """Check that an array is as large as its member, before NumPy makes room for what it declares.

    Raises:
        ValueError: it is not.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format, where ours is (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"an array of type {dtype} and shape {shape[:MAX_DIMENSIONS]}")
    declared = prod(shape) * dtype.itemsize
    if declared != num_bytes - file.tell():
        raise ValueError(f"an array of {declared:,} bytes in {num_bytes - file.tell():,}")


def _unreadable(path: Path, remedy: str) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be read; {remedy}")


def _damaged(path: Path, error: Exception, remedy: str) -> ModelFileError:
    return ModelFileError(f"{path}: damaged or truncated ({first_line(error)}); {remedy}")
