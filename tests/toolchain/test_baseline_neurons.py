"""Neuron models of TSC, SNM and SGDND, and the shift of RTS, on single neurons computed by hand."""

import numpy as np
import pytest
import torch
from builders import float_dense
from hypothesis import given
from hypothesis import strategies as st

from toolchain.method.baseline_neurons import (
    SIGN_GRADIENT_DECAY,
    SIGN_GRADIENT_RATE,
    normalize_neurons,
    pixel_intervals,
    sign_gradient_logits,
    sign_gradient_neuron,
    signed_logits,
    signed_neuron,
    switching_logits,
    switching_neuron,
)
from toolchain.method.baselines import shifted
from toolchain.method.float_snn import NeuronState, integrate_and_fire, run_float_snn
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)

ONE = (1, 1, 1)
NOTHING = np.zeros(ONE)
STATE = NeuronState(torch.ones(ONE, dtype=torch.float64), torch.zeros(ONE, dtype=torch.float64))
"""A neuron with threshold 1 and v(0) = 0."""


def neuron(timesteps):
    return SpikingPopulation(
        name="n", shape=ONE, timesteps=timesteps, threshold=np.ones(ONE), initial_potential=NOTHING,
        bias=NOTHING,
    )  # fmt: skip


def sent(model, *currents, steps=None):
    """What one neuron sends in each step; a single current is constant over ``steps``."""
    given_currents = torch.tensor(currents, dtype=torch.float64).reshape(1, -1, 1, 1, 1)
    values, _ = model(neuron(steps or len(currents)), STATE, given_currents)
    return values.flatten().tolist()


def pair(weights, biases, timesteps=1):
    """An image of two pixels 0..3, two neurons and one logit for each."""
    return LayerGraph.build(
        [
            InputPopulation(name="input", shape=(2, 1, 1), max_value=3, unit=1 / 3),
            SpikingPopulation(
                name="n", shape=(2, 1, 1), timesteps=timesteps, threshold=np.ones(ONE),
                initial_potential=NOTHING, bias=np.array(biases, float).reshape(2, 1, 1),
            ),
            ReadoutPopulation(name="readout", shape=(2, 1, 1), bias=np.zeros((2, 1, 1))),
        ],
        [
            Synapse(source="input", target="n", maps=(float_dense(weights),)),
            Synapse(source="n", target="readout", maps=(float_dense(np.eye(2)),)),
        ],
    )  # fmt: skip


def images(*pixels):
    return np.array(pixels).reshape(-1, 2, 1, 1)


# RTS


def test_the_shift_rounds_where_a_plain_neuron_takes_the_floor():
    """I = 0.2 for 4 steps makes 0.8 thresholds: no spike without the shift, one with 1/8 more per step."""
    graph = shifted(pair(np.eye(2), [-2 / 15, 0]), 4)  # a pixel of 1/3 and the bias: 0.2
    assert graph["n"].bias.flatten() == pytest.approx([-2 / 15 + 1 / 8, 1 / 8])
    assert run_float_snn(graph, images([1, 0])).logits.tolist() == [[1 / 4, 0]]
    assert sent(integrate_and_fire, 0.2, steps=4) == [0, 0, 0, 0]


@given(st.integers(0, 3), st.integers(1, 9))
def test_shifted_neurons_round_a_constant_current(pixel, steps):
    count = run_float_snn(shifted(pair(np.eye(2), [0, 0]), steps), images([pixel, 0])).logits[0, 0]
    share = pixel / 3 * steps
    assert abs(count * steps - share) <= 0.5 + 1e-9


# SNM


def test_a_negative_spike_takes_back_a_positive_one():
    """0.9 + 0.3 fires; then -2 needs one spike back, and no more, since none is left to take back."""
    assert sent(signed_neuron, 0.9, 0.3, -2.0, -2.0, 0.0) == [0, 1, -1, 0, 0]
    assert sent(integrate_and_fire, 0.9, 0.3, -2.0, -2.0, 0.0) == [0, 1, 0, 0, 0]


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=8))
def test_signed_spikes_sum_to_the_relu_up_to_one(hundredths):
    """Plain neurons do not: those that fired early keep their spikes."""
    currents = [h / 128 for h in hundredths]  # exact sums
    silence = [0.0] * 24
    total = sum(sent(signed_neuron, *currents, *silence))
    assert abs(total - max(0, sum(currents))) < 1


def test_neurons_are_normalized_one_by_one_by_their_plain_relu():
    """Activations of 3 are above the clip at 1; a neuron that is silent gets the largest of its layer."""
    graph = normalize_neurons(pair([[3, 0], [0, -1]], [0, 0]), images([3, 3], [1, 0]))
    assert graph["n"].threshold.flatten() == pytest.approx([3, 3])
    graph = normalize_neurons(pair([[3, 0], [0, 1]], [0, 0]), images([3, 1], [1, 3]))
    assert graph["n"].threshold.flatten() == pytest.approx([3, 1])
    assert signed_logits(graph, images([3, 3]), 4)[-1] == pytest.approx(np.array([[3, 1]]))


# SGDND


def test_a_value_steps_towards_the_relu_by_signs():
    """0.15 up, 0.1425 up, then 0.135375 down, since 0.2925 is above 0.2."""
    assert sent(sign_gradient_neuron, 0.2, steps=3) == pytest.approx([0.15, 0.2925, 0.157125])
    assert sent(sign_gradient_neuron, -5.0, steps=2) == pytest.approx([-0.15, -0.0075])


@given(st.floats(-3, 1), st.integers(16, 64))
def test_it_ends_within_one_step_size_of_the_relu(current, steps):
    last = sent(sign_gradient_neuron, current, steps=steps)[-1]
    assert (
        abs(last - max(0, current))
        <= SIGN_GRADIENT_RATE * SIGN_GRADIENT_DECAY ** (steps - 1) + 1e-9
    )


def test_the_logits_are_those_of_the_last_step_and_not_a_mean():
    logits = sign_gradient_logits(pair(np.eye(2), [0, 0]), images([3, 0]), 3)
    assert logits[:, 0, 0] == pytest.approx([0.15, 0.2925, 0.427875], abs=1e-6)


# TSC


def test_a_neuron_switches_on_and_off_once():
    """2.7 thresholds of input: on for two of four steps, so spikes +1 and -1, two steps apart."""
    on = sent(switching_neuron, 2.7, 0.0, -0.5, 0.5)
    assert on == [1, 1, 0, 0]
    assert np.diff([0, *on, 0]).tolist() == [1, 0, -1, 0, 0]
    assert sent(switching_neuron, 9.0, 0.0) == [1, 1]
    assert sent(switching_neuron, -1.0, 0.0) == [0, 0]


def test_pixels_are_on_for_whole_steps():
    pixels = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0], dtype=torch.float64)
    assert pixel_intervals(pixels, 1.0, 3).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert pixel_intervals(pixels, 1.0, 2).tolist() == pytest.approx([0, 0, 1 / 2, 1])


def test_switching_networks_take_the_floor_of_pixels_and_activations():
    """In 2 steps the pixel 2/3 is on for one, and half of its weight 1.5 for floor(2 * 0.75) = 1 step."""
    logits = switching_logits(pair([[1.5, 0], [0, 1]], [0, 0]), images([2, 1]), 2)
    assert logits == pytest.approx(np.array([[0.5, 0]]))
