"""Interval bounds of every integer, from the weights alone: no data, no simulation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.integer_network.network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    largest_source_value,
)
from toolchain.linear_maps import AveragePool, Convolution, Dense, Scale, SumPool


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
    channels = network[synapse.source].shape[0]
    low = np.zeros(channels, np.int64)
    high = np.full(channels, largest_source_value(network, synapse), np.int64)
    shape = network[synapse.source].shape
    for linear_map in synapse.maps:
        match linear_map:
            case SumPool():
                low, high = low * prod(linear_map.kernel), high * prod(linear_map.kernel)
            case Scale(weight=weight):
                pair = np.stack([low * weight, high * weight])
                low, high = pair.min(0), pair.max(0)
            case Convolution(weight=weight, groups=groups):
                taps = prod(weight.shape[2:])
                parts = [
                    _weighted(
                        rows.reshape(len(rows), -1), np.repeat(least, taps), np.repeat(most, taps)
                    )
                    for rows, least, most in zip(
                        *(np.split(array, groups) for array in (weight, low, high)), strict=True
                    )
                ]
                low, high = (np.concatenate(ends) for ends in zip(*parts, strict=True))
                # zero padding presents 0, which the interval of a later map must still contain
                low, high = np.minimum(low, 0), np.maximum(high, 0)
            case Dense(weight=weight):
                area = shape[1] * shape[2]
                low, high = _weighted(weight, np.repeat(low, area), np.repeat(high, area))
            case AveragePool():
                raise AssertionError("an integer synapse holds no average pool")
        shape = linear_map.output_shape(shape)
    return Interval(low=low, high=high)


_ROWS_AT_ONCE = 64  # of a weight: what is read from memory once stays in the cache


def _weighted(
    weight: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of ``W x`` for ``low <= x <= high``: W of shape ``(out, in)``, the bounds ``(in,)``."""
    largest = max(abs(int(low.min())), abs(int(high.max()))) * (len(low) << weight.itemsize * 8)
    number = np.float64 if largest < 2**53 else np.int64  # doubles are exact, and far faster
    at_positive = np.stack([low, high], axis=1).astype(number)
    at_negative = at_positive[:, ::-1]
    ends = []
    for start in range(0, len(weight), _ROWS_AT_ONCE):
        rows = weight[start : start + _ROWS_AT_ONCE].astype(number)
        positive = np.maximum(rows, 0)
        ends.append(positive @ at_positive + (rows - positive) @ at_negative)
    both = np.concatenate(ends).astype(np.int64)
    return both[:, 0], both[:, 1]


def accumulator_interval(network: IntegerNetwork, name: str) -> Interval:
    """Bounds of A_l (of one step's current, where the alignment is not ``average``)."""
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

    A current above the threshold leaves a backlog of ``A - Theta`` a step; a negative one sinks by
    ``A`` a step. For the readout: bounds of the logit.
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
    """Bound of ``|V0 + T * A|`` and of every partial sum in it: what decides an exact float type."""
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
