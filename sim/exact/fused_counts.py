"""Counts straight out of 8-bit convolutions, where rounding provably gives the integers.

oneDNN turns a 32-bit sum a_e into ``s_e a_e + b`` in float32, and adds the next convolution's to it. Cut to
``0..T``, the result becomes a byte. A population with synapses e, of which x is the least exponent,

    A = sum_e 2^x_e a_e + B = 2^x m + B

reaches its k-th spike at the smallest integer m = L_k with ``V0 + T (2^x m + B) >= k Theta``. Let s be the
float32 number next to ``2^x T / Theta``, and ``s_e = 2^(x_e - x) s``, which is exact. Then the result is
``y = s m + b``, but for what float32 makes of it, and grows with m. So s and b are right if at each level
the two integers L_k - 1 and L_k fall on their sides of it: of k - 1/2 where the byte is rounded (one
synapse), of k where it is cut off (more).

Rounded are the products, b (or b / s, and then a product of the sum), and each of E sums in turn. Let c be
the sum of all ``|s_e a_e|`` but the largest, at most. Then that one is at most |y| + |b| + c, as they add up
to y, and no partial sum is larger. Together the error is at most

    2^-24 (E + 3) (|y| + |b| + c)

in whatever order, fused or not. Where a level has no room for it, there is no s and b, and the engine
divides instead.

Whatever the synapses before it give, the last one's product decides once it is far enough below 0 or above
T, and may be cut off there: if the sums are then so small, they fit a signed byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from toolchain.networks.integer_network import IntegerSpiking
from toolchain.networks.integer_network.accumulator_bounds import Interval

_UNIT_ROUNDOFF = 2.0**-24 * (
    1 + 2.0**-20
)  # the excess covers errors of errors, and of doubles here


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedCounts:
    """Scales of the synapses' sums, and an offset, that together give the counts.

    Attributes:
        scales: s_e of each synapse, float32 of shape ``(channels,)``.
        offset: b, float32 of shape ``(channels,)``, added to the first product.
        limits: what the last product is cut to, ``0..T`` where it is the only one; None where the sums
            would still not fit a signed byte.
    """

    scales: list[np.ndarray]
    offset: np.ndarray
    limits: tuple[int, int] | None


def fused_counts(
    population: IntegerSpiking, exponents: Sequence[int], sums: Sequence[Interval]
) -> FusedCounts | None:
    """The s_e and b of each channel, or None where some channel has none.

    Args:
        population: with ``0 <= V0 < Theta``.
        exponents: x_e of its synapses, the one with the widest sums best last.
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
    """A whole level beyond where the last product decides, so that no error matters."""
    if len(sums) == 1:
        return 0, steps
    before = list(zip(scales[:-1], sums[:-1], strict=True))
    least = (offset + sum(scale * a.low for scale, a in before)).min()
    most = (offset + sum(scale * a.high for scale, a in before)).max()
    lowest, highest = -ceil(most) - 1, steps + 1 + ceil(-least)
    return (lowest, highest) if lowest + least > -128 and highest + most < 128 else None
