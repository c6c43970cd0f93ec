"""Counts straight out of an 8-bit convolution, where rounding provably gives the integers.

oneDNN turns a 32-bit sum a into a byte as ``round(clip(s a + b, 0, T))``, in float32. A population with one
synapse, ``A = 2^x a + B``, reaches its k-th spike at the smallest integer a = L_k with

    V0 + T (2^x a + B) >= k Theta

so s and b are right if ``s a + b``, with whatever error float32 makes of it, is below k - 1/2 for every
a < L_k and above it for every a >= L_k. It grows with a, so the two integers at each level decide. The error
of a product and a sum, in either order, fused or not, is at most

    2^-24 (2 |s a + b| + |s a| + |b|)

where the last two terms are the rounded product and the rounded b (or b / s). Where a level has no room for
it, there is no s and b, and the engine divides instead.
"""

from __future__ import annotations

import numpy as np

from toolchain.integer_network import IntegerSpiking
from toolchain.integer_network.accumulator_bounds import Interval

_UNIT_ROUNDOFF = 2.0**-24 * (
    1 + 2.0**-20
)  # the excess covers errors of errors, and of doubles here


def fused_scale_and_offset(
    population: IntegerSpiking, exponent: int, sums: Interval
) -> tuple[np.ndarray, np.ndarray] | None:
    """The s and b of each channel, or None where some channel has none.

    Args:
        population: with ``0 <= V0 < Theta``.
        exponent: x of its one synapse.
        sums: bounds of a.

    Returns:
        float32 of shape ``(channels,)`` each.
    """
    fields = (population.threshold, population.initial_potential, population.bias)
    if any(field.shape[1:] != (1, 1) for field in fields) or sums.magnitude >= 2**24:
        return None
    threshold, start, bias = (
        np.broadcast_to(field.reshape(-1), population.shape[:1])[:, None] for field in fields
    )
    steps = population.timesteps
    levels = np.arange(1, steps + 1)  # k, along the second axis
    first = -((start + steps * bias - levels * threshold) // (steps << exponent))  # L_k
    scale = (steps * 2.0**exponent / threshold).astype(np.float32)
    wide = scale.astype(np.float64)
    lowest = (levels - 0.5 - wide * first).max(axis=1, keepdims=True)
    highest = (levels - 0.5 - wide * (first - 1)).min(axis=1, keepdims=True)
    offset = ((lowest + highest) / 2).astype(np.float32)
    low, high = sums.low[:, None], sums.high[:, None]
    below, above = np.minimum(first - 1, high), np.maximum(first, low)
    is_below = _upper(wide, offset, below) < levels - 0.5
    is_above = _lower(wide, offset, above) > levels - 0.5
    if (is_below | (first <= low)).all() and (is_above | (first > high)).all():
        return scale[:, 0], offset[:, 0]
    return None


def _upper(scale: np.ndarray, offset: np.ndarray, sums: np.ndarray) -> np.ndarray:
    return scale * sums + offset + _error(scale, offset, sums)


def _lower(scale: np.ndarray, offset: np.ndarray, sums: np.ndarray) -> np.ndarray:
    return scale * sums + offset - _error(scale, offset, sums)


def _error(scale: np.ndarray, offset: np.ndarray, sums: np.ndarray) -> np.ndarray:
    product, value = np.abs(scale * sums), np.abs(scale * sums + offset)
    return _UNIT_ROUNDOFF * (2 * value + product + np.abs(offset))
