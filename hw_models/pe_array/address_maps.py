"""How a kernel reads its operands: which stored channel, row and column each of its positions comes from.

Slices, crops, strided subsets, nearest upsampling, zero padding, zero insertion and the place of a part in a
concatenation only select values. The array reads them in place: a selection in front of a map, or behind it,
changes the addresses of the map's kernel and costs nothing else. Sums (pools, uneven averages) are kernels
of their own, with one addition for each tap; a value that counts several times is added several times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.loop_nest import Addresses
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    IntegerPool,
    Pair,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    as_grouped_convolution,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """A feature map whose values are zeros or single values of a stored map.

    Attributes:
        channels, rows, columns: stored index of each channel, row and column, int64; -1 for zeros.
    """

    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def whole(cls, shape: Shape) -> Selection:
        """The stored map itself."""
        return cls(channels=_all(shape[0]), rows=_all(shape[1]), columns=_all(shape[2]))

    @property
    def shape(self) -> Shape:
        return len(self.channels), len(self.rows), len(self.columns)

    @property
    def repeats_positions(self) -> bool:
        """Whether a row or column is selected more than once."""
        return any(
            len(np.unique(used)) < len(used)
            for used in (self.rows[self.rows >= 0], self.columns[self.columns >= 0])
        )

    def then(self, pool: IntegerPool) -> Selection:
        """What a map that selects single values makes of this one."""
        rows, columns = (pool.axis_matrix(axis, self.shape[axis + 1]) for axis in (0, 1))
        return Selection(
            channels=taken(self.channels, pool.channel_sources(len(self.channels))),
            rows=taken(self.rows, _selected(rows)),
            columns=taken(self.columns, _selected(columns)),
        )

    def flat(self, stored: Shape) -> np.ndarray:
        """Index of each value in the flattened stored map, -1 for zeros."""
        channels, rows, columns = self.channels[:, None, None], self.rows[:, None], self.columns
        index = (channels * stored[1] + rows) * stored[2] + columns
        return np.where((channels < 0) | (rows < 0) | (columns < 0), -1, index).reshape(-1)


def taken(indices: np.ndarray, at: np.ndarray) -> np.ndarray:
    """``indices[at]``, and -1 where ``at`` is -1."""
    return np.where(at < 0, -1, indices[at])


def is_selection(linear_map: IntegerMap, shape: Shape) -> bool:
    """Whether every value of a map's result is zero or a single source value."""
    if not isinstance(linear_map, IntegerPool):
        return False
    return all(
        (linear_map.axis_matrix(axis, shape[axis + 1]).sum(axis=1) <= 1).all() for axis in (0, 1)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class AddressedMap:
    """One map as a grouped convolution over the map that its addresses select.

    Attributes:
        weight: shape ``(groups, C_o, C_i, K_h, K_w)``, channels per group.
        input_size: rows and columns of the selected map.
        addresses: stored row and column of each of them; None if they are stored as they are read.
        channels: stored channel of each of the ``groups * C_i`` channels, -1 for zeros; an index into the
            flattened map for a dense layer.
        targets: channel of the result that each of the ``groups * C_o`` channels is; ascending. The other
            channels get nothing from this map.
        size: rows and columns of the result.
    """

    weight: np.ndarray
    stride: Pair
    padding: Pair
    dilation: Pair
    input_size: Pair
    addresses: tuple[Addresses, Addresses]
    channels: np.ndarray
    targets: np.ndarray
    size: Pair

    @property
    def fan_in(self) -> int:
        """Number of operands that one sum adds up."""
        return prod(self.weight.shape[2:])

    def one_channel_per_group(self) -> AddressedMap:
        """The same map, with a group for each channel of the result."""
        groups, out, inputs, *kernel = self.weight.shape
        return replace(
            self,
            weight=self.weight.reshape(groups * out, 1, inputs, *kernel),
            channels=self.channels.reshape(groups, inputs).repeat(out, axis=0).reshape(-1),
        )

    def covering(self, targets: np.ndarray) -> AddressedMap:
        """The same map with more channels of the result, which add zeros.

        Args:
            targets: ascending; those of this map are among them.
        """
        if len(targets) == len(self.targets):
            return self
        if len(self.weight) > 1:
            return self.one_channel_per_group()._with_groups(targets)
        weight = np.zeros((1, len(targets), *self.weight.shape[2:]), self.weight.dtype)
        weight[:, np.searchsorted(targets, self.targets)] = self.weight
        return replace(self, weight=weight, targets=targets)

    def _with_groups(self, targets: np.ndarray) -> AddressedMap:
        inputs, at = self.weight.shape[2], np.searchsorted(targets, self.targets)
        weight = np.zeros((len(targets), *self.weight.shape[1:]), self.weight.dtype)
        channels = np.full((len(targets), inputs), -1)
        weight[at], channels[at] = self.weight, self.channels.reshape(-1, inputs)
        return replace(self, weight=weight, channels=channels.reshape(-1), targets=targets)


def addressed_map(
    linear_map: IntegerMap, reads: Selection, stored: Shape, writes: Selection | None = None
) -> AddressedMap:
    """A map together with the selections around it.

    Args:
        reads: what the map reads.
        stored: shape of the map in memory that ``reads`` selects from.
        writes: what is selected of the map's result, whose positions do not repeat; None for all.
    """
    plain = _plain(linear_map, reads, stored)
    if writes is not None:
        plain = _selected_channels(_selected_positions(plain, writes), writes.channels)
    return _without_zeros(plain)


def _plain(linear_map: IntegerMap, reads: Selection, stored: Shape) -> AddressedMap:
    match linear_map:
        case Resample():
            return _resampling(linear_map, reads)
        case SelectChannels():
            raise AssertionError("a selection is part of the addresses")
        case Dense(weight=weight):
            convolution = Convolution(weight=weight[:, :, None, None])
            channels, rows, columns = reads.flat(stored), _all(1), _all(1)
        case Convolution() | Scale() | SumPool():
            convolution = as_grouped_convolution(linear_map, reads.shape)
            channels, rows, columns = reads.channels, reads.rows, reads.columns
        case _:
            assert_never(linear_map)
    groups, weight = convolution.groups, convolution.weight
    return AddressedMap(
        weight=weight.reshape(groups, -1, *weight.shape[1:]),
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        input_size=(len(rows), len(columns)),
        addresses=(_addresses(rows), _addresses(columns)),
        channels=channels,
        targets=_all(len(weight)),
        size=convolution.output_shape((len(channels), len(rows), len(columns)))[1:],
    )


def _resampling(resample: Resample, reads: Selection) -> AddressedMap:
    """One tap for each time that a source counts; the taps of an output are next to each other."""
    rows = taken(reads.rows, _taps(resample.rows))
    columns = taken(reads.columns, _taps(resample.columns))
    return gathered(rows, columns, reads.channels)


def gathered(rows: np.ndarray, columns: np.ndarray, channels: np.ndarray) -> AddressedMap:
    """Sums over the stored rows and columns of each output, ``(outputs, taps)``, -1 for none."""
    kernel = rows.shape[1], columns.shape[1]
    return AddressedMap(
        weight=np.broadcast_to(np.int8(1), (len(channels), 1, 1, *kernel)),
        stride=kernel,
        padding=(0, 0),
        dilation=(1, 1),
        input_size=(rows.size, columns.size),
        addresses=(_addresses(rows.reshape(-1)), _addresses(columns.reshape(-1))),
        channels=channels,
        targets=_all(len(channels)),
        size=(len(rows), len(columns)),
    )


def _selected_positions(plain: AddressedMap, writes: Selection) -> AddressedMap:
    """The outputs at some rows and columns; each keeps its own taps."""
    if np.array_equal(writes.rows, _all(plain.size[0])) and np.array_equal(
        writes.columns, _all(plain.size[1])
    ):
        return plain
    taps = [_stored_taps(plain, axis) for axis in (0, 1)]
    chosen = [
        np.where(wanted[:, None] < 0, -1, stored[wanted])
        for stored, wanted in zip(taps, (writes.rows, writes.columns), strict=True)
    ]
    chosen_map = gathered(chosen[0], chosen[1], plain.channels)
    return replace(chosen_map, weight=plain.weight, targets=plain.targets)


def _stored_taps(plain: AddressedMap, axis: int) -> np.ndarray:
    """Stored position that each output reads through each tap, ``(outputs, taps)``, -1 for none."""
    outputs = np.arange(plain.size[axis])[:, None] * plain.stride[axis] - plain.padding[axis]
    positions = outputs + np.arange(plain.weight.shape[3 + axis]) * plain.dilation[axis]
    positions = np.where((positions >= 0) & (positions < plain.input_size[axis]), positions, -1)
    addresses = plain.addresses[axis]
    return positions if addresses is None else taken(np.array(addresses), positions)


def _selected_channels(plain: AddressedMap, wanted: np.ndarray) -> AddressedMap:
    """The result at some channels; a selection that breaks groups up runs one channel per group."""
    if np.array_equal(wanted, _all(len(plain.targets))):
        return plain
    targets = np.flatnonzero(wanted >= 0)
    used = wanted[targets]
    groups, out, inputs = plain.weight.shape[:3]
    if groups == 1 or not len(used):
        first = plain.weight[:1, used if len(used) else slice(0)]
        return replace(plain, weight=first, channels=plain.channels[:inputs], targets=targets)
    if (
        len(used) % out
        or (used.reshape(-1, out) != used[::out, None] // out * out + _all(out)).any()
    ):
        plain, out = plain.one_channel_per_group(), 1
    chosen = used[::out] // out
    return replace(
        plain,
        weight=plain.weight[chosen],
        channels=plain.channels.reshape(-1, inputs)[chosen].reshape(-1),
        targets=targets,
    )


def _without_zeros(plain: AddressedMap) -> AddressedMap:
    """The map without groups, or input channels of a single group, that read zeros alone."""
    groups, out, inputs = plain.weight.shape[:3]
    stored = plain.channels.reshape(groups, inputs)
    is_used = stored >= 0
    if is_used.all() or not is_used.any():
        return plain
    if groups == 1:
        return replace(plain, weight=plain.weight[:, :, is_used[0]], channels=stored[0, is_used[0]])
    kept = is_used.any(axis=1)
    return replace(
        plain,
        weight=plain.weight[kept],
        channels=stored[kept].reshape(-1),
        targets=plain.targets.reshape(groups, out)[kept].reshape(-1),
    )


def _taps(matrix: np.ndarray) -> np.ndarray:
    """Source of each tap of each target, each as often as it counts, ``(targets, taps)``; -1 for none."""
    lengths = matrix.sum(axis=1)
    taps = np.full((len(matrix), max(1, int(lengths.max()))), -1)
    targets, sources = np.nonzero(matrix)
    is_tap = np.arange(taps.shape[1]) < lengths[:, None]
    taps[is_tap] = sources.repeat(matrix[targets, sources])
    return taps


def _selected(matrix: np.ndarray) -> np.ndarray:
    """The one source of each target, or -1."""
    return np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1)


def _addresses(stored: np.ndarray) -> Addresses:
    is_plain = np.array_equal(stored, _all(len(stored)))
    return None if is_plain else tuple(stored.tolist())


def _all(size: int) -> np.ndarray:
    return np.arange(size)
