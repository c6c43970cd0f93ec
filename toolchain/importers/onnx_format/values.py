"""Values of an ONNX graph while it is read, and one operation with its values.

Every value is either *static*, known without the pixels, or *live*. A static value may depend on the size of
the batch, as ``Shape`` of a live value does; it is therefore kept for two batch sizes, and the reader sees
where both differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeAlias

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.model_file import Node

BATCHES = (2, 3)
"""Batch sizes for which shapes are computed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Static:
    """A value that does not depend on pixels.

    Attributes:
        arrays: for each of ``BATCHES``; one and the same array if it does not depend on the batch.
    """

    arrays: tuple[np.ndarray, np.ndarray]

    @classmethod
    def constant(cls, array: np.ndarray) -> Static:
        return cls(arrays=(array, array))

    @property
    def is_constant(self) -> bool:
        first, second = self.arrays
        return first is second or np.array_equal(first, second)

    @property
    def one_sample(self) -> np.ndarray | None:
        """The first sample of values that are the same for all samples, such as zeros to join; else None."""
        first, second = self.arrays
        of_batch = tuple(array.shape[:1] for array in self.arrays) == tuple((n,) for n in BATCHES)
        if of_batch and first.dtype.kind == "f" and (second == second[:1]).all():
            return first[:1] if np.array_equal(first[:1], second[:1]) else None
        return None


GRID_TOLERANCE = 1e-6
"""Relative difference of two scales that are one and the same in float32."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values that are ``scale * (lowest..levels)``."""

    scale: float
    levels: int
    lowest: int = 0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of all elements of a live value.

    Attributes:
        low, high: bounds.
        grid: set if they lie on a quantizer's grid.
        of_pixels: each element follows from one pixel alone, and what pixels are is known.
    """

    low: float = -inf
    high: float = inf
    grid: Grid | None = None
    of_pixels: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Live:
    """A value that depends on pixels.

    Attributes:
        name: of the tensor that holds it in the module.
        shapes: with the batch, for each of ``BATCHES``.
        codes: set if the file has integers here, and the module their real values.
    """

    name: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    facts: Facts = field(default_factory=Facts)
    codes: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape for the first of ``BATCHES``."""
        return self.shapes[0]


Value: TypeAlias = "Live | Static"


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One operation with its values.

    Attributes:
        inputs: None for an optional input that is left out.
        fixed_batch: the batch that the file is fixed to, if it is.
    """

    node: Node
    opset: int
    inputs: tuple[Value | None, ...]
    fixed_batch: int | None = None

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def live(self, index: int = 0) -> Live:
        """An input that may depend on pixels; its shape is what counts."""
        value = self.input(index)
        if not isinstance(value, Live):
            raise ModelFileError(
                f"input {index} of '{self.node.operation}' is missing or a constant"
            )
        return value

    def static(self, index: int) -> np.ndarray | None:
        """An input that must not depend on pixels; None if it is left out.

        Raises:
            UnsupportedNetworkError: it depends on pixels, or on the batch.
        """
        value = self.input(index)
        if value is None:
            return None
        if isinstance(value, Live):
            raise UnsupportedNetworkError(
                f"input {index} of '{self.node.operation}' depends on the network's input; use a constant"
            )
        if not value.is_constant:
            if (sample := value.one_sample) is not None:
                return sample
            raise UnsupportedNetworkError(
                f"input {index} of '{self.node.operation}' depends on the size of the batch; keep the batch "
                f"as the first axis, and samples apart"
            )
        return value.arrays[0]

    def required(self, index: int) -> np.ndarray:
        array = self.static(index)
        if array is None:
            raise ModelFileError(f"input {index} of '{self.node.operation}' is missing")
        return array

    def integers_at(self, index: int) -> list[int] | None:
        """A static input as a list of integers."""
        array = self.static(index)
        return None if array is None else as_integers(array)

    def integer(self, name: str, default: int) -> int:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise ModelFileError(f"attribute '{name}' must be an integer")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise ModelFileError(f"attribute '{name}' must be a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, str):
            raise ModelFileError(f"attribute '{name}' must be a text")
        return value

    def integers(self, name: str) -> list[int] | None:
        value = self.node.attributes.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(entry, int) for entry in value)
        ):
            raise ModelFileError(f"attribute '{name}' must be a list of integers")
        return None if value is None else [int(entry) for entry in value]

    def integers_of(self, name: str, index: int, since: int) -> list[int] | None:
        """Integers that were an attribute, and are an input since some opset."""
        return self.integers_at(index) if self.opset >= since else self.integers(name)


def as_integers(array: np.ndarray) -> list[int]:
    """Entries as Python integers.

    Raises:
        ModelFileError: they are no integers, or too many to be sizes or axes.
    """
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
        raise ModelFileError(
            f"a list of sizes or axes must hold up to 64 integers, not {array.size:,} of type {array.dtype}"
        )
    return [int(entry) for entry in array.reshape(-1)]


def as_scalar(array: np.ndarray) -> float:
    """The one number of an array.

    Raises:
        ModelFileError: it holds several, or none.
    """
    if array.size != 1 or array.dtype.kind not in "iufb":
        raise ModelFileError(f"one number is needed, not {array.size:,}")
    return float(array.reshape(-1)[0])
