"""Counts of a firing window as an addition, a division and a rounding in float32, without a wrong count.

For ``0 <= V0 < Theta``, a window of T steps of the current ``A = 2^x M + B`` gives the count

    N = clip(floor((V0 + T A) / Theta), 0, T) = clip(round((M + c) / d), 0, T)

with ``d = Theta / (T 2^x)`` and ``c = (B + (V0 - Theta / 2 + h) / T) / 2^x``: the floor becomes a rounding,
and any h between 0 and 1 keeps integers M off its boundaries, so that rounding half to even and half up
agree. In float32, c, d, the sum and the quotient are rounded. Each of these operations is monotone, so the
count is right for every M if it is right for the smallest M with k spikes and for the integer below it, for
k = 1..T. ``exact_rounding`` evaluates these 2 T values of each neuron. It is a proof, not a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.networks.integer_network import IntegerSpiking
from toolchain.networks.integer_network.accumulator_bounds import Interval

_LEAST_MARGIN = 0.45
"""Largest change of a bias, in its own units, that rounds back to the bias when the file is imported."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """``N = clip(round(fl(fl(M + offset) / divisor)), 0, T)``, or ``* factor`` in place of ``/ divisor``.

    Attributes:
        offset: float32, broadcastable to the population's shape.
        scale: float32, the divisor or the factor.
        keeps_biases: whether each offset is so near its bias that an importer finds the same integer.
    """

    offset: np.ndarray
    scale: np.ndarray
    keeps_biases: bool


def exact_rounding(
    population: IntegerSpiking, exponent: int, sums: Interval, *, divides: bool
) -> Rounding | None:
    """Find float32 numbers with which every count is exact.

    Args:
        population: with ``0 <= V0 < Theta``.
        exponent: x, the least exponent of its synapses.
        sums: bounds of M per channel; float32 holds them exactly.
        divides: divide by d; otherwise multiply by its reciprocal.

    Returns:
        None if there are none among those that are tried.
    """
    shape = population.shape[0], 1, 1
    window = _Window(population, exponent, sums.low.reshape(shape), sums.high.reshape(shape))
    scale = (window.divisor if divides else 1 / window.divisor).astype(np.float32)
    low, high = window.freedom()
    near_low, near_high = np.maximum(low, -_LEAST_MARGIN), np.minimum(high, _LEAST_MARGIN)
    offset = window.offset((near_low + near_high) / 2)
    if not offset.any():  # see Qcdq: an operation must stay in front of the quantizer
        offset = window.offset((3 * near_low + 5 * near_high) / 8)
    right = window.counts_are_right(offset, scale, divides)
    keeps_biases = bool(right.all())
    if not keeps_biases:
        offset = np.where(right, offset, window.offset((low + high) / 2))
        if not window.counts_are_right(offset, scale, divides).all():
            return None
    return Rounding(offset, scale, keeps_biases)


class _Window:
    """The integers of a population, all broadcast to one shape."""

    def __init__(
        self, population: IntegerSpiking, exponent: int, low: np.ndarray, high: np.ndarray
    ) -> None:
        self.steps, self.unit = population.timesteps, 1 << exponent
        arrays = population.threshold, population.initial_potential, population.bias, low, high
        self.threshold, self.start, self.bias, self.low, self.high = np.broadcast_arrays(*arrays)
        self.shape = self.threshold.shape
        self.divisor = population.threshold / (self.steps * self.unit)

    def _boundaries(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each k, the smallest M with k spikes, and by how much it exceeds the boundary, times T."""
        at_rest = self.start + self.steps * self.bias
        for spikes in range(1, self.steps + 1):
            needed = spikes * self.threshold - at_rest
            smallest = -(-needed // (self.steps * self.unit))
            yield spikes, smallest, smallest * self.steps * self.unit - needed

    def freedom(self) -> tuple[np.ndarray, np.ndarray]:
        """Changes of the bias between which no count changes, float64, in units of the bias.

        The lower one is allowed, the upper one is not.
        """
        low = np.full(self.shape, -float(self.unit))
        high = np.full(self.shape, float(self.unit))
        for _, smallest, excess in self._boundaries():
            reachable = (self.low < smallest) & (smallest <= self.high)
            excess = excess / self.steps
            low = np.where(reachable, np.maximum(low, -excess), low)
            high = np.where(reachable, np.minimum(high, self.unit - excess), high)
        return low, high

    def offset(self, change: np.ndarray) -> np.ndarray:
        """c in float32 for a change of the bias."""
        start = (self.start - self.threshold / 2) / self.steps
        return ((self.bias + start + change) / self.unit).astype(np.float32)

    def counts_are_right(self, offset: np.ndarray, scale: np.ndarray, divides: bool) -> np.ndarray:
        """Whether float32 gives the right count on both sides of each boundary, bool of the shape."""
        right = np.ones(self.shape, bool)
        for spikes, smallest, _ in self._boundaries():
            above = np.clip(smallest, self.low, self.high)
            below = np.clip(smallest - 1, self.low, self.high)
            for sums in (above, below):
                shifted = sums.astype(np.float32) + offset
                level = np.rint(shifted / scale if divides else shifted * scale)
                right &= (level >= spikes) == (sums >= smallest)
        return right
