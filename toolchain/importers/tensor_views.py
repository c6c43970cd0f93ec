"""Tensors of a network as rearranged elements of feature maps.

Slices, permutations, reshapes, concatenations and padding only move elements. A ``TensorView`` holds, for
each element of a tensor, the number of an element of some linear expressions; PyTorch itself moves the
numbers, with the very operation of the network. Only where the values are computed with, the view becomes
a linear expression again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.networks.linear_maps import Dense, Shape

BATCH = 2
"""Samples in the numbers of a view: enough to see that an operation keeps samples apart."""

MAX_MATRIX = 2**22
"""Most entries of a matrix that stands for a rearrangement."""


class NoFeatureMapError(UnsupportedNetworkError):
    """Elements of a tensor are no channels, rows and columns of a feature map."""


@dataclass(frozen=True, eq=False)
class TensorView:
    """A tensor whose elements are those of feature maps, or zero.

    Args:
        parts: the feature maps; their elements are numbered one after the other, in row-major order.
        numbers: float64 in the shape of the tensor, its batch of ``BATCH`` samples included: 1 plus the
            number of an element, 0 for a zero. Numbers of the second sample continue those of the first.
    """

    parts: tuple[LinearExpression, ...]
    numbers: Tensor

    @classmethod
    def of_expression(
        cls, value: LinearExpression, shape: Sequence[int] | None = None
    ) -> TensorView:
        """A feature map as a tensor of its own shape, or of another one in row-major order."""
        numbers = torch.arange(1, 1 + BATCH * prod(value.shape), dtype=torch.float64)
        return cls((value,), numbers.reshape(BATCH, *(value.shape if shape is None else shape)))

    def moved(self, numbers: Tensor) -> TensorView:
        """The same elements in other places."""
        return TensorView(self.parts, numbers)

    @cached_property
    def num_elements(self) -> int:
        """Elements of all parts, per sample."""
        return sum(prod(part.shape) for part in self.parts)

    @cached_property
    def indices(self) -> np.ndarray:
        """Element of the parts at each place of one sample, -1 for zero; int64, without the batch axis.

        Raises:
            UnsupportedNetworkError: the first axis is not the batch.
        """
        numbers = self.numbers.numpy()
        if numbers.ndim >= 1 and len(numbers) == BATCH:
            first, second = numbers
            if (np.where(first > 0, first + self.num_elements, 0) == second).all() and (
                first <= self.num_elements
            ).all():
                return first.astype(np.int64) - 1
        raise UnsupportedNetworkError(
            "its first axis is not the batch, or it mixes the samples of a batch; keep the batch first, and "
            "samples apart"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.numbers.shape[1:])

    def part_indices(self) -> list[tuple[LinearExpression, np.ndarray]]:
        """Each part that is read, with its element at each place, -1 for zeros and other parts."""
        result, start = [], 0
        for part in self.parts:
            size = prod(part.shape)
            own = (self.indices >= start) & (self.indices < start + size)
            if own.any():
                result.append((part, np.where(own, self.indices - start, -1)))
            start += size
        return result

    def natural_order(self) -> LinearExpression | None:
        """The one part of which this is a reshape, if it is one."""
        whole = len(self.parts) == 1 and self.indices.size == self.num_elements
        if whole and (self.indices.reshape(-1) == np.arange(self.num_elements)).all():
            return self.parts[0]
        return None

    def feature_map(self) -> LinearExpression:
        """The expression of this tensor as a feature map.

        A tensor of shape ``(features,)`` becomes ``(features, 1, 1)``, and ``(channels, length)``
        ``(channels, 1, length)``.

        Raises:
            NoFeatureMapError: it has more axes, or is no rearrangement of channels, rows and columns.
        """
        shape = feature_map_shape(self.shape)
        if (whole := self.natural_order()) is not None and whole.shape == shape:
            return whole
        result = None
        for part, indices in self.part_indices():
            placed = _placed(part, indices.reshape(shape))
            result = placed if result is None else result.plus(placed)
        if result is None:
            return LinearExpression.of_constant(np.zeros(shape))
        return result


def feature_map_shape(shape: tuple[int, ...]) -> Shape:
    """Shape of a sample as ``(channels, height, width)``."""
    match shape:
        case (features,):
            return features, 1, 1
        case (channels, length):
            return channels, 1, length
        case (channels, height, width):
            return channels, height, width
    raise NoFeatureMapError(
        f"values of shape (batch, {', '.join(map(str, shape))}) are no feature map; compute with at most "
        f"channels, height and width"
    )


def concatenated(views: Sequence[TensorView]) -> tuple[tuple[LinearExpression, ...], list[Tensor]]:
    """The parts of several views together, and the numbers of each view among them."""
    parts: list[LinearExpression] = []
    offsets: list[list[int]] = []  # of each part of each view, among all parts
    for view in views:
        own = []
        for part in view.parts:
            known = [i for i, other in enumerate(parts) if other is part]
            own.append(known[0] if known else len(parts))
            if not known:
                parts.append(part)
        offsets.append(own)
    starts = np.cumsum([0, *(prod(part.shape) for part in parts)])
    renumbered = []
    for view, places in zip(views, offsets, strict=True):
        old_starts = np.cumsum([0, *(prod(part.shape) for part in view.parts)])
        number = view.numbers.numpy().astype(np.int64) - 1
        sample, element = np.divmod(number, max(view.num_elements, 1))
        owner = np.searchsorted(old_starts, element, side="right") - 1
        moved = element - old_starts[owner] + starts[np.array([*places, 0])[owner]]
        new = np.where(number >= 0, 1 + moved + sample * starts[-1], 0)
        renumbered.append(torch.from_numpy(new.astype(np.float64)))
    return tuple(parts), renumbered


def _placed(part: LinearExpression, indices: np.ndarray) -> LinearExpression:
    """Elements of one part as a feature map of the shape of ``indices``; zeros where they are -1."""
    if indices.shape == part.shape and (indices.reshape(-1) == np.arange(indices.size)).all():
        return part
    _, height, width = part.shape
    axes = np.unravel_index(np.maximum(indices, 0), part.shape)
    read = indices >= 0
    chosen = []
    for axis, source in enumerate(axes):
        others = tuple(a for a in range(3) if a != axis)
        chosen.append(np.where(read, source, -1).max(axis=others))
    channels, rows, columns = chosen
    grid = (channels[:, None, None] * height + rows[:, None]) * width + columns
    is_read = (channels >= 0)[:, None, None] & (rows >= 0)[:, None] & (columns >= 0)
    if (np.where(is_read, grid, -1) == indices).all():
        return part.selected(channels, rows, columns)
    rearranged = (
        f"elements of a {part.shape} feature map are rearranged to {indices.shape} other than by channels, "
        f"rows and columns"
    )
    if indices.shape[1:] != (1, 1):
        raise NoFeatureMapError(f"{rearranged}; move whole channels, rows or columns")
    if (entries := indices.size * prod(part.shape)) > MAX_MATRIX:
        raise NoFeatureMapError(
            f"{rearranged}, which would take a matrix of {entries:,} entries, above the limit of "
            f"{MAX_MATRIX:,}; move whole channels, rows or columns"
        )
    matrix = (indices.reshape(-1, 1) == np.arange(prod(part.shape))).astype(float)
    return replace(part.dense(Dense(weight=matrix)), levels=part.levels)
