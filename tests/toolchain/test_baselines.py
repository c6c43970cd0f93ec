"""The methods that the paper is compared with, each compared with its published definition."""

import numpy as np
import pytest
import torch

from toolchain.datasets import load_dataset
from toolchain.importers.torch_module import convert
from toolchain.method.baselines import (
    averaged,
    calibrate_biases,
    frame_by_frame,
    logits_by_timestep,
    silence_overfired,
)
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.layer_graph import SpikingPopulation
from toolchain.passes.align_edges import align_by_direction, align_edges
from toolchain.passes.change_timesteps import scale_timesteps
from toolchain.training import TrainingPlan, accuracy, ann_logits, train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def qcfs(digits):
    torch.manual_seed(0)
    network = build_model("resnet-mini", digits.input_shape, 10)
    network = quantize_activations(network, lambda: FixedTimestepQuantizer(4))
    return train(network, digits, TrainingPlan(epochs=10, budget=None))


@pytest.fixture(scope="module")
def graph(qcfs, digits):
    return convert(qcfs, digits.input_shape, digits.max_value)


def test_qcfs_is_its_public_simulation(qcfs, graph, digits):
    """mem = thresh / 2; mem += x; spike = mem >= thresh; mem -= spike thresh; logits averaged over T."""
    pixels = digits.test_pixels[:40]
    state = {name: m for name, m in qcfs.named_modules() if isinstance(m, FixedTimestepQuantizer)}
    potential = {name: m.alpha.detach().double() / 2 for name, m in state.items()}

    def fire(quantizer, inputs):
        (name,) = (n for n, m in state.items() if m is quantizer)
        threshold = quantizer.alpha.detach().double()
        mem = potential[name] + inputs[0]
        spikes = (mem >= threshold) * threshold
        potential[name] = mem - spikes
        return spikes

    double = qcfs.double()
    handles = [m.register_forward_hook(lambda m, i, o: fire(m, i)) for m in state.values()]
    images = torch.from_numpy(pixels).double() / digits.max_value
    with torch.no_grad():
        steps = torch.stack([double(images) for _ in range(6)]).numpy()
    for handle in handles:
        handle.remove()
    qcfs.float()
    expected = steps.cumsum(axis=0) / np.arange(1, 7)[:, None, None]
    actual = logits_by_timestep(frame_by_frame(graph, 6), pixels, torch.float64)
    assert np.allclose(actual, expected, rtol=0, atol=1e-9)


def test_the_first_steps_of_a_run_are_the_shorter_run(graph, digits):
    pixels = digits.test_pixels[:20]
    long = logits_by_timestep(frame_by_frame(graph, 8), pixels, torch.float64)
    for steps in (1, 3, 8):
        short = run_float_snn(frame_by_frame(graph, steps), pixels).logits
        assert np.allclose(long[steps - 1], short, rtol=0, atol=1e-12)


def test_averaging_makes_qcfs_its_ann_at_t_equal_l(qcfs, graph, digits):
    """Table 8's effect, at the point where it is exact."""
    ann = ann_logits(qcfs, digits.test_pixels, digits.max_value)
    snn = run_float_snn(averaged(graph, 4), digits.test_pixels).logits
    assert np.allclose(ann, snn, rtol=0, atol=1e-9)
    plain = run_float_snn(frame_by_frame(graph, 4), digits.test_pixels).logits
    assert ((plain - ann) ** 2).mean() > 0.1


def test_rmp_starts_at_zero_and_opi_at_half_the_threshold(graph):
    for share in (0.0, 0.5):
        for population in frame_by_frame(graph, 4, share).populations:
            if isinstance(population, SpikingPopulation):
                assert np.array_equal(population.initial_potential, share * population.threshold)


@pytest.fixture(scope="module")
def balanced(digits):
    """A float ANN with thresholds balanced on data, the starting point of RMP, OPI and SNNC-AP."""
    torch.manual_seed(1)
    network = build_model("resnet-mini", digits.input_shape, 10)
    network = train(network, digits, TrainingPlan(epochs=8, budget=None))
    module = quantize_activations(network, lambda: FixedTimestepQuantizer(8))
    images = torch.from_numpy(digits.train_pixels[:300]).float() / digits.max_value
    balance_thresholds(module, images)
    return network, convert(module, digits.input_shape, digits.max_value)


def test_many_steps_reach_the_float_ann(balanced, digits):
    network, graph = balanced
    ann = accuracy(ann_logits(network, digits.test_pixels, digits.max_value), digits.test_labels)
    logits = logits_by_timestep(frame_by_frame(graph, 128), digits.test_pixels[:200])
    assert accuracy(logits[-1], digits.test_labels[:200]) >= ann - 0.02


def test_bias_calibration_brings_the_mean_activation_to_the_ann_s(balanced, digits):
    network, graph = balanced
    pixels = digits.train_pixels[:200]
    plain = frame_by_frame(graph, 4)
    calibrated = calibrate_biases(plain, pixels)
    expected = ann_logits(network, digits.test_pixels, digits.max_value)
    before, after = (run_float_snn(g, digits.test_pixels).logits for g in (plain, calibrated))
    assert ((after - expected) ** 2).mean() < 0.9 * ((before - expected) ** 2).mean()


def test_overfired_neurons_stay_silent(graph, digits):
    """SRP silences only neurons whose potential ended below 0; with none, nothing changes."""
    pixels = digits.test_pixels[:50]
    plain = logits_by_timestep(frame_by_frame(graph, 4), pixels)
    silenced = silence_overfired(frame_by_frame(graph, 4), pixels, probe_steps=4)
    assert silenced.shape == plain.shape
    assert not np.array_equal(silenced, plain)
    expected = run_float_snn(averaged(graph, 4), pixels).logits
    error, plain_error = (((x[-1] - expected) ** 2).mean() for x in (silenced, plain))
    assert error < plain_error


def test_temporal_scaling_multiplies_every_t_and_keeps_the_thresholds(graph, digits):
    scaled = scale_timesteps(graph, 3)
    for before, after in zip(graph.populations, scaled.populations, strict=True):
        if isinstance(after, SpikingPopulation):
            assert after.timesteps == 3 * before.timesteps
            assert np.array_equal(after.threshold, before.threshold)


def test_alignment_by_direction_tells_expansion_from_reduction(graph):
    from dataclasses import replace

    steps = dict(zip(("stem", "inner", "join", "wide"), (2, 4, 3, 3), strict=True))
    populations = [replace(p, timesteps=steps.get(p.name, 1)) for p in graph.populations]
    mixed = type(graph).build(populations, graph.synapses)
    aligned = align_by_direction(mixed, expansion="replicate", reduction="truncate")
    assert {(s.source, s.target): s.alignment for s in aligned.synapses} == {
        ("input", "stem"): "replicate",
        ("stem", "inner"): "replicate",
        ("inner", "join"): "truncate",
        ("stem", "join"): "replicate",
        ("join", "wide"): "replicate",
        ("wide", "readout"): "replicate",
    }
    assert align_edges(mixed, "average").populations[-1].timesteps == 1
