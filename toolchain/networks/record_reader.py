"""Read fields from an untrusted record, with errors that name the file and the field."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import ModelFileError


@dataclass(frozen=True, eq=False)
class RecordReader:
    """One dictionary of a file.

    Args:
        path: the file, for messages.
        where: path of the record inside the file, such as ``populations[2]``.
        record: the content found there, of any type.
    """

    path: Path
    where: str
    record: Any

    def refuse(self, field: str, must_be: str, value: object) -> ModelFileError:
        """The error for a bad field; raise it."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return ModelFileError(f"{self.path}: {self._path_of(field)} must be {must_be}, not {shown}")

    def _path_of(self, field: str) -> str:
        return f"{self.where}.{field}" if self.where and field else self.where or field or "content"

    def names(self) -> list[str]:
        """Names of all fields."""
        return list(self._fields())

    def _fields(self) -> Mapping[str, Any]:
        if not isinstance(self.record, Mapping):
            raise self.refuse("", "a record with named fields", self.record)
        return self.record

    def value(self, field: str) -> Any:
        if field not in self._fields():
            raise ModelFileError(f"{self.path}: {self._path_of(field)} is missing")
        return self.record[field]

    def integer(self, field: str, minimum: int) -> int:
        value = self.value(field)
        if type(value) is not int or value < minimum:
            raise self.refuse(field, f"an integer of at least {minimum}", value)
        return value

    def number(self, field: str, minimum: float) -> float:
        value = self.value(field)
        if type(value) not in (int, float) or not minimum <= value <= sys.float_info.max:
            raise self.refuse(field, f"a number of at least {minimum:g}", value)
        return float(value)

    def positive_number(self, field: str) -> float:
        value = self.value(field)
        if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
            raise self.refuse(field, "a positive number", value)
        return float(value)

    def text(self, field: str) -> str:
        value = self.value(field)
        if not isinstance(value, str) or not value:
            raise self.refuse(field, "a non-empty text", value)
        return value

    def choice(self, field: str, choices: tuple[str, ...]) -> Any:
        value = self.value(field)
        if value not in choices:
            raise self.refuse(field, f"one of {', '.join(choices)}", value)
        return value

    def integers(self, field: str, length: int, minimum: int) -> tuple[int, ...]:
        value = self.value(field)
        if (
            not isinstance(value, list | tuple)
            or len(value) != length
            or any(type(n) is not int or n < minimum for n in value)
        ):
            raise self.refuse(field, f"{length} integers of at least {minimum}", value)
        return tuple(value)

    def record_list(self, field: str) -> Iterator[RecordReader]:
        value = self.value(field)
        if not isinstance(value, list | tuple):
            raise self.refuse(field, "a list", value)
        where = self._path_of(field)
        return (RecordReader(self.path, f"{where}[{i}]", item) for i, item in enumerate(value))

    def tensor(
        self, field: str, tensors: MutableMapping[str, np.ndarray], num_dimensions: int, dtype: type
    ) -> np.ndarray:
        """The tensor that the field names, removed from ``tensors``: each belongs to one field.

        Args:
            dtype: abstract or concrete NumPy type of its values; floats must be finite.
        """
        name = self.text(field)
        if name not in tensors:
            raise self.refuse(field, "the name of a tensor that no other field names", name)
        array = tensors.pop(name)
        if not np.issubdtype(array.dtype, dtype) or array.ndim != num_dimensions or not array.size:
            raise ModelFileError(
                f"{self.path}: the tensor of {self._path_of(field)} must have {num_dimensions} dimensions "
                f"and type {dtype.__name__}, not shape {array.shape} and type {array.dtype}"
            )
        if np.issubdtype(dtype, np.floating) and not np.isfinite(array).all():
            raise ModelFileError(
                f"{self.path}: the tensor of {self._path_of(field)} must be finite, but holds NaN or "
                f"infinity"
            )
        return array
