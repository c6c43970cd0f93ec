"""A chain of maps around one weight, and how another map joins it.

Maps without a weight act on channels and on rows and columns independently, so a sequence of them is one
selection of channels and one map on rows and columns, in either order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import TypeAlias

import numpy as np

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
    UnweightedMap,
    WeightedMap,
    as_grouped_convolution,
    chain_output_shape,
    describe,
    with_weight,
)
from toolchain.networks.map_algebra.convolutions import (
    add_channels,
    as_depthwise_convolution,
    check_weights,
    convolution_product,
    dense_matrix,
    ends_in_features,
    expanded,
    is_pointwise,
)

MAX_MERGED_WEIGHTS = 2**24
"""Most weights of a map that replaces others; the largest layers of common networks have about as many."""

SpatialMap: TypeAlias = SumPool | AveragePool | Resample


@dataclass(frozen=True, eq=False)
class Side:
    """Maps without a weight, as a selection of channels and a map on rows and columns, which commute.

    Attributes:
        shape: of the source.
        channels: source of each target channel, -1 for zeros; None for all of them in their order.
    """

    shape: Shape
    channels: np.ndarray | None = None
    spatial: SpatialMap | None = None

    @property
    def output_shape(self) -> Shape:
        return chain_output_shape(self.maps, self.shape)

    @property
    def selection(self) -> np.ndarray:
        """``channels``, the plain order included."""
        return np.arange(self.shape[0]) if self.channels is None else self.channels

    @property
    def occupied(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the output, as booleans, that are not zeros between and around others."""
        if self.spatial is None:
            return np.ones(self.shape[1], bool), np.ones(self.shape[2], bool)
        rows, columns = (self.spatial.axis_matrix(a, self.shape[1 + a]) for a in (0, 1))
        return np.asarray(rows.any(axis=1)), np.asarray(columns.any(axis=1))

    @property
    def maps(self) -> tuple[UnweightedMap, ...]:
        """The channels are selected where fewer of them pass the other map."""
        spatial = () if self.spatial is None else (self.spatial,)
        if self.channels is None:
            return spatial
        select = SelectChannels(channels=self.channels)
        few = len(self.channels) < self.shape[0]
        return (select, *spatial) if few else (*spatial, select)

    def then(self, linear_map: UnweightedMap) -> Side:
        if isinstance(linear_map, SelectChannels):
            return self.selecting(linear_map.channels)
        shape = self.output_shape
        if self.spatial is not None:
            rows, columns = (
                linear_map.axis_matrix(axis, shape[1 + axis])
                @ self.spatial.axis_matrix(axis, self.shape[1 + axis])
                for axis in (0, 1)
            )
            linear_map = _resample(rows, columns, self.spatial.divisor * linear_map.divisor)
        return replace(self, spatial=None if _is_identity(linear_map, shape) else linear_map)

    def selecting(self, channels: np.ndarray) -> Side:
        """The same maps, then a selection of channels."""
        selected = np.where(channels >= 0, self.selection[channels], -1)
        plain = np.array_equal(selected, np.arange(self.shape[0]))
        return replace(self, channels=None if plain else selected)


def _resample(rows: np.ndarray, columns: np.ndarray, divisor: int) -> Resample:
    """Resampling with the least integers."""
    for matrix in (rows, columns):
        common = gcd(int(np.gcd.reduce(matrix, axis=None)), divisor)
        matrix //= common
        divisor //= common
    return Resample(rows=rows, columns=columns, divisor=divisor)


def _is_identity(linear_map: SpatialMap, shape: Shape) -> bool:
    matrices = (linear_map.axis_matrix(axis, shape[1 + axis]) for axis in (0, 1))
    return linear_map.divisor == 1 and all(
        np.array_equal(matrix, np.eye(size))
        for matrix, size in zip(matrices, shape[1:], strict=True)
    )


@dataclass(frozen=True, eq=False)
class Chain:
    """Maps without a weight, a map with a weight or none, and more without a weight.

    Attributes:
        after: plain if no map carries a weight.
    """

    before: Side
    weighted: WeightedMap | None
    after: Side

    @classmethod
    def of(cls, before: Side, weighted: WeightedMap, after: Side | None = None) -> Chain:
        shape = weighted.output_shape(before.output_shape)
        return cls(before, weighted, Side(shape) if after is None else replace(after, shape=shape))

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        if self.weighted is None:
            return self.before.maps
        return (*self.before.maps, self.weighted, *self.after.maps)

    def then(self, linear_map: LinearMap, most: int) -> Chain:
        """The same maps, then another.

        Raises:
            UnsupportedNetworkError: no single weight of at most ``most`` values gives that.
        """
        if isinstance(linear_map, UnweightedMap):
            if self.weighted is None:
                return replace(self, before=self.before.then(linear_map))
            return replace(self, after=self.after.then(linear_map))
        if self.weighted is None:
            return Chain.of(self.before, linear_map)
        if isinstance(linear_map, Scale):
            return _scaled(self, linear_map.weight, most)
        return _joined(self, linear_map, most)


def _groups(weighted: WeightedMap) -> int:
    match weighted:
        case Convolution(groups=groups):
            return groups
        case Dense():
            return 1
        case Scale(weight=weight):
            return len(weight)


def is_depthwise(weighted: WeightedMap) -> bool:
    """Whether each target channel reads the source channel of the same index alone."""
    return isinstance(weighted, Scale) or (
        isinstance(weighted, Convolution)
        and weighted.groups == len(weighted.weight)
        and weighted.weight.shape[1] == 1
    )


def ungrouped(weighted: WeightedMap, most: int) -> Convolution | Dense:
    """The same map in one group."""
    if isinstance(weighted, Dense):
        return weighted
    conv = as_grouped_convolution(weighted, (len(weighted.weight), 1, 1))
    if conv.groups == 1:
        return conv
    check_weights(conv.weight.size * conv.groups, most)
    return replace(conv, weight=expanded(conv, 1), groups=1)


def _per_row(weighted: WeightedMap, values: np.ndarray) -> np.ndarray:
    """The weight with one factor per target channel."""
    return weighted.weight * values.reshape(-1, *[1] * (weighted.weight.ndim - 1))


def _scaled(chain: Chain, scale: np.ndarray, most: int) -> Chain:
    """A chain with a weight, then a scale: its values go into the rows of the weight."""
    assert chain.weighted is not None
    channels, weighted = chain.after.selection, chain.weighted
    read = channels >= 0
    per_row = np.zeros(len(weighted.weight))
    per_row[channels[read]] = scale[read]
    if (per_row[channels[read]] == scale[read]).all():
        return replace(chain, weighted=with_weight(weighted, _per_row(weighted, per_row)))
    place = np.where(read, np.cumsum(read) - 1, -1)
    chain = _with_rows(chain, channels[read], place, most)
    assert chain.weighted is not None
    return replace(
        chain, weighted=with_weight(chain.weighted, _per_row(chain.weighted, scale[read]))
    )


def _with_rows(chain: Chain, rows: np.ndarray, channels: np.ndarray, most: int) -> Chain:
    """The weight's rows in another order or number, then another selection of channels."""
    before, weighted, after = chain.before, chain.weighted, chain.after
    assert weighted is not None
    if is_depthwise(weighted):
        before = before.selecting(rows)
        changed = with_weight(weighted, weighted.weight[rows])
        if isinstance(changed, Convolution):
            changed = replace(changed, groups=len(rows))
    else:
        changed = ungrouped(weighted, most)
        check_weights(changed.weight[:1].size * len(rows), most)
        changed = with_weight(changed, changed.weight[rows])
    after = replace(after, shape=(len(rows), *after.shape[1:]), channels=None)
    return Chain.of(before, changed, after.selecting(channels))


def _joined(chain: Chain, second: Convolution | Dense, most: int) -> Chain:
    """A chain with a weight, then another convolution or dense map."""
    before, first, after = chain.before, chain.weighted, chain.after
    assert first is not None
    size = after.output_shape[1:]
    second = reading_selection(second, after.selection, after.shape[0], size, _groups(first), most)
    spatial, after = after.spatial, replace(after, channels=None, spatial=None)
    shape = first.output_shape(before.output_shape)
    moved = Side(second.output_shape((shape[0], *size)))
    if spatial is not None:
        shrinks = prod(size) < prod(after.shape[1:])
        if is_pointwise(first) and (shrinks or not is_pointwise(second)):
            before = before.then(spatial)
        elif is_pointwise(second):
            moved = replace(moved, shape=second.output_shape(shape), spatial=spatial)
        elif isinstance(first, Convolution) and isinstance(second, Convolution):
            window = as_depthwise_convolution(spatial, shape)
            first = convolution_product(first, window, before.output_shape, most, before.occupied)
        else:
            raise UnsupportedNetworkError(
                f"{describe(spatial)} between them does not merge with both"
            )
    merged = _product(first, second, before, most)
    return Chain.of(before, merged, moved)


def reading_selection(
    weighted: Convolution | Dense,
    channels: np.ndarray,
    num_channels: int,
    size: Pair,
    groups: int,
    most: int,
) -> Convolution | Dense:
    """A selection of channels, then a map, as the same kind of map.

    Args:
        num_channels: number of channels that are selected from.
        size: height and width of the feature map.
        groups: number of groups of the map before, which the result keeps if it can.
    """
    if np.array_equal(channels, np.arange(num_channels)):
        return weighted
    if isinstance(weighted, Dense):
        out = len(weighted.weight)
        check_weights(out * num_channels * prod(size), most)
        maps = SelectChannels(channels=channels), weighted
        return Dense(weight=dense_matrix(maps, (num_channels, *size)))
    common = gcd(gcd(groups, weighted.groups), num_channels)
    source_share, target_share = num_channels // common, len(channels) // common
    block = np.arange(len(channels)) // target_share
    read = channels >= 0
    if (channels[read] // source_share != block[read]).any():
        common, source_share = 1, num_channels
    check_weights(weighted.weight[:, 0].size * source_share, most)
    weight = expanded(weighted, common)
    group = np.arange(len(weight)) // (len(weight) // common)
    chosen = np.zeros((len(weight), source_share, *weighted.kernel))
    for row in range(common):
        inputs = channels.reshape(common, -1)[row]
        rows, used = group == row, inputs >= 0
        part = np.zeros((int(rows.sum()), source_share, *weighted.kernel))
        at = inputs[used] - row * source_share
        add_channels(part, at, weight[rows][:, used])
        chosen[rows] = part
    return replace(weighted, weight=chosen, groups=common)


def _product(first: WeightedMap, second: WeightedMap, before: Side, most: int) -> WeightedMap:
    """One map that equals two, which read what ``before`` gives."""
    shape = before.output_shape
    match first, second:
        case Scale(weight=scale), Convolution(groups=groups):
            out, per_group = second.weight.shape[:2]
            inputs = np.arange(out)[:, None] // (out // groups) * per_group + np.arange(per_group)
            return with_weight(second, second.weight * scale[inputs][..., None, None])
        case Scale(weight=scale), Dense(weight=weight):
            return Dense(weight=weight * np.repeat(scale, prod(shape[1:])))
        case _, Dense():
            check_weights(len(second.weight) * prod(shape), most)
            return Dense(weight=dense_matrix((first, second), shape))
        case Convolution(), Convolution():
            return convolution_product(first, second, shape, most, before.occupied)
        case Dense(), Convolution() if ends_in_features((first, second), shape):
            check_weights(len(second.weight) * prod(shape), most)
            return Dense(weight=dense_matrix((first, second), shape))
        case _:
            raise UnsupportedNetworkError("no single map gives the same values")


def simplified(chain: Chain) -> Chain:
    """Fold maps without a weight into the weight where that makes it no larger."""
    if chain.weighted is None:
        return chain
    chain = _folded_after(_folded_spatial(chain))
    before, weighted, channels = chain.before, chain.weighted, chain.before.channels
    if channels is None or weighted is None or not (channels >= 0).any():
        return chain
    read = channels >= 0
    if is_depthwise(weighted):
        if read.all():
            return chain
        rows = np.flatnonzero(read)
        place = np.where(read, np.cumsum(read) - 1, -1)
        after = chain.after.selection
        return _with_rows(chain, rows, np.where(after >= 0, place[after], -1), 0)
    if _groups(weighted) > 1:
        return chain
    used, place = np.unique(channels[read], return_inverse=True)
    if len(used) == len(channels) and (used == channels).all():
        return chain
    selection = np.full(len(channels), -1)
    selection[read] = place
    assert not isinstance(weighted, Scale)
    size = before.output_shape[1:]
    narrower = reading_selection(weighted, selection, len(used), size, 1, weighted.weight.size)
    return replace(chain, before=replace(before, channels=None).selecting(used), weighted=narrower)


def _folded_spatial(chain: Chain) -> Chain:
    """Fold a map on rows and columns that gives more values than it reads into a dense weight."""
    before, weighted = chain.before, chain.weighted
    if not isinstance(weighted, Dense) or before.spatial is None:
        return chain
    narrow = replace(before, spatial=None)
    shape = narrow.output_shape
    if prod(shape) >= prod(before.output_shape):
        return chain
    merged = Dense(weight=dense_matrix((before.spatial, weighted), shape))
    return replace(chain, before=narrow, weighted=merged)


def _folded_after(chain: Chain) -> Chain:
    """Fold the selection behind a weight into its rows, each of which one target reads then, or none.

    All that can be left of the selection are channels of zeros, and the rows that a grouped weight needs.
    """
    weighted, channels = chain.weighted, chain.after.channels
    if channels is None or weighted is None or not (channels >= 0).any():
        return chain
    read = channels >= 0
    once = len(np.unique(channels[read])) == read.sum()
    if once and _groups(weighted) > 1:
        few = read.sum() < len(weighted.weight)
        if not (few and is_depthwise(weighted)):
            return chain
    place = np.where(read, np.cumsum(read) - 1, -1)
    return _with_rows(chain, channels[read], place, MAX_MERGED_WEIGHTS)
