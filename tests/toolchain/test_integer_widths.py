"""Bounds of every integer hold at the limit of a target's widths, and not one past it."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from builders import ONE, WIDTHS, connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import random_chain
from small_networks import two_neurons
from strategies import integer_networks, random_pixels

from sim.stepped import apply_maps, run_stepped
from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import (
    verify_integer_widths,
)
from toolchain.networks.integer_network.accumulator_bounds import (
    potential_interval,
    synapse_interval,
    window_sum_bound,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Resample,
    SelectChannels,
    WeightedMap,
    chain_output_shape,
    with_weight,
)
from toolchain.passes import lower_to_integers


def one_neuron(threshold, bias, weight=1, exponent=0, timesteps=1, start=0):
    return network_of(
        spiking("hidden", ONE, timesteps, threshold, start, bias),
        connect("input", "hidden", dense([[weight]]), exponent=exponent),
        connect("hidden", "logits", dense([[1]])),
    )


@settings(max_examples=100)
@given(integer_networks(alignments=("average", "replicate", "truncate")), st.integers(0, 2**32 - 1))
def test_no_logit_leaves_its_bound(network, seed):
    run = run_stepped(network, random_pixels(network, seed))
    bound = potential_interval(network, "logits")
    logits = run.logits.reshape(len(run.logits), len(bound.low), -1)
    assert (logits >= bound.low[:, None]).all()
    assert (logits <= bound.high[:, None]).all()


@settings(max_examples=200)
@given(
    st.integers(1, 50),
    st.integers(-60, 60),
    st.integers(-127, 127),
    st.integers(1, 8),
    st.floats(0, 0.99),
)
def test_no_potential_leaves_its_bound(threshold, bias, weight, timesteps, start):
    network = one_neuron(threshold, bias, weight, timesteps=timesteps, start=int(start * threshold))
    bound = potential_interval(network, "hidden")
    for pixel in (0, 1):
        potential = int(start * threshold)
        for _ in range(timesteps):
            potential += weight * pixel + bias
            assert bound.low <= potential <= bound.high
            potential -= threshold * (potential >= threshold)


def largest_reachable(maps, shape):
    """Largest and smallest sum of each channel for sources from 0 to 1, from the matrix of all maps."""
    sources = prod(shape)
    columns = apply_maps(maps, np.eye(sources, dtype=np.int64).reshape(sources, *shape))
    highest, lowest = (
        part.sum(axis=0) for part in (np.maximum(columns, 0), np.minimum(columns, 0))
    )
    return lowest.min(axis=(1, 2)), highest.max(axis=(1, 2))


def one_synapse(maps, shape):
    target = chain_output_shape(maps, shape)
    network = network_of(
        spiking("hidden", target),
        connect("input", "hidden", *maps),
        connect("hidden", "logits", dense(np.zeros((1, prod(target))))),
        image=shape,
    )
    return network, network.incoming("hidden")[0]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_no_sum_of_a_synapse_leaves_the_bound_of_its_channel(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    maps = next(
        chain
        for chain in (random_chain(rng, shape, int(rng.integers(1, 5))) for _ in iter(int, 1))
        if sum(isinstance(m, WeightedMap) for m in chain) == 1
    )
    maps = [
        with_weight(m, rng.integers(-127, 128, m.weight.shape, dtype=np.int8))
        if isinstance(m, WeightedMap)
        else m.without_divisor()
        for m in maps
    ]
    network, synapse = one_synapse(maps, shape)
    bound, (low, high) = synapse_interval(network, synapse), largest_reachable(maps, shape)
    assert (bound.low <= low).all()
    assert (bound.high >= high).all()
    if len(maps) == 1:
        assert bound.low.tolist() == low.tolist()
        assert bound.high.tolist() == high.tolist()
    for end in range(1, len(maps) + 1):  # what engines hold on the way
        assert window_sum_bound(network, "hidden") >= largest_reachable(maps[:end], shape)[1].max()


@pytest.mark.parametrize(
    "maps",
    [
        # rows of zeros between others, as of a transposed convolution: a 2x2 window reads one of them
        (
            Resample(
                rows=np.eye(5, dtype=np.int64)[:, ::2], columns=np.eye(5, dtype=np.int64)[:, ::2]
            ),
            Convolution(weight=np.arange(-6, 6, dtype=np.int8).reshape(3, 1, 2, 2), padding=(1, 1)),
        ),
        # a dilated window of which the border leaves one tap
        (
            Convolution(
                weight=np.arange(-9, 9, dtype=np.int8).reshape(2, 1, 3, 3),
                dilation=(3, 3),
                padding=(3, 3),
            ),
        ),
        (
            Convolution(weight=np.array([3, -5], np.int8).reshape(2, 1, 1, 1)),
            SelectChannels(channels=np.array([-1, 1])),
        ),
    ],
)
def test_the_bound_of_a_channel_is_reached(maps):
    network, synapse = one_synapse(maps, (1, 3, 3))
    bound, (low, high) = synapse_interval(network, synapse), largest_reachable(maps, (1, 3, 3))
    assert bound.low.tolist() == low.tolist()
    assert bound.high.tolist() == high.tolist()


def test_the_state_bound_holds_at_the_limit_and_not_one_past_it():
    widths = replace(WIDTHS, threshold_shift=0, bias_mantissa_bits=26, bias_exponent_bits=0)
    # the highest potential is just below the threshold plus one current: (2^17 - 1) + A
    limit = 2**23 - 1 - (2**17 - 1) - 1
    verify_integer_widths(one_neuron(2**17 - 1, limit), widths)
    with pytest.raises(IntegerWidthError) as refusal:
        verify_integer_widths(one_neuron(2**17 - 1, limit + 1), widths)
    assert str(refusal.value) == (
        "hidden: accumulator bound 8,388,608 exceeds the 24-bit state (8,388,607); "
        "use fewer weight bits or fewer timesteps"
    )


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (one_neuron(65, 0), r"hidden: threshold 65 must be a multiple of 64 up to 8,388,544"),
        (
            one_neuron(64, 4097),
            r"hidden: bias up to 4,097 is not a 13-bit mantissa .* 3-bit exponent",
        ),
        (one_neuron(64, 0, weight=-128), r"weight 128 exceeds 8 bits \(127\)"),
        (one_neuron(64, 0, exponent=14), r"exponent 14 exceeds the target's 13"),
    ],
)
def test_what_a_target_cannot_hold_is_refused(network, message):
    with pytest.raises(IntegerWidthError, match=message):
        verify_integer_widths(network, WIDTHS)


def test_a_layer_that_fits_at_no_exponent_is_refused_by_name():
    graph = two_neurons()
    with pytest.raises(
        IntegerWidthError, match=r"^hidden: accumulator bound .* exceeds the 7-bit state"
    ):
        lower_to_integers(graph, replace(WIDTHS, state_bits=7))


def test_a_narrow_state_takes_weight_bits_before_it_refuses():
    """The largest weight is halved until the accumulator's bound fits the state."""
    largest = {}
    for state_bits in (24, 11, 10):
        network = lower_to_integers(two_neurons(), replace(WIDTHS, state_bits=state_bits))
        largest[state_bits] = int(np.abs(network.incoming("hidden")[0].maps[0].weight).max())
    assert largest[24] == 127
    assert 127 > largest[11] > largest[10] >= 7
