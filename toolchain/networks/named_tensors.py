"""The tensors of a file, which the fields of its records name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from toolchain.errors import ModelFileError
from toolchain.schema import refusal


class NamedTensors:
    """Tensors by name; each belongs to one field."""

    def __init__(self, path: Path, tensors: Mapping[str, np.ndarray], remedy: str) -> None:
        """Take the tensors of a file.

        Args:
            path: the file, for messages.
            remedy: end of every message.
        """
        self._path, self._left, self._remedy = path, dict(tensors), remedy

    def take(self, field: str, name: str, num_dimensions: int, dtype: type) -> np.ndarray:
        """The tensor that a field names, which no other field may name after that.

        Args:
            field: path of the field in the file, such as ``populations[2].bias``.
            dtype: abstract or concrete NumPy type of its values; floats must be finite.

        Raises:
            ModelFileError: naming the file, the field and what its tensor must be.
        """
        if name not in self._left:
            must_be = "the name of a tensor that no other field names"
            raise refusal(self._path, field, must_be, name, remedy=self._remedy)
        array = self._left.pop(name)
        if not np.issubdtype(array.dtype, dtype) or array.ndim != num_dimensions or not array.size:
            raise ModelFileError(
                f"{self._path}: the tensor of {field} must have {num_dimensions} dimensions and type "
                f"{dtype.__name__}, not shape {array.shape} and type {array.dtype}; {self._remedy}"
            )
        if np.issubdtype(dtype, np.floating) and not np.isfinite(array).all():
            raise ModelFileError(
                f"{self._path}: the tensor of {field} must be finite, but holds NaN or infinity; "
                f"{self._remedy}"
            )
        return array
