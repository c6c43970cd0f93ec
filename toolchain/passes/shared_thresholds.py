"""Thresholds that the channels of a population share, where a target has few of them.

A channel with the threshold ``Theta`` in its own unit may take any lower one: its unit grows, and all of
its weights still fit. Rounding errors grow with the unit. Relative to the threshold, their expected square is
in proportion to ``1 / Theta^2``. So the levels are those whose sum of ``1 / Theta^2`` over all channels is
least.
"""

from __future__ import annotations

import numpy as np

from toolchain.networks.layer_graph import SpikingPopulation


def few_thresholds(
    population: SpikingPopulation, unit: np.ndarray, most: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Units per channel, none finer than ``unit``, with at most ``most`` different thresholds in them.

    Thresholds that differ within a channel stay as they are, since its weights have one unit.

    Args:
        unit: of each channel, float64 ``(channels,)``.
        most: of the target; None if there is no limit.

    Returns:
        The units, and the thresholds in them, ``(channels, 1, 1)`` or one per neuron.
    """
    thresholds = population.threshold / unit.reshape(-1, 1, 1)
    levels, channels = np.unique(thresholds, return_counts=True)
    if most is None or len(levels) <= most or population.threshold.shape[1:] != (1, 1):
        return unit, thresholds
    levels = levels[cheapest_levels(levels, channels, most)]
    few = levels[np.searchsorted(levels, thresholds, side="right") - 1]
    return (population.threshold / few).reshape(-1), few


def cheapest_levels(levels: np.ndarray, channels: np.ndarray, most: int) -> np.ndarray:
    """Indices of the levels to keep, so that the sum of ``1 / Theta^2`` over all channels is least.

    Each channel takes the next lower level that is kept, or its own. So the levels are cut into ``most``
    segments, of which each keeps its lowest: the least cost of the first j levels in k segments is

        best[k][j] = min over i < j of  best[k - 1][i] + (channels of levels i .. j - 1) / levels[i]^2

    Args:
        levels: ascending and positive, ``(levels,)``.
        channels: number of channels of each level.
        most: number of segments, at least 1 and fewer than levels.
    """
    before = np.concatenate([[0.0], np.cumsum(channels)])  # channels of lower levels
    squared = np.square(levels[0] / levels)
    best = before * squared[0]
    starts = []
    for _ in range(most - 1):
        # the last segment starts at level i and costs a line in the number of channels up to its end
        offsets = best[:-1] - before[:-1] * squared
        best, start = best.copy(), np.zeros(len(best), np.int64)
        for end in range(1, len(best)):
            costs = offsets[:end] + before[end] * squared[:end]
            start[end] = np.argmin(costs)
            best[end] = costs[start[end]]
        starts.append(start)
    kept, end = [], len(levels)
    for start in reversed(starts):
        end = int(start[end])
        kept.append(end)
    return np.unique([0, *kept])
