"""Layers of tiny weights: neurons whose bias decides get its count exactly, whatever the target holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking
from torch import nn

from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim").widths


def layer(timesteps, biases, weight=1e-7, threshold=1.0, alignment="average"):
    """Four pixels into one neuron per bias."""
    num = len(biases)
    return float_network_of(
        float_spiking("hidden", (num, 1, 1), timesteps, threshold, bias=np.array(biases)),
        float_connect(
            "input", "hidden", float_dense(np.full((num, 4), weight)), alignment=alignment
        ),
        float_connect("hidden", "logits", float_dense(np.eye(num)), alignment=alignment),
        image=(4, 1, 1),
        max_value=255,
        unit=1 / 255,
        classes=num,
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 4, 1, 1))


@pytest.mark.parametrize("threshold", [1e-6, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("timesteps", [1, 2, 7, 16, 300])
def test_a_bias_that_decides_gives_its_count(timesteps, threshold):
    shares = np.array([-1e6, -0.3, 0.05, 0.26, 0.39, 0.6, 0.97, 1.2, 1e6])
    graph = layer(timesteps, threshold * shares, weight=1e-9 * threshold, threshold=threshold)
    run = run_exact(lower_to_integers(graph, LOIHI), PIXELS)
    expected = np.clip(np.floor(0.5 + timesteps * shares), 0, timesteps)
    assert len(np.unique(expected)) > min(timesteps, 5) - 1
    assert (run.counts["hidden"] == expected[:, None, None]).all()


def test_other_channels_keep_their_weights_and_the_bias_of_a_silent_one_costs_them_nothing():
    graph = layer(4, [0.1, 0.1, -1e9], weight=0.3)
    network, plain = (
        lower_to_integers(graph, LOIHI),
        lower_to_integers(layer(4, [0.1, 0.1], 0.3), LOIHI),
    )
    (synapse,), (expected,) = network.incoming("hidden"), plain.incoming("hidden")
    assert synapse.exponent == expected.exponent
    assert synapse.weighted.weight.tolist() == [*expected.weighted.weight.tolist(), [0] * 4]
    assert network["hidden"].bias[:2].tolist() == plain["hidden"].bias.tolist()


def test_a_neuron_that_one_pixel_can_change_is_not_constant():
    """T * b / alpha + 1/2 is just below 1; all pixels at their largest bring it to 1."""
    graph = layer(1, [0.4], weight=0.03)
    network = lower_to_integers(graph, WIDTHS)
    pixels = np.full((2, 4, 1, 1), 255)
    pixels[0] = 0
    assert run_exact(network, pixels).counts["hidden"].ravel().tolist() == [0, 1]


@pytest.mark.parametrize("alignment", ["replicate", "truncate"])
def test_frames_keep_the_spike_trains_of_neurons_that_fire_sometimes(alignment):
    graph = layer(4, [-1e9, 0.3, 2.0], weight=0.01, alignment=alignment)
    network = lower_to_integers(graph, LOIHI)
    weight = network.incoming("hidden")[0].weighted.weight
    assert [bool(row.any()) for row in weight] == [False, True, False]
    reference = run_float_snn(graph, PIXELS, with_counts=True)
    assert (run_stepped(network, PIXELS).counts["hidden"] == reference.counts["hidden"]).all()


def test_a_threshold_far_above_all_currents_is_coarsened_and_not_refused():
    """The bias brings the potential just below the threshold, so tiny weights decide."""
    graph = layer(1, [0.5 - 2e-7], weight=1e-7)
    network = lower_to_integers(graph, LOIHI)
    assert network["hidden"].threshold.max() <= LOIHI.max_threshold


def test_a_large_bias_of_the_readout_is_no_obstacle():
    graph = float_network_of(
        float_connect("input", "logits", float_dense([[1e-6], [0.0]])), classes=2, bias=[0.0, 50.0]
    )
    network = lower_to_integers(graph, LOIHI)
    logits = run_exact(network, np.ones((1, 1, 1, 1), np.int64)).logits * network["logits"].unit
    assert logits[0].tolist() == pytest.approx([0, 50], abs=0.01)


@pytest.mark.parametrize("gain", [1e-3, 1e-5, 0.0])
def test_a_layer_with_a_tiny_batch_norm_weight_computes_what_the_quantized_network_does(gain):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    with torch.no_grad():
        module[4].weight.fill_(gain)
        module[4].bias.copy_(torch.linspace(-0.45, 0.5, 8))
        module(torch.rand(64, 1, 8, 8))
    quantized = quantize_activations(module, lambda: TimestepQuantizer(4, 16, 0.3)).double().eval()
    network = lower_to_integers(convert(quantized, (1, 8, 8), 255), LOIHI)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 1, 8, 8))
    with torch.no_grad():
        expected = quantized(torch.from_numpy(pixels / 255)).numpy()
    run = run_exact(network, pixels)
    assert (run.predictions == expected.argmax(1)).all()
    assert np.abs(run.logits * network.readout.unit - expected).max() < 0.01 * np.ptp(expected)
    second = network.spiking[1]
    if gain <= 1e-5:  # all inputs give one count per channel
        assert all(len(np.unique(run.counts[second.name][:, c])) == 1 for c in range(8))


def test_a_count_that_changes_is_seen():
    graph = layer(4, [0.3])
    network = lower_to_integers(graph, LOIHI)
    hidden = network["hidden"]
    wrong = replace(hidden, bias=hidden.bias + hidden.threshold // 2)
    populations = [wrong if p is hidden else p for p in network.populations]
    counts = run_exact(type(network).build(populations, network.synapses), PIXELS).counts["hidden"]
    assert (counts != 1).all()
