"""Which arithmetic a layer gets: that the fast forms are there at all, where they must be."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from builders import connect, dense, network_of, spiking
from small_networks import residual_network

from sim.exact import layers as exact_layers
from sim.exact.engine import run_exact
from sim.exact.layer_sums import LayerOptions
from sim.exact.layers import CountLayer, Form, TrainLayer, prepare_layers
from sim.exact.linear_kernels import exact_arithmetic, largest_factor
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Scale

CPU = torch.device("cpu")


@pytest.fixture
def residual():
    """A stem, and a join of a convolution of it and of a shortcut from it."""
    rng = np.random.default_rng(0)

    def neurons(name, timesteps):
        return spiking(name, (4, 6, 6), timesteps, threshold=20_000, initial=10_000)

    def convolution(channels):
        weight = rng.integers(-127, 128, (4, channels, 3, 3), dtype=np.int8)
        return Convolution(weight=weight, padding=(1, 1))

    return network_of(
        neurons("stem", 3),
        neurons("inner", 2),
        neurons("join", 4),
        connect("input", "stem", convolution(1)),
        connect("stem", "inner", convolution(4), exponent=3),
        connect("inner", "join", convolution(4), exponent=3),
        connect("stem", "join", Scale(weight=np.full(4, 90, np.int8)), exponent=5),
        connect("join", "logits", dense(rng.integers(-127, 128, (2, 144)))),
        image=(1, 6, 6),
        max_value=255,
        classes=2,
    )


def layers(network, factor, with_trains=False):
    options = LayerOptions(device=CPU, largest_factor=factor, with_trains=with_trains)
    with exact_arithmetic():
        return prepare_layers(network, options)[:-1]


def forms(network, factor):
    return [layer.form for layer in layers(network, factor) if isinstance(layer, CountLayer)]


@pytest.mark.skipif(not largest_factor(CPU), reason="no 8-bit arithmetic on this processor")
def test_bytes_come_straight_out_of_convolutions_and_sums_of_them(residual):
    assert forms(residual, largest_factor(CPU)) == [Form.COUNTS, Form.COUNTS, Form.SMALL_LEVELS]


def test_floating_point_divides(residual):
    assert forms(residual, 0) == [Form.WINDOW_SUM] * 3


def test_an_unusual_initial_potential_needs_the_current(residual):
    populations = [
        replace(p, initial_potential=p.threshold) if p.name == "inner" else p
        for p in residual.populations
    ]
    unusual = IntegerNetwork.build(populations, residual.synapses)
    assert forms(unusual, 0) == [Form.WINDOW_SUM, Form.CURRENT, Form.WINDOW_SUM]


def test_spike_trains_are_fired(residual):
    assert [type(layer) for layer in layers(residual, 0, with_trains=True)] == [TrainLayer] * 3


@pytest.mark.skipif(not largest_factor(CPU), reason="no 8-bit arithmetic on this processor")
@pytest.mark.parametrize("with_trains", [False, True])
@pytest.mark.parametrize("refused", ["stem", "inner.0", "join", "logits"])
def test_a_layer_that_gives_way_to_floating_point_still_sends_what_the_next_one_reads(
    refused, with_trains
):
    network = residual_network()
    pixels = np.random.default_rng(0).integers(0, 16, (3, 1, 4, 4))

    def agree(network, layer, plain, options):
        return layer.population.name != refused

    with mock.patch.object(exact_layers, "_agree", agree):
        run = run_exact(network, pixels, with_trains=with_trains)
    assert first_divergence(run_stepped(network, pixels), run) is None
