"""Interval bounds of every integer, computed from the weights without data or simulation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

import numpy as np

from toolchain.networks.integer_network.network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    largest_source_value,
)
from toolchain.networks.linear_maps import WeightedMap


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval:
    """Inclusive integer bounds, one pair per channel; int64 arrays of shape ``(channels,)``."""

    low: np.ndarray
    high: np.ndarray

    @property
    def magnitude(self) -> int:
        return int(max(np.abs(self.low).max(), np.abs(self.high).max()))


def synapse_interval(network: IntegerNetwork, synapse: IntegerSynapse) -> Interval:
    """Bounds of ``op(W, N)`` before the exponent, for any N the source can present."""
    most = largest_source_value(network, synapse)
    most *= prod(pool.fan_in for pool in (*synapse.pools_before, *synapse.pools_after))
    low, high = _signed_sums(synapse.weighted)
    for pool in synapse.pools_after:
        sources = pool.channel_sources(len(low))
        low, high = (np.where(sources < 0, 0, sums[sources]) for sums in (low, high))
    return Interval(low=low * most, high=high * most)


_known_sums: WeakKeyDictionary[WeightedMap, tuple[np.ndarray, np.ndarray]] = WeakKeyDictionary()


def _signed_sums(weighted: WeightedMap) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the negative and of the positive weights of each output channel, int64 ``(channels,)``.

    They are kept: bounds are computed for each exponent tried and in each engine, from the same weights.
    """
    if weighted not in _known_sums:
        rows = weighted.weight.reshape(len(weighted.weight), -1)
        positive = np.maximum(rows, 0).sum(axis=1, dtype=np.int64)
        _known_sums[weighted] = rows.sum(axis=1, dtype=np.int64) - positive, positive
    return _known_sums[weighted]


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
    partial = np.abs(_per_channel(population.bias, population.shape[0])).max(1)
    for synapse in network.incoming(name):
        interval = synapse_interval(network, synapse)
        partial = partial + (
            np.maximum(np.abs(interval.low), np.abs(interval.high)) << synapse.exponent
        )
    bound = population.timesteps * int(max(current.magnitude, partial.max()))
    if isinstance(population, IntegerSpiking):
        bound += int(np.abs(population.initial_potential).max()) + int(population.threshold.max())
    return bound
