"""Interval bounds of every integer, computed from the weights without data or simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from toolchain.networks.integer_network.network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    largest_source_value,
)
from toolchain.networks.linear_maps import (
    Convolution,
    LinearMap,
    Shape,
    UnweightedMap,
    WeightedMap,
    as_grouped_convolution,
    chain_axis_sums,
    chain_channel_sources,
    chain_output_shape,
    window_reads,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval:
    """Inclusive integer bounds, one pair per channel; int64 arrays of shape ``(channels,)``."""

    low: np.ndarray
    high: np.ndarray

    @property
    def magnitude(self) -> int:
        return int(max(np.abs(self.low).max(), np.abs(self.high).max()))


def synapse_interval(network: IntegerNetwork, synapse: IntegerSynapse) -> Interval:
    """Bounds of ``op(W, N)`` per target channel, before the exponent, for any N the source can present."""
    most = largest_source_value(network, synapse)
    low, high = unit_bounds(synapse, network[synapse.source].shape).target
    return Interval(low=low * most, high=high * most)


@dataclass(frozen=True, eq=False)
class UnitBounds:
    """Bounds of a synapse's sums for sources from 0 to 1.

    Attributes:
        target: lowest and highest sum of each target channel, int64 ``(channels,)``.
        partial: bound of the magnitude of all values on the way.
    """

    target: tuple[np.ndarray, np.ndarray]
    partial: int


_known_bounds: WeakKeyDictionary[WeightedMap, tuple[tuple[object, ...], UnitBounds]] = (
    WeakKeyDictionary()
)


def unit_bounds(synapse: IntegerSynapse, source_shape: Shape) -> UnitBounds:
    """Bounds of a synapse, before its exponent, that reads values from 0 to 1.

    They are kept: bounds are computed for each exponent tried and in each engine, from the same maps.
    """
    maps = (source_shape, synapse.pools_before, synapse.pools_after)
    known = _known_bounds.get(synapse.weighted)
    if known is None or known[0] != maps:
        known = maps, _compute_unit_bounds(synapse, source_shape)
        _known_bounds[synapse.weighted] = known
    return known[1]


def _compute_unit_bounds(synapse: IntegerSynapse, source_shape: Shape) -> UnitBounds:
    partial = 1
    for end in range(1, len(synapse.pools_before) + 1):
        rows, columns = (
            int(_presented(synapse.pools_before[:end], axis, source_shape).max()) for axis in (0, 1)
        )
        partial = max(partial, rows * columns)
    up_to_weight = (*synapse.pools_before, synapse.weighted)
    for end in range(len(synapse.pools_after) + 1):
        target = largest_sums((*up_to_weight, *synapse.pools_after[:end]), source_shape)
        partial = max(partial, *(int(np.abs(bound).max()) for bound in target))
    return UnitBounds(target, partial)


def largest_sums(maps: Sequence[LinearMap], source_shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sum of each target channel, for sources from 0 to 1; divisors are left out.

    Args:
        maps: with exactly one weight, of integers or reals.

    Returns:
        Arrays of shape ``(channels,)`` in the type of the sums.
    """
    ((at, weighted),) = ((i, m) for i, m in enumerate(maps) if isinstance(m, WeightedMap))
    before = [m for m in maps[:at] if isinstance(m, UnweightedMap)]
    behind = [m for m in maps[at + 1 :] if isinstance(m, UnweightedMap)]
    shape = chain_output_shape(before, source_shape)
    convolution = as_grouped_convolution(weighted, shape)
    reads = [
        chain_axis_sums(
            behind, axis, _reads(convolution, axis, _presented(before, axis, source_shape))
        )
        for axis in (0, 1)
    ]
    rows = chain_channel_sources(behind, len(convolution.weight))
    low, high = (
        np.where(rows >= 0, _largest_sums(part, reads)[rows], 0) for part in _signed(convolution)
    )
    return -low, high


def _presented(maps: Sequence[UnweightedMap], axis: int, shape: Shape) -> np.ndarray:
    """Largest value at each place of an axis behind maps of sources from 0 to 1."""
    return chain_axis_sums(maps, axis, np.ones(shape[1 + axis], np.int64))


def _reads(convolution: Convolution, axis: int, presented: np.ndarray) -> np.ndarray:
    """Largest value that each tap presents to each target along one axis, ``(targets, taps)``.

    It is less than that of a whole window at a border, and where rows between others are zeros.

    Args:
        presented: largest value of each source.
    """
    window = convolution.kernel, convolution.stride, convolution.padding, convolution.dilation
    read = window_reads(len(presented), *(sizes[axis] for sizes in window))
    return np.where(read >= 0, presented[read], 0)


def _signed(convolution: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of the negative and of the positive weights, summed over the channels of each tap."""
    weight = convolution.weight
    exact = np.int64 if np.issubdtype(weight.dtype, np.integer) else np.float64
    positive = weight.sum(axis=1, dtype=exact, where=weight > 0)
    return positive - weight.sum(axis=1, dtype=exact), positive


def _largest_sums(weight: np.ndarray, reads: Sequence[np.ndarray]) -> np.ndarray:
    """Largest sum over the positions of a window, for weights ``(out, rows, columns)`` of at least 0."""
    rows, columns = (np.unique(values, axis=0) for values in reads)
    return (rows @ weight @ columns.T).max(axis=(1, 2))


def accumulator_interval(network: IntegerNetwork, name: str) -> Interval:
    """Bounds of A_l, or of the current of one step if the alignment is not ``average``."""
    population = network[name]
    assert isinstance(population, IntegerSpiking | IntegerReadout)
    bias = _per_channel(population.bias, population.shape[0])
    low, high = bias.min(1), bias.max(1)
    for synapse in network.incoming(name):
        interval = synapse_interval(network, synapse)
        low = low + (interval.low << synapse.exponent)
        high = high + (interval.high << synapse.exponent)
    return Interval(low=low, high=high)


def potential_interval(network: IntegerNetwork, name: str) -> Interval:
    """Bounds of V_l just before the spike decision, over the whole firing window.

    A current above the threshold adds a backlog of ``A - Theta`` per step; a negative one lowers the
    potential by ``-A`` per step. For the readout these are the bounds of the logit.
    """
    population, current = network[name], accumulator_interval(network, name)
    if isinstance(population, IntegerReadout):
        steps = population.timesteps
        return Interval(
            low=steps * np.minimum(current.low, 0), high=steps * np.maximum(current.high, 0)
        )
    assert isinstance(population, IntegerSpiking)
    channels, steps = population.shape[0], population.timesteps
    threshold = _per_channel(population.threshold, channels)
    start = _per_channel(population.initial_potential, channels)
    backlog = np.maximum(start.max(1) + current.high, 0) + (steps - 1) * np.maximum(
        current.high - threshold.min(1), 0
    )
    first_peak = np.maximum(threshold.max(1), start.max(1)) + np.maximum(current.high, 0)
    return Interval(
        low=np.minimum(start.min(1), 0) + steps * np.minimum(current.low, 0),
        high=np.maximum(backlog, first_peak),
    )


def _per_channel(values: np.ndarray, channels: int) -> np.ndarray:
    return np.broadcast_to(values, (channels, *values.shape[1:])).reshape(channels, -1)


def window_sum_bound(network: IntegerNetwork, name: str) -> int:
    """Bound of ``|V0 + T * A|`` and of every partial sum in it; decides which float type is exact."""
    population, current = network[name], accumulator_interval(network, name)
    assert isinstance(population, IntegerSpiking | IntegerReadout)
    partial, on_the_way = np.abs(_per_channel(population.bias, population.shape[0])).max(1), 0
    for synapse in network.incoming(name):
        interval = synapse_interval(network, synapse)
        most = largest_source_value(network, synapse)
        bounds = unit_bounds(synapse, network[synapse.source].shape)
        on_the_way = max(on_the_way, (bounds.partial * most) << synapse.exponent)
        partial = partial + (
            np.maximum(np.abs(interval.low), np.abs(interval.high)) << synapse.exponent
        )
    bound = population.timesteps * max(current.magnitude, int(partial.max()), on_the_way)
    if isinstance(population, IntegerSpiking):
        bound += int(np.abs(population.initial_potential).max()) + int(population.threshold.max())
    return bound
