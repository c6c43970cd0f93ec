"""The linear maps a synapse is made of, with float or integer weights alike.

A synapse is a short chain of these maps, for example average pool then convolution. Feature maps are
always three-dimensional, ``(channels, height, width)``; a dense layer's output is ``(features, 1, 1)``.
The classes hold geometry and weights only. Engines decide how to compute them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias, TypeVar

import numpy as np

from toolchain.errors import UnsupportedNetworkError

Shape: TypeAlias = tuple[int, int, int]  # (channels, height, width)
Pair: TypeAlias = tuple[int, int]  # (vertical, horizontal)


def window_positions(size: int, kernel: int, stride: int, padding: int) -> int:
    """Number of places a window takes along one axis (floor, as in torch)."""
    return (size + 2 * padding - kernel) // stride + 1


def _windowed_shape(
    channels: int, shape: Shape, kernel: Pair, stride: Pair, padding: Pair
) -> Shape:
    _, height, width = shape
    rows = window_positions(height, kernel[0], stride[0], padding[0])
    columns = window_positions(width, kernel[1], stride[1], padding[1])
    if rows < 1 or columns < 1:
        raise UnsupportedNetworkError(
            f"a {kernel[0]}x{kernel[1]} window does not fit a {height}x{width} feature map "
            f"with padding {padding}; use a smaller kernel or a larger input"
        )
    return channels, rows, columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """Two-dimensional convolution with zero padding.

    Args:
        weight: shape ``(out, in / groups, kernel height, kernel width)``.
    """

    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1

    @property
    def kernel(self) -> Pair:
        return self.weight.shape[2], self.weight.shape[3]

    def output_shape(self, shape: Shape) -> Shape:
        out_channels, in_channels = self.weight.shape[:2]
        if in_channels * self.groups != shape[0] or out_channels % self.groups:
            raise UnsupportedNetworkError(
                f"convolution weight of shape {self.weight.shape} with groups={self.groups} "
                f"does not take {shape[0]} channels"
            )
        return _windowed_shape(out_channels, shape, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """Fully connected map over the flattened feature map.

    Args:
        weight: shape ``(out, channels * height * width)``, input in row-major order.
    """

    weight: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.shape[1] != prod(shape):
            raise UnsupportedNetworkError(
                f"dense weight of shape {self.weight.shape} does not take a {shape} feature map "
                f"({prod(shape)} values)"
            )
        return self.weight.shape[0], 1, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """One weight per channel: what an identity synapse becomes when it carries a scale.

    Args:
        weight: shape ``(channels,)``.
    """

    weight: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.shape != (shape[0],):
            raise UnsupportedNetworkError(
                f"scale of shape {self.weight.shape} does not take {shape[0]} channels"
            )
        return shape


@dataclass(frozen=True, kw_only=True)
class _Pool:
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        return _windowed_shape(shape[0], shape, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, kw_only=True)
class AveragePool(_Pool):
    """Mean over a window; padded zeros count, so the divisor is the same everywhere."""

    @property
    def divisor(self) -> int:
        return prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class SumPool(_Pool):
    """Sum over a window: the integer form of average pooling, its divisor folded elsewhere."""


WeightedMap: TypeAlias = Convolution | Dense | Scale
LinearMap: TypeAlias = Convolution | Dense | Scale | AveragePool | SumPool
_W = TypeVar("_W", bound=WeightedMap)


def with_weight(linear_map: _W, weight: np.ndarray) -> _W:
    """The same map with another weight of the same shape."""
    return replace(linear_map, weight=weight)


def chain_output_shape(maps: Iterable[LinearMap], shape: Shape) -> Shape:
    """Shape after all maps of a synapse.

    Raises:
        UnsupportedNetworkError: a map does not take the shape it is given.
    """
    for linear_map in maps:
        shape = linear_map.output_shape(shape)
    return shape


def num_accumulations(maps: Iterable[LinearMap], shape: Shape) -> int:
    """Multiply-accumulates of one application, padding included (one per weight and position)."""
    total = 0
    for linear_map in maps:
        out = linear_map.output_shape(shape)
        match linear_map:
            case Convolution():
                total += prod(out) * prod(linear_map.weight.shape[1:])
            case Dense():
                total += linear_map.weight.size
            case Scale():
                total += prod(out)
            case AveragePool() | SumPool():
                total += prod(out) * prod(linear_map.kernel)
        shape = out
    return total


def describe(linear_map: LinearMap) -> str:
    """One map in a few words, for summaries and error messages."""
    match linear_map:
        case Convolution(weight=weight, stride=stride, groups=groups):
            text = f"conv {weight.shape[2]}x{weight.shape[3]}"
            text += f" /{stride[0]}" if stride != (1, 1) else ""
            return text + (f" groups={groups}" if groups > 1 else "")
        case Dense():
            return "dense"
        case Scale():
            return "identity"
        case AveragePool(kernel=kernel) | SumPool(kernel=kernel):
            return f"pool {kernel[0]}x{kernel[1]}"
