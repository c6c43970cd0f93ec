"""Weights that are integers in units with few thresholds keep these units."""

from __future__ import annotations

import numpy as np
from builders import float_connect, float_dense, float_spiking

from toolchain.passes.integer_units import num_levels, units_of_integers

CHANNELS = 12
LEVELS = np.repeat(
    [1 / 700.0, 1 / 900.0, 1 / 1_300.0], 4
)  # unit of each channel, for a threshold of 1


def layer(change=0.0):
    """A population of threshold 1 whose integer weights reach 60 to 127, and the units that these choose."""
    rng = np.random.default_rng(0)
    integers = rng.integers(-60, 61, (CHANNELS, 40))
    integers[:, 0] = [127, 60, 90, 120] * 3
    weight = integers * LEVELS[:, None]
    weight[3, 5] += change * LEVELS[3]
    population = float_spiking("n", (CHANNELS, 1, 1), 3)
    return (
        population,
        float_connect("input", "n", float_dense(weight)),
        np.abs(weight).max(axis=1) / 127,
    )


def test_units_are_those_of_the_integers():
    population, synapse, natural = layer()
    assert num_levels(1 / natural) > 7
    units = units_of_integers(population, [synapse], {"input": 0}, natural, 127, most_thresholds=7)
    np.testing.assert_allclose(units, LEVELS, rtol=1e-12)
    assert num_levels(1 / units) == 3


def test_units_stay_without_a_limit_below_it_or_for_other_weights():
    population, synapse, natural = layer()
    for most in (None, CHANNELS):
        units = units_of_integers(population, [synapse], {"input": 0}, natural, 127, most)
        np.testing.assert_array_equal(units, natural)
    population, synapse, natural = layer(change=0.3)
    units = units_of_integers(population, [synapse], {"input": 0}, natural, 127, most_thresholds=3)
    np.testing.assert_array_equal(units, natural)
