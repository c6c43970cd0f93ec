"""Counts straight from 8-bit convolutions, with a proof that rounding gives the right integers.

oneDNN turns a 32-bit sum a_e into ``s_e a_e + b`` in float32, and the next convolution's result is added.
Clamped to ``0..T``, the total becomes a byte. Let x be the least exponent of a population's synapses e. With

    A = sum_e 2^x_e a_e + B = 2^x m + B

its k-th spike comes at the smallest integer m = L_k for which ``V0 + T (2^x m + B) >= k Theta``. Let s be the
float32 number nearest to ``2^x T / Theta``, and ``s_e = 2^(x_e - x) s``, which is exact. Then the total is
``y = s m + b``, apart from rounding errors, and grows with m. So s and b are right if for each k the values
of y for L_k - 1 and L_k lie below and above a level: k - 1/2 if the byte is rounded (one synapse), k if it is
truncated (several).

Rounding affects the products, b (or b / s, and then a product of the sum), and each of E sums in turn. Let c
be a bound of the sum of all ``|s_e a_e|`` but the largest. The largest is at most |y| + |b| + c, since all
add up to y, and no partial sum is larger. So the total error is at most

    2^-24 (E + 3) (|y| + |b| + c)

in any order of addition, fused or not. If it is larger than the distance of a value from its level, there are
no such s and b, and the engine divides instead.

Once the last product is far enough outside ``0..T``, it alone decides the result. So it is safe to clamp it
there, and all sums may then fit a signed byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from toolchain.networks.integer_network import IntegerSpiking
from toolchain.networks.integer_network.accumulator_bounds import Interval

# the excess over 2^-24 covers errors of errors, and those of doubles in this module
_UNIT_ROUNDOFF = 2.0**-24 * (1 + 2.0**-20)


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedCounts:
    """Scales for the sums of the synapses, and an offset, that together give the counts.

    Attributes:
        scales: s_e of each synapse, float32 of shape ``(channels,)``.
        offset: b, float32 of shape ``(channels,)``, added to the first product.
        limits: the range to which the last product is clamped, ``0..T`` if it is the only one; None if
            the sums would still not fit a signed byte.
    """

    scales: list[np.ndarray]
    offset: np.ndarray
    limits: tuple[int, int] | None


def fused_counts(
    population: IntegerSpiking, exponents: Sequence[int], sums: Sequence[Interval]
) -> FusedCounts | None:
    """The s_e and b of each channel; None if a channel has none.

    Args:
        population: with ``0 <= V0 < Theta``.
        exponents: x_e of its synapses; limits are best if the one with the widest sums is last.
        sums: bounds of a_e.
    """
    fields = (population.threshold, population.initial_potential, population.bias)
    if any(field.shape[1:] != (1, 1) for field in fields):
        return None
    if any(interval.magnitude >= 2**24 for interval in sums):
        return None
    threshold, start, bias = (
        np.broadcast_to(field.reshape(-1), population.shape[:1])[:, None] for field in fields
    )
    steps, least = population.timesteps, min(exponents)
    spikes = np.arange(1, steps + 1)  # k, along the second axis
    levels = spikes - (0.5 if len(sums) == 1 else 0.0)
    first = -((start + steps * bias - spikes * threshold) // (steps << least))  # L_k
    scale = (steps * 2.0**least / threshold).astype(np.float32)
    wide = scale.astype(np.float64)
    lowest = (levels - wide * first).max(axis=1, keepdims=True)
    highest = (levels - wide * (first - 1)).min(axis=1, keepdims=True)
    offset = ((lowest + highest) / 2).astype(np.float32)

    factors = [2 ** (exponent - least) for exponent in exponents]
    low = sum(f * s.low for f, s in zip(factors, sums, strict=True))[:, None]
    high = sum(f * s.high for f, s in zip(factors, sums, strict=True))[:, None]
    products = [
        wide[:, 0] * f * np.maximum(-s.low, s.high) for f, s in zip(factors, sums, strict=True)
    ]
    all_but_largest = (np.sum(products, axis=0) - np.max(products, axis=0))[:, None]

    def error(values: np.ndarray) -> np.ndarray:
        size = np.abs(values) + np.abs(offset) + all_but_largest
        return _UNIT_ROUNDOFF * (len(sums) + 3) * size

    below = wide * np.minimum(first - 1, high) + offset
    above = wide * np.maximum(first, low) + offset
    is_below = below + error(below) < levels
    is_above = above - error(above) > levels
    if not ((is_below | (first <= low)) & (is_above | (first > high))).all():
        return None
    scales = [scale[:, 0] * np.float32(f) for f in factors]
    return FusedCounts(
        scales=scales, offset=offset[:, 0], limits=_limits(steps, scales, offset[:, 0], sums)
    )


def _limits(
    steps: int, scales: Sequence[np.ndarray], offset: np.ndarray, sums: Sequence[Interval]
) -> tuple[int, int] | None:
    """Limits one level beyond those outside which the last product decides, so that no error matters."""
    if len(sums) == 1:
        return 0, steps
    before = list(zip(scales[:-1], sums[:-1], strict=True))
    least = (offset + sum(scale * a.low for scale, a in before)).min()
    most = (offset + sum(scale * a.high for scale, a in before)).max()
    lowest, highest = -ceil(most) - 1, steps + 1 + ceil(-least)
    return (lowest, highest) if lowest + least > -128 and highest + most < 128 else None
