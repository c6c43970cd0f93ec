"""Sums of chains as one chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Scale,
    Shape,
    WeightedMap,
    as_grouped_convolution,
    chain_output_shape,
)
from toolchain.networks.map_algebra.chain import (
    Chain,
    Side,
    SpatialMap,
    is_depthwise,
    reading_selection,
    simplified,
    ungrouped,
)
from toolchain.networks.map_algebra.convolutions import (
    as_depthwise_convolution,
    check_weights,
    convolution_product,
    convolution_sum,
    dense_matrix,
    is_pointwise,
    total_weights,
)
from toolchain.networks.map_algebra.series import chain_text, most_weights, series_chain


def merged_in_parallel(
    first: Sequence[LinearMap], second: Sequence[LinearMap], shape: Shape
) -> tuple[LinearMap, ...]:
    """A chain with one weight that equals the sum of two chains from one source to one target.

    Args:
        first, second: chains of maps, applied in order.
        shape: of the source.

    Raises:
        UnsupportedNetworkError: the chains end in different shapes, or no single weight of reasonable size
            gives the same values.
    """
    ends = chain_output_shape(first, shape), chain_output_shape(second, shape)
    text = f"({chain_text(first)}) + ({chain_text(second)})"
    if ends[0] != ends[1]:
        raise UnsupportedNetworkError(f"{text}: shapes {ends[0]} and {ends[1]} cannot be added")
    (features, *size), most = ends[0], most_weights((*first, *second))
    one, two = series_chain(first, shape), series_chain(second, shape)
    try:
        merged = _sum(one, two, most)
    except UnsupportedNetworkError as error:
        reason = str(error)
        if size == [1, 1]:
            try:
                check_weights(features * prod(shape), most)
                return (_dense_sum(one, two),)
            except UnsupportedNetworkError as limit:
                reason += f", and as a dense map, {limit}"
        raise UnsupportedNetworkError(
            f"{text}: {reason}; put a quantizer on one of the paths"
        ) from None
    if size == [1, 1] and total_weights(merged) > features * prod(shape):
        return (_dense_sum(one, two),)
    return merged


@dataclass(frozen=True, eq=False)
class _Core:
    """A convolution between two selections of channels.

    Attributes:
        inputs: source channel of each channel that the convolution reads, -1 for zeros.
        rows: row of the convolution of each target channel, -1 for zeros.
    """

    convolution: Convolution
    inputs: np.ndarray
    rows: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """The source of each target channel, -1 for zeros, if the convolution is depthwise."""
        return np.where(self.rows >= 0, self.inputs[self.rows], -1)


def _sum(first: Chain, second: Chain, most: int) -> tuple[LinearMap, ...]:
    """The sum of two chains. What both begin or end with on rows and columns stays outside."""
    first, second = _pools_first(_with_weight(first)), _pools_first(_with_weight(second))
    one, two = first.weighted, second.weighted
    if isinstance(one, Dense) and isinstance(two, Dense) and _same_sides(first, second):
        return replace(first, weighted=Dense(weight=one.weight + two.weight)).maps
    lead = replace(first.before, channels=None)
    if not _same_spatial(first.before, second.before):
        lead = replace(lead, spatial=None)
    trail = first.after.spatial if _same_spatial(first.after, second.after) else None
    shape = lead.output_shape
    cores = (_core(chain, lead.spatial, trail, shape, most) for chain in (first, second))
    inputs, convolution, rows = _core_sum(next(cores), next(cores), shape, most)
    weighted: WeightedMap = convolution
    if is_depthwise(convolution) and is_pointwise(convolution):
        weighted = Scale(weight=convolution.weight.reshape(-1))
    elif isinstance(one, Dense) or isinstance(two, Dense):
        features = len(convolution.weight)
        if convolution.weight[0].size == prod(shape):
            weighted = Dense(weight=convolution.weight.reshape(features, -1))
    chain = Chain.of(lead.selecting(inputs), weighted)
    return simplified(
        replace(chain, after=replace(chain.after, spatial=trail).selecting(rows))
    ).maps


def _with_weight(chain: Chain) -> Chain:
    if chain.weighted is not None:
        return chain
    return simplified(Chain.of(chain.before, Scale(weight=np.ones(chain.before.output_shape[0]))))


def _pools_first(chain: Chain) -> Chain:
    """Maps on rows and columns before a weight that only mixes channels."""
    after = chain.after
    if chain.weighted is None or after.spatial is None or not is_pointwise(chain.weighted):
        return chain
    before = chain.before.then(after.spatial)
    return Chain.of(before, chain.weighted, replace(after, spatial=None))


def _same_spatial(one: Side, two: Side) -> bool:
    if one.spatial is None or two.spatial is None or one.shape[1:] != two.shape[1:]:
        return one.spatial is two.spatial
    return one.spatial.divisor == two.spatial.divisor and all(
        np.array_equal(
            one.spatial.axis_matrix(axis, one.shape[1 + axis]),
            two.spatial.axis_matrix(axis, two.shape[1 + axis]),
        )
        for axis in (0, 1)
    )


def _same_sides(first: Chain, second: Chain) -> bool:
    return all(
        np.array_equal(one.selection, two.selection) and _same_spatial(one, two)
        for one, two in ((first.before, second.before), (first.after, second.after))
    )


def _core(
    chain: Chain,
    lead: SpatialMap | None,
    trail: SpatialMap | None,
    source: Shape,
    most: int,
) -> _Core:
    """A chain without the maps that both have, which stay outside, as one convolution."""
    before, weighted, after = chain.before, chain.weighted, chain.after
    assert weighted is not None
    inputs = before.selection
    shape = len(inputs), *source[1:]
    convolution = as_grouped_convolution(weighted, before.output_shape)
    if before.spatial is not None and lead is None:
        window = as_depthwise_convolution(before.spatial, shape)
        convolution = convolution_product(window, convolution, shape, most)
    if after.spatial is not None and trail is None:
        window = as_depthwise_convolution(after.spatial, convolution.output_shape(shape))
        convolution = convolution_product(convolution, window, shape, most)
    return _Core(convolution, inputs, after.selection)


def _core_sum(
    one: _Core, two: _Core, source: Shape, most: int
) -> tuple[np.ndarray, Convolution, np.ndarray]:
    """Source channels, convolution and its row for each target channel of the sum of two cores."""
    if all(is_depthwise(core.convolution) for core in (one, two)):
        sources = np.maximum(one.sources, two.sources)
        if all(((c.sources == sources) | (c.sources < 0)).all() for c in (one, two)):
            read, rows = _compressed(sources >= 0)
            num = int(read.sum())
            parts = [
                _rows(c.convolution, np.where(c.sources >= 0, c.rows, -1)[read], groups=num)
                for c in (one, two)
            ]
            return (
                sources[read],
                convolution_sum(parts[0], parts[1], (num, *source[1:]), most),
                rows,
            )
    plain = np.arange(source[0])
    if all(np.array_equal(core.inputs, plain) for core in (one, two)) and all(
        np.array_equal(core.rows, np.arange(len(core.convolution.weight))) for core in (one, two)
    ):
        return plain, convolution_sum(one.convolution, two.convolution, source, most), one.rows
    read, rows = _compressed((one.rows >= 0) | (two.rows >= 0))
    full = []
    for core in (one, two):
        convolution = ungrouped(core.convolution, most)
        convolution = reading_selection(convolution, core.inputs, source[0], source[1:], 1, most)
        assert isinstance(convolution, Convolution)
        check_weights(convolution.weight[0].size * int(read.sum()), most)
        full.append(_rows(convolution, core.rows[read], groups=1))
    return plain, convolution_sum(full[0], full[1], source, most), rows


def _compressed(read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows to keep, at least one, and the place of each among those, or -1."""
    if not read.any():
        read = np.arange(len(read)) == 0
    return read, np.where(read, np.cumsum(read) - 1, -1)


def _rows(convolution: Convolution, rows: np.ndarray, groups: int) -> Convolution:
    """A convolution of some rows of another, of zeros for -1."""
    weight = convolution.weight[rows] * (rows >= 0)[:, None, None, None]
    return replace(convolution, weight=weight, groups=groups)


def _dense_sum(first: Chain, second: Chain) -> Dense:
    maps = first.maps, second.maps
    shape = first.before.shape
    return Dense(weight=dense_matrix(maps[0], shape) + dense_matrix(maps[1], shape))
