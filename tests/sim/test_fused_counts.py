"""Counts by rounding: right wherever they are offered, refused where a level has no room."""

from itertools import product

import numpy as np
from builders import spiking
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.exact.fused_counts import fused_counts
from toolchain.networks.integer_network.accumulator_bounds import Interval


def population(timesteps, threshold, initial, bias):
    return spiking("layer", (np.size(threshold), 2, 2), timesteps, threshold, initial, bias)


def interval(low, high):
    return Interval(low=np.array(low, np.int64), high=np.array(high, np.int64))


def counts_by_rounding(fused, sums, timesteps):
    """In float32: rounded after every operation, once a synapse, and with the bias divided first."""
    first, scale, offset = sums[0].astype(np.float32), fused.scales[0][0], fused.offset[0]
    starts = [
        first * scale + offset,
        (sums[0] * np.float64(scale) + np.float64(offset)).astype(np.float32),
        (first + offset / scale) * scale,
    ]
    for start in starts:
        apart = together = start
        for more, factor in zip(sums[1:], fused.scales[1:], strict=True):
            is_last = factor is fused.scales[-1]
            product = more.astype(np.float32) * factor[0]
            if is_last and fused.limits is not None:
                product = np.clip(product, *np.float32(fused.limits))
            together = (together + more * np.float64(factor[0])).astype(np.float32)
            apart = apart + product
        if len(sums) == 1:
            assert fused.limits == (0, timesteps)
            yield np.rint(np.clip(start, 0, timesteps)).astype(np.int64)
            continue
        for values in (apart, together) if fused.limits is None else (apart,):
            assert values.dtype == np.float32
            assert fused.limits is None or np.abs(values).max() < 128
            yield np.clip(np.trunc(values), 0, timesteps).astype(np.int64)


def counts_by_definition(neurons, exponents, sums):
    threshold, start, bias = of_one_channel(neurons)
    current = bias + shifted(sums, exponents)
    steps = neurons.timesteps
    return np.clip((start + steps * current) // threshold, 0, steps)


def of_one_channel(neurons):
    """Theta, V0 and B as Python integers, which do not overflow."""
    fields = (neurons.threshold, neurons.initial_potential, neurons.bias)
    return [int(field[0, 0, 0]) for field in fields]


def shifted(sums, exponents):
    """``sum_e 2^x_e a_e``"""
    return sum((a << x for a, x in zip(sums, exponents, strict=True)), start=0)


def sums_that_matter(neurons, exponents, bounds, rng):
    """The sums a_e of each synapse, all of one length: where a count could be wrong, and anywhere."""
    cases = [
        sums_around_each_level(neurons, exponents, bounds, rng),
        sums_at_the_ends(bounds),
        [rng.integers(low, high + 1, 100) for low, high in bounds],
    ]
    return [np.concatenate(parts) for parts in zip(*cases, strict=True)]


def sums_around_each_level(neurons, exponents, bounds, rng, repeats=8):
    """The first synapse's sum is within two of the least that gives k spikes, whatever the others' are."""
    threshold, start, bias = of_one_channel(neurons)
    steps = neurons.timesteps
    spikes = np.repeat(np.arange(1, steps + 1), repeats)
    others = [ends_or_between(low, high, len(spikes), rng) for low, high in bounds[1:]]
    missing = spikes * threshold - start - steps * (bias + shifted(others, exponents[1:]))
    least = -(-missing // (steps << exponents[0]))
    first = least + rng.integers(-2, 3, len(spikes))
    return [np.clip(first, *bounds[0]), *others]


def ends_or_between(low, high, size, rng):
    ends, between = rng.choice([low, high], size), rng.integers(low, high + 1, size)
    return np.where(rng.random(size) < 0.5, ends, between)


def sums_at_the_ends(bounds):
    """Every combination of the least and the largest sum of each synapse."""
    return list(np.array(list(product(*bounds))).T)


@settings(max_examples=3_000)
@given(
    st.integers(1, 255),
    st.integers(1, 8_000_000),
    st.lists(st.tuples(st.integers(0, 10), st.integers(1, 2**24 - 1)), min_size=1, max_size=3),
    st.integers(-300_000, 300_000),
    st.integers(0, 2**32 - 1),
)
def test_what_is_offered_is_the_count_of_every_sum(timesteps, threshold, synapses, bias, seed):
    rng = np.random.default_rng(seed)
    neurons = population(timesteps, threshold, int(rng.integers(0, threshold)), bias)
    exponents = [exponent for exponent, _ in synapses]
    bounds = [(-int(rng.integers(0, most + 1)), most) for _, most in synapses]
    fused = fused_counts(neurons, exponents, [interval([low], [high]) for low, high in bounds])
    if fused is None:
        return
    sums = sums_that_matter(neurons, exponents, bounds, rng)
    expected = counts_by_definition(neurons, exponents, sums)
    for counts in counts_by_rounding(fused, sums, timesteps):
        assert np.array_equal(counts, expected)


def test_usual_thresholds_have_room():
    """T = 4, a thousand sums a level: what a trained layer looks like."""
    neurons = population(4, [136_000, 4_000], [68_000, 1_999], [250, -31])
    fused = fused_counts(neurons, [5], [interval([-60_000] * 2, [60_000] * 2)])
    (scale,), offset = fused.scales, fused.offset
    assert scale.dtype == offset.dtype == np.float32
    assert np.array_equal(scale, np.array([4 * 32 / 136_000, 4 * 32 / 4_000], np.float32))
    # halfway between the sum that just reaches the first level and the one before it, or nearly
    expected = [(68_000 + 4 * 250) / 136_000 - 0.5, (1_999 - 4 * 31) / 4_000 - 0.5]
    assert np.abs(offset - expected).max() < 0.5 * scale.max()


def test_no_room_between_two_sums():
    """A level every 2^23 sums: float32 cannot tell neighbours apart after three of them."""
    neurons = population(3, [3 * 2**23], [0], [0])
    assert fused_counts(neurons, [0], [interval([0], [2**24 - 1])]) is None


def test_a_residual_sum_has_room():
    """A convolution of 512 channels and a shortcut of one weight, as in ResNet-18's last join."""
    neurons = population(4, [600_000], [300_000], [-12_000])
    wide, narrow = interval([-2_300_000], [2_300_000]), interval([0], [127 * 6])
    fused = fused_counts(neurons, [7, 3], [narrow, wide])
    assert fused.scales[0] == 16 * fused.scales[1]
    assert fused.limits == (-3, 5)  # the shortcut gives 0.42 to 1.07: below 2, and not below 0
    # cut off, not rounded: half a level more than by rounding
    assert abs(fused.offset - (300_000 - 4 * 12_000) / 600_000) < fused.scales[1]


def test_two_wide_sums_that_cancel_have_none():
    neurons = population(2, [2**20], [0], [0])
    wide = interval([1 - 2**23], [2**23 - 1])
    assert fused_counts(neurons, [0], [wide]) is not None
    assert fused_counts(neurons, [0, 0], [wide, wide]) is None


def test_levels_that_no_sum_reaches_need_no_room():
    neurons = population(3, [3 * 2**23], [0], [0])
    assert fused_counts(neurons, [0], [interval([0], [1_000])]) is not None


def test_sums_that_float32_cannot_hold_are_refused():
    neurons = population(2, [2**20], [0], [0])
    assert fused_counts(neurons, [0], [interval([0], [2**24 - 1])]) is not None
    assert fused_counts(neurons, [0], [interval([0], [2**24])]) is None


def test_thresholds_that_differ_within_a_channel_are_refused():
    neurons = spiking("layer", (1, 1, 2), timesteps=2, threshold=np.array([[[9, 11]]]))
    assert fused_counts(neurons, [0], [interval([0], [99])]) is None
