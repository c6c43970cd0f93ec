"""Tensors that are stored in an ONNX file or beside it, checked before arrays are made of them."""

from __future__ import annotations

import os
import stat
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.names import REMEDY, require_onnx, shown, text_of

MAX_TENSOR_BYTES = 2**30
"""Of all tensors together, those in external files included; no runtime takes a model of 2 GiB."""

MAX_RANK = 8

_TYPED_FIELDS = {
    "FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "INT32": "int32_data",
    "INT16": "int32_data", "INT8": "int32_data", "UINT16": "int32_data", "UINT8": "int32_data",
    "BOOL": "int32_data", "FLOAT16": "int32_data", "UINT32": "uint64_data", "UINT64": "uint64_data",
    "INT4": "int32_data", "UINT4": "int32_data",
}  # fmt: skip
"""The field that holds the numbers of a type where they are not raw bytes; all types that are read."""

_BITS = {
    "FLOAT": 32, "DOUBLE": 64, "INT64": 64, "INT32": 32, "INT16": 16, "INT8": 8, "UINT16": 16, "UINT8": 8,
    "BOOL": 8, "FLOAT16": 16, "UINT32": 32, "UINT64": 64, "INT4": 4, "UINT4": 4,
}  # fmt: skip


class TensorReader:
    """Makes arrays of the tensors of a file, which together have a bounded size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes_left = MAX_TENSOR_BYTES

    def read(self, tensor: Any, where: str) -> np.ndarray:
        onnx = require_onnx()
        known = tensor.data_type in onnx.TensorProto.DataType.values()
        kind = onnx.TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
        if kind not in _BITS:
            raise UnsupportedNetworkError(
                f"{where} holds values of type {kind}; use float32, or integers with a scale"
            )
        dims = list(tensor.dims)
        if len(dims) > MAX_RANK or any(not 0 <= size < 2**31 for size in dims):
            raise ModelFileError(f"{where} has no possible shape: {dims[:MAX_RANK]}; {REMEDY}")
        num_bytes = -(-prod(dims) * _BITS[kind] // 8)
        self.bytes_left -= num_bytes
        if self.bytes_left < 0:
            raise ModelFileError(
                f"{where}: all tensors take more than {MAX_TENSOR_BYTES:,} bytes together"
            )
        if tensor.HasField("segment"):
            raise ModelFileError(f"{where} is stored in segments; {REMEDY}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = self._external(tensor, num_bytes, where)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        elif tensor.external_data:
            raise ModelFileError(f"{where} has external data that it does not use; {REMEDY}")
        self._check_length(tensor, kind, prod(dims), num_bytes, where)
        try:
            return np.array(onnx.numpy_helper.to_array(tensor))
        except Exception as error:  # numpy and onnx raise many types on damaged content
            raise ModelFileError(f"{where} is damaged; {REMEDY}") from error

    @staticmethod
    def _check_length(tensor: Any, kind: str, count: int, num_bytes: int, where: str) -> None:
        if tensor.HasField("raw_data"):
            found, expected, unit = len(tensor.raw_data), num_bytes, "bytes"
        else:
            found, unit = len(getattr(tensor, _TYPED_FIELDS[kind])), "numbers"
            expected = -(-count // 2) if _BITS[kind] == 4 else count
        if found != expected:
            shape = "x".join(map(str, tensor.dims)) or "scalar"
            raise ModelFileError(
                f"{where} of shape {shape} needs {expected:,} {unit} and has {found:,}; {REMEDY}"
            )

    def _external(self, tensor: Any, num_bytes: int, where: str) -> bytes:
        entries = {text_of(entry.key): text_of(entry.value) for entry in tensor.external_data}
        location = entries.get("location", "")
        parts = PurePosixPath(location).parts
        if (
            not parts
            or "\\" in location
            or ":" in location
            or not location.isprintable()
            or any(part in ("/", "..") for part in parts)
        ):
            raise ModelFileError(
                f"{where}: external data must be in a file in the same folder, not '{shown(location)}'"
            )
        offset, length = (
            _number(entries.get(field) or str(default), f"{where}: {field}")
            for field, default in (("offset", 0), ("length", num_bytes))
        )
        if length != num_bytes:
            raise ModelFileError(
                f"{where} needs {num_bytes:,} bytes, and its external data has {length:,} at {offset:,}"
            )
        return _plain_bytes(self.folder, parts, offset, length, f"{where}: '{shown(location)}'")


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ModelFileError(f"{where} must be a number of bytes, not '{shown(text)}'; {REMEDY}")
    return int(text)


def _plain_bytes(
    folder: Path, parts: tuple[str, ...], offset: int, length: int, where: str
) -> bytes:
    """Bytes of a plain file in a folder, reached without a symbolic link."""
    path = folder
    try:
        for part in parts:
            path = path / part
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise ModelFileError(f"{where} is a symbolic link; put the file itself there")
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{where} is no plain file")
        if offset + length > status.st_size:
            raise ModelFileError(
                f"{where} has {status.st_size:,} bytes, and {offset + length:,} are needed; {REMEDY}"
            )
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            file.seek(offset)
            content = file.read(length)
    except (OSError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{where} cannot be read; put it in the folder of the file") from error
    if len(content) != length:
        raise ModelFileError(f"{where} became shorter while it was read")
    return content
