"""Products and sums of convolutions, as convolutions, and the transposed maps that give dense matrices.

Along one axis, a convolution reads source ``stride * i + offset`` for target ``i``, with one offset per tap.
Products add offsets and sums unite them, so both are arithmetic on small integer vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Pair,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    chain_output_shape,
)

_VALUES_AT_ONCE = 2**22  # of a dense matrix that is computed row by row


@dataclass(frozen=True, eq=False)
class _Axis:
    """How a convolution reads one axis: target i reads source ``stride * i + offset`` of each tap."""

    sources: int
    targets: int
    stride: int
    offsets: np.ndarray

    @property
    def useful(self) -> np.ndarray:
        """The offsets with which at least one target reads a source; at least one offset."""
        reads = self.stride * np.arange(self.targets)[:, None] + self.offsets
        used = self.offsets[((reads >= 0) & (reads < self.sources)).any(axis=0)]
        return used if len(used) else self.offsets[:1]

    def window(self) -> tuple[int, int, int, int]:
        """Kernel size, padding, dilation and stride of a convolution with these offsets.

        Padding is the same on both sides, so a window that needs more on one of them gets taps of zeros.
        """
        low, high = int(self.offsets.min()), int(self.offsets.max())
        last = self.stride * (self.targets - 1)
        padding = max(-low, last + high + 1 - self.sources, 0)
        stride = (
            self.stride if self.targets > 1 else max(self.stride, padding + self.sources - high)
        )
        end = max(high, padding + self.sources - last - stride)
        latest_end = padding + self.sources - 1 - last
        spacing = gcd(*(int(o) - low for o in self.offsets)) or max(low + padding, 1)
        spaced_end = high + -(-(end - high) // spacing) * spacing
        if (low + padding) % spacing or spaced_end > latest_end:
            return end + padding + 1, padding, 1, stride
        return (spaced_end + padding) // spacing + 1, padding, spacing, stride


def _axes(linear_map: Convolution, shape: Shape) -> tuple[_Axis, _Axis]:
    target = linear_map.output_shape(shape)
    rows, columns = (
        _Axis(
            shape[1 + axis],
            target[1 + axis],
            linear_map.stride[axis],
            linear_map.dilation[axis] * np.arange(linear_map.kernel[axis])
            - linear_map.padding[axis],
        )
        for axis in (0, 1)
    )
    return rows, columns


def is_pointwise(linear_map: LinearMap) -> bool:
    """Whether a map with a weight mixes channels only, so that it commutes with pools and resampling."""
    match linear_map:
        case Scale():
            return True
        case Convolution(kernel=kernel, stride=stride, padding=padding):
            return (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0))
        case _:
            return False


def expanded(linear_map: Convolution, groups: int) -> np.ndarray:
    """Weight of the same convolution in fewer groups, ``(out, in / groups, kernel height, kernel width)``.

    Args:
        groups: a divisor of the convolution's own.
    """
    joined = linear_map.groups // groups
    if joined == 1:
        return linear_map.weight
    out, per_group, *kernel = linear_map.weight.shape
    weight = linear_map.weight.reshape(groups, joined, -1, per_group, *kernel)
    full = np.zeros((groups, joined, weight.shape[2], joined, per_group, *kernel), weight.dtype)
    for part in range(joined):
        full[:, part, :, part] = weight[:, part]
    return full.reshape(out, joined * per_group, *kernel)


def convolution_product(
    first: Convolution,
    second: Convolution,
    shape: Shape,
    most_weights: int,
    occupied: tuple[np.ndarray, np.ndarray] | None = None,
) -> Convolution:
    """The convolution that equals ``first`` and then ``second``.

    Args:
        shape: of the feature map that ``first`` reads.
        most_weights: limit on the weights of the result.
        occupied: rows and columns of that feature map, as booleans, that are not zeros between and around
            others; None for all of them.

    Raises:
        UnsupportedNetworkError: ``second`` pads values of ``first`` that are not zero there, or there are
            more weights than the limit.
    """
    mid = first.output_shape(shape)
    groups = gcd(first.groups, second.groups)
    if occupied is None:
        occupied = np.ones(shape[1], bool), np.ones(shape[2], bool)
    axes = []
    for one, two, holds in zip(_axes(first, shape), _axes(second, mid), occupied, strict=True):
        between = two.stride * np.arange(two.targets)[:, None, None] + two.offsets[:, None]
        reads = one.stride * between + one.offsets
        padded = (between < 0) | (between >= one.targets)
        if np.isin(reads[np.broadcast_to(padded, reads.shape)], np.flatnonzero(holds)).any():
            raise UnsupportedNetworkError(
                "the zeros with which the second map pads its input have no place in one map"
            )
        offsets = np.unique(one.stride * two.offsets[:, None] + one.offsets)
        axes.append(_Axis(one.sources, two.targets, one.stride * two.stride, offsets))
    taps = _Taps.of(axes, second.weight.shape[0], shape[0] // groups)
    check_weights(taps.num_weights, most_weights)
    weight = taps.zeros()
    left = expanded(second, groups).reshape(groups, -1, mid[0] // groups, *second.kernel)
    right = expanded(first, groups).reshape(groups, mid[0] // groups, -1)
    (rows1, columns1), (rows2, columns2) = _axes(first, shape), _axes(second, mid)
    for y in range(second.kernel[0]):
        for x in range(second.kernel[1]):
            part = (left[..., y, x] @ right).reshape(len(weight), -1, *first.kernel)
            at = (
                rows1.stride * rows2.offsets[y] + rows1.offsets,
                columns1.stride * columns2.offsets[x] + columns1.offsets,
            )
            taps.add(weight, part, at)
    return taps.convolution(weight, groups)


def convolution_sum(
    first: Convolution, second: Convolution, shape: Shape, most_weights: int
) -> Convolution:
    """The convolution that equals the sum of two from the same source to the same target shape.

    Raises:
        UnsupportedNetworkError: the strides differ, or there are more weights than the limit.
    """
    groups = gcd(first.groups, second.groups)
    axes = []
    for one, two in zip(_axes(first, shape), _axes(second, shape), strict=True):
        if one.stride != two.stride and one.targets > 1:
            raise UnsupportedNetworkError(f"their strides are {one.stride} and {two.stride}")
        offsets = np.unique(np.concatenate([one.offsets, two.offsets]))
        axes.append(_Axis(one.sources, one.targets, max(one.stride, two.stride), offsets))
    taps = _Taps.of(axes, first.weight.shape[0], shape[0] // groups)
    check_weights(taps.num_weights, most_weights)
    weight = taps.zeros()
    for part in (first, second):
        rows, columns = _axes(part, shape)
        taps.add(weight, expanded(part, groups), (rows.offsets, columns.offsets))
    return taps.convolution(weight, groups)


@dataclass(frozen=True, eq=False)
class _Taps:
    """Where a convolution keeps the weight of each pair of offsets."""

    axes: tuple[_Axis, _Axis]
    shape: tuple[int, int, int, int]
    padding: Pair
    dilation: Pair
    stride: Pair

    @classmethod
    def of(cls, axes: Sequence[_Axis], out: int, per_group: int) -> _Taps:
        rows, columns = (_Axis(a.sources, a.targets, a.stride, a.useful) for a in axes)
        (height, width), *geometry = zip(rows.window(), columns.window(), strict=True)
        return cls((rows, columns), (out, per_group, height, width), *geometry)

    @property
    def num_weights(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    def zeros(self) -> np.ndarray:
        return np.zeros(self.shape)

    def add(self, weight: np.ndarray, part: np.ndarray, at: tuple[np.ndarray, np.ndarray]) -> None:
        """Add weights at pairs of offsets, dropping those with which no target reads a source."""
        kept = [np.isin(o, a.offsets) for o, a in zip(at, self.axes, strict=True)]
        rows, columns = (
            (o[k] + p) // d
            for o, k, p, d in zip(at, kept, self.padding, self.dilation, strict=True)
        )
        weight[:, :, rows[:, None], columns] += part[:, :, kept[0]][..., kept[1]]

    def convolution(self, weight: np.ndarray, groups: int) -> Convolution:
        return Convolution(
            weight=weight,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=groups,
        )


def check_weights(number: int, most: int) -> None:
    """Raise UnsupportedNetworkError, with both numbers, if a merged map would hold too many weights."""
    if number > most:
        raise UnsupportedNetworkError(
            f"merging them needs {number:,} weights, above the limit of {most:,}"
        )


def as_depthwise_convolution(
    linear_map: SumPool | AveragePool | Resample, shape: Shape
) -> Convolution:
    """The depthwise convolution that equals a map on rows and columns.

    Raises:
        UnsupportedNetworkError: the map is no window that moves by the same step everywhere, like upsampling.
    """
    windows = [_window_of(linear_map.axis_matrix(axis, shape[1 + axis])) for axis in (0, 1)]
    (rows, row_values), (columns, column_values) = windows
    taps = _Taps.of([rows, columns], shape[0], 1)
    weight = taps.zeros()
    values = np.outer(row_values, column_values) / linear_map.divisor
    part = np.broadcast_to(values, (shape[0], 1, *values.shape))
    taps.add(weight, part, (rows.offsets, columns.offsets))
    return taps.convolution(weight, shape[0])


def _window_of(matrix: np.ndarray) -> tuple[_Axis, np.ndarray]:
    """Offsets and values of a window that gives a matrix ``(targets, sources)`` as it moves."""
    targets, sources = matrix.shape
    for stride in range(1, sources + 1):
        shift = np.arange(sources) - stride * np.arange(targets)[:, None]
        offsets, place = np.unique(shift, return_inverse=True)
        values = np.zeros(len(offsets), np.int64)
        np.maximum.at(values, place.ravel(), matrix.ravel())
        if (values[place].reshape(matrix.shape) == matrix).all():
            used = values > 0 if values.any() else offsets == offsets[0]
            return _Axis(sources, targets, stride, offsets[used]), values[used]
    raise UnsupportedNetworkError("resampling between them is no window that moves by equal steps")


def dense_matrix(maps: Sequence[LinearMap], shape: Shape) -> np.ndarray:
    """Matrix of a chain of maps to ``(features, 1, 1)``, float64 ``(features, values of the source)``."""
    shapes = [shape]
    for linear_map in maps:
        shapes.append(linear_map.output_shape(shapes[-1]))
    features, *rest = shapes[-1]
    assert rest == [1, 1], "a dense map has no rows and columns"
    if maps and isinstance(maps[-1], Dense):
        values = maps[-1].weight.reshape(features, *shapes[-2]).astype(float)
        maps = maps[:-1]
    else:
        values = np.eye(features).reshape(features, features, 1, 1)
    largest = max(int(np.prod(s)) for s in shapes)
    parts = np.array_split(values, min(-(-features * largest // _VALUES_AT_ONCE), features))
    return np.concatenate([_transposed(maps, shapes, part) for part in parts])


def _transposed(
    maps: Sequence[LinearMap], shapes: Sequence[Shape], values: np.ndarray
) -> np.ndarray:
    for linear_map, shape in reversed(list(zip(maps, shapes, strict=False))):
        values = _transposed_map(linear_map, shape, values)
    return values.reshape(len(values), -1)


def _transposed_map(linear_map: LinearMap, shape: Shape, values: np.ndarray) -> np.ndarray:
    """Apply a transposed map to ``(rows, channels, height, width)`` values of its target."""
    match linear_map:
        case Scale(weight=weight):
            return values * weight[:, None, None]
        case Dense(weight=weight):
            return (values.reshape(len(values), -1) @ weight).reshape(-1, *shape)
        case SelectChannels(channels=channels):
            chosen = np.zeros((len(values), *shape))
            read = channels >= 0
            add_channels(chosen, channels[read], values[:, read])
            return chosen
        case SumPool() | AveragePool() | Resample():
            rows, columns = (linear_map.axis_matrix(axis, shape[1 + axis]) for axis in (0, 1))
            return rows.T @ values @ columns / linear_map.divisor
        case Convolution():
            return _transposed_convolution(linear_map, shape, values)
        case _:
            assert_never(linear_map)


def add_channels(target: np.ndarray, channels: np.ndarray, values: np.ndarray) -> None:
    """Add to channels of the second axis, each as often as it is named."""
    if len(np.unique(channels)) == len(channels):
        target[:, channels] += values
    else:
        np.add.at(target.swapaxes(0, 1), channels, values.swapaxes(0, 1))


def _transposed_convolution(
    linear_map: Convolution, shape: Shape, values: np.ndarray
) -> np.ndarray:
    num, _, *size = values.shape
    groups, (above, left) = linear_map.groups, linear_map.padding
    weight = linear_map.weight.reshape(groups, -1, *linear_map.weight.shape[1:])
    grouped = values.reshape(num, groups, -1, size[0] * size[1])
    padded = np.zeros((num, shape[0], shape[1] + 2 * above, shape[2] + 2 * left))
    for y in range(linear_map.kernel[0]):
        for x in range(linear_map.kernel[1]):
            part = weight[..., y, x].swapaxes(1, 2) @ grouped
            rows, columns = (
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(
                    (y, x), linear_map.dilation, size, linear_map.stride, strict=True
                )
            )
            padded[:, :, rows, columns] += part.reshape(num, shape[0], *size)
    return padded[:, :, above : above + shape[1], left : left + shape[2]]


def total_weights(maps: Iterable[LinearMap]) -> int:
    """Number of weights that some maps hold."""
    return sum(m.weight.size for m in maps if isinstance(m, Convolution | Dense | Scale))


def ends_in_features(maps: Iterable[LinearMap], shape: Shape) -> bool:
    """Whether maps end in one value per channel, which a dense map can give."""
    return chain_output_shape(maps, shape)[1:] == (1, 1)
