"""Units in which the weights of a population are integers already, as in a network that was exported before.

Units that only the largest weights choose are finer, where another limit of the target made them coarser at
first. Weights would then be rounded a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.networks.layer_graph import SpikingPopulation, Synapse
from toolchain.passes.weight_rows import weight_and_rows

_TOLERANCE = 1e-6
"""Of an integer: wider than the rounding of float32 scales, too narrow for other weights to meet."""

_VALUES_AT_ONCE = 2**16


def num_levels(thresholds: np.ndarray) -> int:
    """Number of different thresholds; those within the tolerance count as one."""
    levels = np.unique(thresholds)
    return 1 + int((np.diff(levels) > _TOLERANCE * levels[1:]).sum())


def units_of_integers(
    population: SpikingPopulation,
    incoming: Sequence[Synapse],
    relative: Mapping[str, int],
    unit: np.ndarray,
    max_weight: int,
    most_thresholds: int | None,
) -> np.ndarray:
    """Coarser units with integer weights and few thresholds, if there are such; else the units as they are.

    Where units were made coarser to share a threshold, one channel of each threshold kept its own. So only
    the thresholds of channels whose weights are integers in ``unit`` are tried.

    Args:
        incoming: synapses with one weight each.
        relative: exponent of each synapse by its source.
        unit: of each target channel, in which no weight exceeds ``max_weight``; float64 ``(channels,)``.
        most_thresholds: of the target; None if there is no limit.
    """
    if most_thresholds is None or population.threshold.shape[1:] != (1, 1):
        return unit
    per_channel = np.broadcast_to(population.threshold.reshape(-1), unit.shape)
    if num_levels(per_channel / unit) <= most_thresholds:
        return unit
    weights = np.concatenate([_of_channels(s, relative[s.source]) for s in incoming], axis=1)
    kept = _have_integers(weights, unit)
    levels = np.unique(per_channel[kept] / unit[kept])
    if not kept.any() or num_levels(levels) > most_thresholds:
        return unit
    whole = unit.copy()
    for channel in np.flatnonzero(~kept):
        for candidate in per_channel[channel] / levels[::-1]:  # the finest first
            fits = unit[channel] <= candidate * (1 + _TOLERANCE)
            if fits and _are_integers(weights[channel] / candidate):
                whole[channel] = candidate
                break
    return whole if num_levels(per_channel / whole) <= most_thresholds else unit


def _of_channels(synapse: Synapse, exponent: int) -> np.ndarray:
    """The weights into each target channel over ``2^exponent``, float64 ``(channels, weights)``."""
    weighted, rows = weight_and_rows(synapse)
    weight = weighted.weight.reshape(len(weighted.weight), -1) / 2.0**exponent
    return np.where(rows[:, None] >= 0, weight[rows], 0)


def _have_integers(weights: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Whether all weights of each channel are integers in its unit, bool ``(channels,)``."""
    step = max(_VALUES_AT_ONCE // weights.shape[1], 1)
    found = np.empty(len(weights), bool)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        values = weights[rows] / unit[rows, None]
        found[rows] = (np.abs(values - np.rint(values)) <= _TOLERANCE).all(axis=1)
    return found


def _are_integers(values: np.ndarray) -> bool:
    return bool((np.abs(values - np.rint(values)) <= _TOLERANCE).all())
