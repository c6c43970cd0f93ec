"""Calibration: gradients against finite differences of a smoothed network, and a measured gain."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS

from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.errors import DataError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.calibration import CalibrationPlan, calibrate, surrogate_spike
from toolchain.method.float_snn import NeuronState, run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.layer_graph import SpikingPopulation
from toolchain.passes import lower_to_integers
from toolchain.passes.align_edges import align_edges
from toolchain.passes.change_timesteps import use_uniform_timesteps
from toolchain.training import TrainingPlan, ann_logits, train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def module(digits):
    torch.manual_seed(0)
    network = build_model("resnet-mini", digits.input_shape, 10)
    network = quantize_activations(network, TimestepQuantizer)
    return train(network, digits, TrainingPlan(epochs=15))


@pytest.fixture(scope="module")
def trained_graph(module, digits):
    return convert(module, digits.input_shape, digits.max_value)


@pytest.fixture(scope="module")
def truncated(trained_graph):
    return align_edges(trained_graph, "truncate")


@pytest.mark.parametrize(
    ("needs_it", "granularity", "remaining"),
    [
        (lambda graph: align_edges(graph, "truncate"), "channel", 0.95),
        (lambda graph: use_uniform_timesteps(graph, 1), "channel", 0.8),  # T below the trained one
        (lambda graph: use_uniform_timesteps(graph, 1), "layer", 0.9),
    ],
)
def test_calibration_brings_the_logits_nearer_on_images_it_never_saw(
    module, trained_graph, digits, needs_it, granularity, remaining
):
    """300 unlabelled training images; measured on all test images, also in integers."""
    graph = needs_it(trained_graph)
    pixels = digits.train_pixels[-300:]
    targets = ann_logits(module, pixels, digits.max_value)
    result = calibrate(graph, pixels, targets, CalibrationPlan(granularity=granularity))
    assert result.loss_after < remaining * result.loss_before
    expected = ann_logits(module, digits.test_pixels, digits.max_value)
    before, after = (run_float_snn(g, digits.test_pixels).logits for g in (graph, result.graph))
    errors = [((logits - expected) ** 2).mean() for logits in (before, after)]
    assert errors[1] < remaining * errors[0]
    integers = run_stepped(lower_to_integers(result.graph, WIDTHS), digits.test_pixels[:200])
    assert (integers.predictions == after[:200].argmax(1)).mean() > 0.95


def test_weights_are_frozen_and_potentials_stay_below_their_thresholds(module, truncated, digits):
    pixels = digits.train_pixels[-64:]
    targets = ann_logits(module, pixels, digits.max_value)
    plan = CalibrationPlan(epochs=3, learning_rate=0.5)
    graph = calibrate(truncated, pixels, targets, plan).graph
    for before, after in zip(truncated.populations, graph.populations, strict=True):
        if isinstance(after, SpikingPopulation):
            assert np.array_equal(before.bias, after.bias)
            assert (after.threshold > 0).all()
            assert (after.initial_potential >= 0).all()
            assert (after.initial_potential < after.threshold).all()
    assert graph.synapses == truncated.synapses


def test_a_perfect_network_is_returned_as_it_is(module, digits):
    """With averaging the SNN is the ANN: no epoch can be better."""
    graph = convert(module, digits.input_shape, digits.max_value)
    pixels = digits.train_pixels[-64:]
    targets = run_float_snn(graph, pixels, dtype=torch.float32).logits
    result = calibrate(graph, pixels, targets, CalibrationPlan(epochs=1))
    assert result.epoch == 0
    assert result.graph is graph


def test_calibrated_values_survive_the_model_file(truncated, tmp_path):
    generator = np.random.default_rng(0)
    populations = [
        replace(p, threshold=p.threshold * generator.uniform(0.6, 2, (p.shape[0], 1, 1)))
        if isinstance(p, SpikingPopulation)
        else p
        for p in truncated.populations
    ]
    graph = type(truncated).build(populations, truncated.synapses)
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    again = load_checkpoint(tmp_path / "model.pt").graph
    for population in populations:
        if isinstance(population, SpikingPopulation):
            assert np.array_equal(again[population.name].threshold, population.threshold)
    assert again.synapses[1].alignment == "truncate"


def test_surrogate_gradients_are_a_triangle_of_area_one():
    threshold = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    potential = torch.linspace(-1, 5, 6001, dtype=torch.float64, requires_grad=True)
    spikes = surrogate_spike(potential, threshold)
    assert torch.equal(spikes, (potential >= 2).double())
    to_potential, to_threshold = torch.autograd.grad(spikes.sum(), [potential, threshold])
    assert float(to_potential.sum()) * 0.001 == pytest.approx(1.0, abs=1e-6)
    assert float(to_potential[3000]) == pytest.approx(1.0)
    assert float(to_threshold) == pytest.approx(-float(to_potential.sum()))


def test_gradients_through_time_and_layers_are_autograd_s():
    """Two neurons, two steps, by hand: the paths through earlier spikes that Eq. 16 leaves out."""

    def slope(v, threshold):
        return max(0.0, 1 - abs(v - threshold) / (threshold / 2)) / (threshold / 2)

    v0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    state = NeuronState(torch.tensor(1.0, dtype=torch.float64), v0)
    current = (0.8, 0.4)
    potential, total = state.initial_potential, 0
    for i in current:
        potential = potential + i
        spike = surrogate_spike(potential, state.threshold)
        potential = potential - state.threshold * spike
        total = total + spike
    (gradient,) = torch.autograd.grad(total, v0)
    first = slope(0.3 + 0.8, 1.0)
    second = slope(0.3 + 0.8 - 1.0 + 0.4, 1.0) * (1 - first)  # less what the first spike took away
    assert float(gradient) == pytest.approx(first + second)


def test_too_few_samples_are_refused(truncated, digits):
    with pytest.raises(DataError, match="calibration needs at least 8 samples, not 3"):
        calibrate(truncated, digits.train_pixels[:3], np.zeros((3, 10)), CalibrationPlan())
