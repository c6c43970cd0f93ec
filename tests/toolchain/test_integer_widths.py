"""Bounds of every integer hold at the limit of a target's widths, and not one past it."""

from dataclasses import replace

import numpy as np
import pytest
from builders import ONE, WIDTHS, connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import two_neurons
from strategies import integer_networks, random_pixels

from sim.stepped import run_stepped
from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import (
    verify_integer_widths,
)
from toolchain.networks.integer_network.accumulator_bounds import potential_interval
from toolchain.passes import lower_to_integers


def one_neuron(threshold, bias, weight=1, exponent=0, timesteps=1, start=0):
    return network_of(
        spiking("hidden", ONE, timesteps, threshold, start, bias),
        connect("input", "hidden", dense([[weight]]), exponent=exponent),
        connect("hidden", "logits", dense([[1]])),
    )


@settings(max_examples=200)
@given(integer_networks(alignments=("average", "replicate", "truncate")), st.integers(0, 2**32 - 1))
def test_no_logit_leaves_its_bound(network, seed):
    run = run_stepped(network, random_pixels(network, seed))
    bound = potential_interval(network, "logits")
    assert (run.logits >= bound.low).all()
    assert (run.logits <= bound.high).all()


@settings(max_examples=500)
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
