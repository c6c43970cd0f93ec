"""The linear maps a synapse is made of, with float or integer weights alike.

A synapse is a short chain of these maps, for example average pool then convolution. Feature maps are
always three-dimensional, ``(channels, height, width)``; a dense layer's output is ``(features, 1, 1)``.
The classes hold geometry and weights only, under field names that files use too. Engines decide how to
compute them.

A map without a weight acts on channels, rows and columns independently. ``channel_sources`` tells which
channel each target channel reads, and two small integer matrices, ``axis_matrix``, which rows and columns:
hardware models and exports need no more. Code that computes with a kind of map matches on it and ends in
``assert_never``, so that the type checker lists the places to extend for a new kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, TypeAlias, TypeVar, get_args

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError

Shape: TypeAlias = tuple[int, int, int]  # (channels, height, width)
Pair: TypeAlias = tuple[int, int]  # (vertical, horizontal)


def window_positions(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of positions of a window along one axis (rounded down, as in torch)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _windowed_shape(
    channels: int, shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> Shape:
    _, height, width = shape
    rows = window_positions(height, kernel[0], stride[0], padding[0], dilation[0])
    columns = window_positions(width, kernel[1], stride[1], padding[1], dilation[1])
    if rows < 1 or columns < 1:
        raise UnsupportedNetworkError(
            f"a {kernel[0]}x{kernel[1]} window"
            + (f" with dilation {dilation}" if dilation != (1, 1) else "")
            + f" does not fit a {height}x{width} feature map with padding {padding}; use a smaller kernel "
            f"or a larger input"
        )
    return channels, rows, columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """Two-dimensional convolution with zero padding.

    Args:
        weight: shape ``(out, in / groups, kernel height, kernel width)``.
        dilation: distance between the rows and columns of the map that neighbouring taps read.
    """

    kind: ClassVar[str] = "convolution"
    weight_dimensions: ClassVar[int] = 4
    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
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
        return _windowed_shape(
            out_channels, shape, self.kernel, self.stride, self.padding, self.dilation
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """Fully connected map over the flattened feature map.

    Args:
        weight: shape ``(out, channels * height * width)``, input in row-major order.
    """

    kind: ClassVar[str] = "dense"
    weight_dimensions: ClassVar[int] = 2
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
    """One weight per channel, such as an identity synapse with a scale.

    Args:
        weight: shape ``(channels,)``.
    """

    kind: ClassVar[str] = "scale"
    weight_dimensions: ClassVar[int] = 1
    weight: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        if self.weight.shape != (shape[0],):
            raise UnsupportedNetworkError(
                f"scale of shape {self.weight.shape} does not take {shape[0]} channels"
            )
        return shape


def window_taps(
    sources: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> np.ndarray:
    """1 where a tap connects a target to a source of one axis, int64 ``(kernel, targets, sources)``."""
    read = window_reads(sources, kernel, stride, padding, dilation)
    taps = np.zeros((kernel, len(read), sources), np.int64)
    target, tap = np.nonzero(read >= 0)
    taps[tap, target, read[target, tap]] = 1
    return taps


def window_reads(
    sources: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> np.ndarray:
    """The source that each target of one axis reads through each tap, -1 in the padding.

    Returns:
        int64 ``(targets, kernel)``.
    """
    targets = np.arange(window_positions(sources, kernel, stride, padding, dilation))
    read = targets[:, None] * stride - padding + dilation * np.arange(kernel)
    return np.where((read >= 0) & (read < sources), read, -1)


@dataclass(frozen=True, kw_only=True)
class _Pool:
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        return _windowed_shape(shape[0], shape, self.kernel, self.stride, self.padding)

    def axis_matrix(self, axis: int, size: int) -> np.ndarray:
        """How often each target adds each source along one axis, int64 ``(targets, sources)``.

        Args:
            axis: 0 for rows, 1 for columns.
            size: length of the source along that axis.
        """
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        targets = np.arange(window_positions(size, kernel, stride, padding))
        offset = np.arange(size) - (targets[:, None] * stride - padding)
        return ((offset >= 0) & (offset < kernel)).astype(np.int64)

    def axis_sums(self, axis: int, values: np.ndarray) -> np.ndarray:
        """``axis_matrix(axis, len(values)) @ values`` without the matrix, for values ``(sources, ...)``."""
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        start = np.arange(window_positions(len(values), kernel, stride, padding)) * stride - padding
        until = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        first, end = (np.clip(at, 0, len(values)) for at in (start, start + kernel))
        return np.asarray(until[end] - until[first])

    def channel_sources(self, channels: int) -> np.ndarray:
        """Source channel of each target channel, int64 ``(targets,)``; -1 for a channel of zeros."""
        return np.arange(channels)

    @property
    def fan_in(self) -> int:
        """Most source values that one target value adds up."""
        return prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class SumPool(_Pool):
    """Sum over a window: average pooling of integers, whose divisor is folded into a weight."""

    kind: ClassVar[str] = "sum_pool"

    @property
    def divisor(self) -> int:
        return 1

    def without_divisor(self) -> SumPool:
        return self


@dataclass(frozen=True, kw_only=True)
class AveragePool(_Pool):
    """Mean over a window; padded zeros count, so the divisor is the same everywhere."""

    kind: ClassVar[str] = "average_pool"

    @property
    def divisor(self) -> int:
        return self.fan_in

    def without_divisor(self) -> SumPool:
        """``divisor`` times this map: it takes integers to integers."""
        return SumPool(kernel=self.kernel, stride=self.stride, padding=self.padding)


@dataclass(frozen=True, kw_only=True, eq=False)
class Resample:
    """Weighted sums along rows, then along columns: upsampling, cropping, zero padding, uneven averages.

    Args:
        rows, columns: int64 ``(targets, sources)``, at least 0: how often each target adds each source.
        divisor: of the sums; 1 between integers.
    """

    kind: ClassVar[str] = "resample"
    rows: np.ndarray
    columns: np.ndarray
    divisor: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        sources = self.rows.shape[1], self.columns.shape[1]
        if sources != shape[1:]:
            raise UnsupportedNetworkError(
                f"resampling of {sources[0]}x{sources[1]} feature maps does not take {shape[1]}x{shape[2]}"
            )
        return shape[0], self.rows.shape[0], self.columns.shape[0]

    def axis_matrix(self, axis: int, size: int) -> np.ndarray:
        """``rows`` or ``columns``; see ``SumPool.axis_matrix``."""
        return (self.rows, self.columns)[axis]

    def axis_sums(self, axis: int, values: np.ndarray) -> np.ndarray:
        """See ``SumPool.axis_sums``."""
        return np.asarray((self.rows, self.columns)[axis] @ values)

    def channel_sources(self, channels: int) -> np.ndarray:
        """See ``SumPool.channel_sources``."""
        return np.arange(channels)

    @property
    def fan_in(self) -> int:
        """Largest sum of one target where every source is 1."""
        return int(self.rows.sum(axis=1).max() * self.columns.sum(axis=1).max())

    def without_divisor(self) -> Resample:
        """``divisor`` times this map: it takes integers to integers."""
        return replace(self, divisor=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectChannels:
    """A channel of the source, or zeros, for each channel: slices, shuffles, parts of a concatenation.

    Args:
        channels: int64 ``(targets,)``: the source channel, or -1 for zeros.
    """

    kind: ClassVar[str] = "select_channels"
    channels: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        if int(self.channels.max()) >= shape[0]:
            raise UnsupportedNetworkError(
                f"selection of channel {int(self.channels.max())} does not take {shape[0]} channels"
            )
        return len(self.channels), shape[1], shape[2]

    def axis_matrix(self, axis: int, size: int) -> np.ndarray:
        """The identity; see ``SumPool.axis_matrix``."""
        return np.eye(size, dtype=np.int64)

    def axis_sums(self, axis: int, values: np.ndarray) -> np.ndarray:
        """The values; see ``SumPool.axis_sums``."""
        return values

    def channel_sources(self, channels: int) -> np.ndarray:
        """``channels``; see ``SumPool.channel_sources``."""
        return self.channels

    @property
    def fan_in(self) -> int:
        return 1

    @property
    def divisor(self) -> int:
        return 1

    def without_divisor(self) -> SelectChannels:
        return self


WeightedMap: TypeAlias = Convolution | Dense | Scale
IntegerPool: TypeAlias = (
    SumPool | Resample | SelectChannels
)  # every map without a weight that takes integers to integers
UnweightedMap: TypeAlias = IntegerPool | AveragePool
IntegerMap: TypeAlias = WeightedMap | IntegerPool
LinearMap: TypeAlias = WeightedMap | UnweightedMap
MAP_KINDS: dict[str, type[LinearMap]] = {kind.kind: kind for kind in get_args(LinearMap)}
"""Classes by the name that files give them."""
_W = TypeVar("_W", bound=WeightedMap)


def with_weight(linear_map: _W, weight: np.ndarray) -> _W:
    """Replace the weight of a map by another of the same shape."""
    return replace(linear_map, weight=weight)


def chain_output_shape(maps: Iterable[LinearMap], shape: Shape) -> Shape:
    """Shape after all maps of a synapse.

    Raises:
        UnsupportedNetworkError: a map does not take the shape it is given.
    """
    for linear_map in maps:
        shape = linear_map.output_shape(shape)
    return shape


def chain_channel_sources(maps: Iterable[UnweightedMap], channels: int) -> np.ndarray:
    """Source channel of each channel after maps without a weight, int64 ``(targets,)``; -1 for zeros.

    Args:
        channels: of the source.
    """
    sources = np.arange(channels)
    for linear_map in maps:
        chosen = linear_map.channel_sources(len(sources))
        sources = np.where(chosen >= 0, sources[chosen], -1)
    return sources


def chain_axis_matrices(
    maps: Iterable[UnweightedMap], shape: Shape
) -> tuple[np.ndarray, np.ndarray]:
    """``axis_matrix`` of a chain of maps without a weight, for rows and for columns.

    Args:
        shape: of the source.
    """
    rows, columns = (np.eye(size, dtype=np.int64) for size in shape[1:])
    for linear_map in maps:
        rows = linear_map.axis_matrix(0, len(rows)) @ rows
        columns = linear_map.axis_matrix(1, len(columns)) @ columns
    return rows, columns


def chain_axis_sums(maps: Iterable[UnweightedMap], axis: int, values: np.ndarray) -> np.ndarray:
    """``chain_axis_matrices`` along one axis times values ``(sources, ...)``, without the matrices."""
    for linear_map in maps:
        values = linear_map.axis_sums(axis, values)
    return values


def as_grouped_convolution(
    linear_map: WeightedMap | SumPool | AveragePool, shape: Shape
) -> Convolution:
    """The convolution that gives the same values on a feature map of that shape.

    A dense map becomes one window as large as the feature map, a scale a depthwise 1x1 convolution, and a
    pool a depthwise convolution of equal weights. Resampling and the selection of channels have none.
    """
    match linear_map:
        case Convolution():
            return linear_map
        case Dense(weight=weight):
            return Convolution(weight=weight.reshape(len(weight), *shape))
        case Scale(weight=weight):
            return Convolution(weight=weight.reshape(-1, 1, 1, 1), groups=len(weight))
        case SumPool(kernel=kernel, stride=stride, padding=padding):
            weight = np.ones((shape[0], 1, *kernel), np.int8)
        case AveragePool(kernel=kernel, stride=stride, padding=padding):
            weight = np.full((shape[0], 1, *kernel), 1 / linear_map.divisor)
        case _:
            assert_never(linear_map)
    return Convolution(weight=weight, stride=stride, padding=padding, groups=shape[0])


def num_accumulations(maps: Iterable[LinearMap], shape: Shape) -> int:
    """Multiply-accumulates to apply the maps once: one per weight and position, padding included."""
    total = 0
    for linear_map in maps:
        out = linear_map.output_shape(shape)
        if isinstance(linear_map, UnweightedMap):
            total += prod(out) * linear_map.fan_in
        else:
            total += prod(out) * prod(as_grouped_convolution(linear_map, shape).weight.shape[1:])
        shape = out
    return total


def _pair_text(pair: Pair) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def describe(linear_map: LinearMap) -> str:
    """A short text for one map, for summaries and error messages."""
    match linear_map:
        case Convolution(weight=weight, stride=stride, dilation=dilation, groups=groups):
            text = f"conv {weight.shape[2]}x{weight.shape[3]}"
            text += f" /{_pair_text(stride)}" if stride != (1, 1) else ""
            text += f" dilation={_pair_text(dilation)}" if dilation != (1, 1) else ""
            return text + (f" groups={groups}" if groups > 1 else "")
        case Dense():
            return "dense"
        case Scale():
            return "identity"
        case AveragePool(kernel=kernel) | SumPool(kernel=kernel):
            return f"pool {kernel[0]}x{kernel[1]}"
        case Resample(rows=rows, columns=columns):
            sizes = zip(rows.shape, columns.shape, strict=True)
            target, source = (f"{height}x{width}" for height, width in sizes)
            return f"resample {source} to {target}"
        case SelectChannels(channels=channels):
            return f"select {len(channels)} channels"
        case _:
            assert_never(linear_map)
