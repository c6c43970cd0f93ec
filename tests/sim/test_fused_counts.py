"""Counts by rounding: right wherever they are offered, refused where a level has no room."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.fused_counts import fused_scale_and_offset
from toolchain.integer_network import IntegerSpiking
from toolchain.integer_network.accumulator_bounds import Interval


def population(timesteps, threshold, initial, bias):
    threshold, initial, bias = (
        np.array(values, np.int64).reshape(-1, 1, 1) for values in (threshold, initial, bias)
    )
    return IntegerSpiking(
        name="layer", shape=(len(threshold), 2, 2), timesteps=timesteps, threshold=threshold,
        initial_potential=initial, bias=bias,
    )  # fmt: skip


def interval(low, high):
    return Interval(low=np.array(low, np.int64), high=np.array(high, np.int64))


def counts_by_rounding(scale, offset, sums, timesteps):
    """In float32, product and sum rounded apart, rounded together, and the bias divided first."""
    a = sums.astype(np.float32)
    apart = a * scale + offset
    together = (sums * np.float64(scale) + np.float64(offset)).astype(np.float32)
    divided = (a + offset / scale) * scale
    return [
        np.rint(np.clip(values, 0, timesteps)).astype(np.int64)
        for values in (apart, together, divided)
    ]


def counts_by_definition(neurons, exponent, sums):
    steps = neurons.timesteps
    threshold, start, bias = (
        int(values[0, 0, 0])
        for values in (neurons.threshold, neurons.initial_potential, neurons.bias)
    )
    return np.clip((start + steps * ((sums << exponent) + bias)) // threshold, 0, steps)


def sums_that_matter(neurons, exponent, low, high, rng):
    """Both sides of every level, the ends of the range, and some more."""
    steps = neurons.timesteps
    threshold, start, bias = (
        int(values[0, 0, 0])
        for values in (neurons.threshold, neurons.initial_potential, neurons.bias)
    )
    levels = np.arange(1, steps + 1)
    first = -((start + steps * bias - levels * threshold) // (steps << exponent))
    near = (first[:, None] + np.arange(-2, 3)).reshape(-1)
    sums = np.concatenate([near, [low, high], rng.integers(low, high + 1, 200)])
    return np.clip(sums, low, high)


@settings(deadline=None, max_examples=2_000)
@given(
    st.integers(1, 255),
    st.integers(1, 8_000_000),
    st.integers(0, 10),
    st.integers(-300_000, 300_000),
    st.integers(1, 2**24 - 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_offered_is_the_count_of_every_sum(
    timesteps, threshold, exponent, bias, most, seed
):
    rng = np.random.default_rng(seed)
    initial = int(rng.integers(0, threshold))
    low, high = -int(rng.integers(0, most + 1)), most
    neurons = population(timesteps, threshold, initial, bias)
    if (fused := fused_scale_and_offset(neurons, exponent, interval([low], [high]))) is None:
        return
    sums = sums_that_matter(neurons, exponent, low, high, rng)
    expected = counts_by_definition(neurons, exponent, sums)
    for counts in counts_by_rounding(fused[0][0], fused[1][0], sums, timesteps):
        assert np.array_equal(counts, expected)


def test_usual_thresholds_have_room():
    """T = 4, a thousand sums a level: what a trained layer looks like."""
    neurons = population(4, [136_000, 4_000], [68_000, 1_999], [250, -31])
    scale, offset = fused_scale_and_offset(neurons, 5, interval([-60_000] * 2, [60_000] * 2))
    assert scale.dtype == offset.dtype == np.float32
    assert np.array_equal(scale, np.array([4 * 32 / 136_000, 4 * 32 / 4_000], np.float32))
    # halfway between the sum that just reaches the first level and the one before it, or nearly
    expected = [(68_000 + 4 * 250) / 136_000 - 0.5, (1_999 - 4 * 31) / 4_000 - 0.5]
    assert np.abs(offset - expected).max() < 0.5 * scale.max()


def test_no_room_between_two_sums():
    """A level every 2^23 sums: float32 cannot tell neighbours apart after three of them."""
    neurons = population(3, [3 * 2**23], [0], [0])
    assert fused_scale_and_offset(neurons, 0, interval([0], [2**24 - 1])) is None


def test_levels_that_no_sum_reaches_need_no_room():
    neurons = population(3, [3 * 2**23], [0], [0])
    assert fused_scale_and_offset(neurons, 0, interval([0], [1_000])) is not None


def test_sums_that_float32_cannot_hold_are_refused():
    neurons = population(2, [2**20], [0], [0])
    assert fused_scale_and_offset(neurons, 0, interval([0], [2**24 - 1])) is not None
    assert fused_scale_and_offset(neurons, 0, interval([0], [2**24])) is None


def test_thresholds_that_differ_within_a_channel_are_refused():
    neurons = IntegerSpiking(
        name="layer", shape=(1, 1, 2), timesteps=2, threshold=np.array([[[9, 11]]]),
        initial_potential=np.zeros((1, 1, 1), np.int64), bias=np.zeros((1, 1, 1), np.int64),
    )  # fmt: skip
    assert fused_scale_and_offset(neurons, 0, interval([0], [99])) is None
