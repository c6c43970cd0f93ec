"""Neurons that fire above their threshold, as neurons that fire at or above it.

Potentials that are sums of multiples of g lie on a grid. After k spikes such a potential, without the resets,
exceeds ``(k + 1) * threshold`` by nothing, or by g at least. A threshold that is higher by ``g / (2 T)``, and
is subtracted as such, lies between the two for every k < T: ``>=`` then decides as ``>`` did.

Weights in floating point are multiples of a power of two. It is coarse for weights of a few bits, and too
fine to be of use for trained ones in float32, whose potentials do not meet a threshold but by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import gcd

import numpy as np
from typing_extensions import assert_never

from toolchain.importers.linear_expressions import LinearExpression
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
)

SMALLEST_MARGIN = 1e-9
"""Of a threshold: far above the rounding of sums in float64."""


def margin_above(
    current: LinearExpression,
    threshold: np.ndarray,
    timesteps: int,
    units: Mapping[str, Fraction],
) -> float:
    """What a threshold must be raised by so that neurons fire above it alone; 0 if the grid is too fine.

    Args:
        current: added to the potential in each step, from spikes of 1 and from pixels.
        units: what each population that it reads sends multiples of.
    """
    grid = _common(_grid_of(threshold), _grid_of(current.bias))
    for source, term in current.terms.items():
        step = units[source]
        for linear_map in term.maps:
            step *= _grid_of_map(linear_map)
        grid = _common(grid, step)
    margin = grid / (2 * timesteps)
    return float(margin) if margin >= SMALLEST_MARGIN * float(threshold.max()) else 0.0


def _grid_of_map(linear_map: LinearMap) -> Fraction:
    """A number of which a map gives multiples, of integers."""
    match linear_map:
        case Convolution() | Dense() | Scale():
            return _grid_of(linear_map.weight)
        case AveragePool() | SumPool() | Resample() | SelectChannels():
            return Fraction(1, linear_map.divisor)
        case _:
            assert_never(linear_map)


def _grid_of(values: np.ndarray) -> Fraction:
    """The largest power of two of which all values are multiples; 0 if all are 0."""
    mantissas, exponents = np.frexp(values[values != 0])
    if not len(mantissas):
        return Fraction(0)
    integers = np.abs(mantissas * 2.0**53).astype(np.int64)
    trailing = np.log2((integers & -integers).astype(np.float64)).astype(np.int64)
    return Fraction(2) ** int((exponents - 53 + trailing).min())


def _common(first: Fraction, second: Fraction) -> Fraction:
    """The largest number of which both are multiples."""
    return Fraction(
        gcd(first.numerator * second.denominator, second.numerator * first.denominator),
        first.denominator * second.denominator,
    )
