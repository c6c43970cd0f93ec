"""The steps of post-training conversion, one by one, on networks and numbers that can be checked by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.float_snn import input_current, run_float_snn
from toolchain.networks.layer_graph import LayerGraph, verify_layer_graph
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.networks.linear_maps import WeightedMap
from toolchain.passes.align_edges import align_edges
from toolchain.post_training.activation_groups import (
    activation_groups,
    mean_timesteps,
    with_levels,
)
from toolchain.post_training.allocation import Sensitivity, allocate, exchange
from toolchain.post_training.bias_correction import (
    float_behaviour,
    with_corrected_biases,
    with_shifted_biases,
)
from toolchain.post_training.clipping_levels import (
    NUM_BINS,
    Criterion,
    Histogram,
    best_clipping_levels,
    collect_histograms,
    quantile_clipping_levels,
)
from toolchain.post_training.closed_form import (
    GraphTensors,
    quantized,
    relu_with_clips,
    run_pass,
    shared_weights,
    spiking,
)
from toolchain.post_training.distillation import DistillationPlan, distill
from toolchain.post_training.float_network import _compare_as_float, read_float_network
from toolchain.post_training.logit_errors import (
    divergence,
    mutual_divergence,
    squared_error,
)
from toolchain.post_training.stepped_check import compare_with_stepped

SHAPE = (1, 8, 8)


class Pooled(nn.Module):
    """Max pooling in front of an activation and behind one, a residual join, and a clip."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.join = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(nn.functional.max_pool2d(self.norm(self.first(x)), 2))
        x = torch.relu(self.join(nn.functional.relu6(self.inner(x))) + x)
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 17, (96, *SHAPE))


@pytest.fixture(scope="module")
def read(pixels):
    torch.manual_seed(0)
    module = Pooled().eval()
    with torch.no_grad():
        module.norm.running_var.fill_(0.1)
        module.inner.weight.mul_(12)  # so that some values exceed 6
    return read_float_network(module, SHAPE, 16, None, pixels)


@pytest.fixture(scope="module")
def images(read, pixels):
    return input_current(read.graph, pixels, torch.float32)


@pytest.fixture(scope="module")
def groups(read):
    return activation_groups(read.graph)


@pytest.fixture(scope="module")
def converted(read, groups, images):
    """Every T = 5, clipping by the least squared error."""
    histograms = collect_histograms(read.graph, groups, images, relu_with_clips(read.clips), 40)
    levels = {n: best_clipping_levels(h, [5])[5] for n, h in histograms.items()}
    return with_levels(read.graph, groups, dict.fromkeys(levels, 5), levels)


def test_each_activation_and_its_maxima_are_one_group(groups):
    assert [group.name for group in groups] == ["relu", "relu6", "relu_1"]
    assert [len(group.maxima) for group in groups] == [2, 0, 2]
    assert all(group.per_channel for group in groups)


def test_the_mean_of_timesteps_does_not_count_maxima(groups):
    assert mean_timesteps(groups, {"relu": 2, "relu6": 3, "relu_1": 7}) == 4


def test_what_reads_a_maximum_reads_it_through_one_weight(read):
    paths = {
        shared.target: len(shared.paths)
        for shared in shared_weights(read.graph)
        if len(shared.paths) > 1 and not is_maximum(read.graph[shared.target])
    }
    assert paths == {"relu6": 3, "relu_1": 3, "readout": 3}


def test_the_closed_form_is_the_simulation(converted, pixels):
    moved = converted.with_spiking(
        lambda p: p if is_maximum(p) else replace(p, initial_potential=p.threshold * 0.2)
    )
    assert compare_with_stepped(moved, pixels[:8]) <= 5


def test_a_network_without_closed_form_is_found_to_differ(converted, pixels):
    without_pools = converted
    varying = align_edges(_without_maxima(without_pools), "replicate")
    with pytest.raises(UnsupportedNetworkError, match=r"relu6: .* differ from the closed form"):
        compare_with_stepped(varying, pixels[:8])


def _without_maxima(graph):
    kept = [p for p in graph.populations if not is_maximum(p)]
    names = {p.name for p in kept}
    synapses = [s for s in graph.synapses if {s.source, s.target} <= names]
    return LayerGraph.build(kept, synapses)


def test_exact_max_pooling_pools_the_counts(converted, pixels, groups):
    counts = run_float_snn(converted, pixels[:16], with_counts=True).counts
    tensors = GraphTensors.of(converted, torch.float64)
    for group in (groups[0], groups[2]):
        values = {name: torch.from_numpy(counts[name]).double() for name in group.populations}
        (shared, *_) = [
            s for into in tensors.shared.values() for s in into
            if {n for n, _ in s.paths} == set(group.populations)
        ]  # fmt: skip
        pooled = nn.functional.max_pool2d(values[group.name], 2)
        assert torch.equal(shared.read(values), pooled)
        assert pooled.max() > 1


class Concatenated(nn.Module):
    """Two activations with one scale, which are pooled together."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1)
        self.head = nn.Linear(5 * 16, 3)

    def forward(self, x):
        both = torch.cat(
            [nn.functional.relu6(60 * layer(x)) for layer in (self.second, self.first)], 1
        )
        return self.head(nn.functional.max_pool2d(both, 2).flatten(1))


def test_activations_that_are_pooled_together_may_have_different_t(pixels):
    torch.manual_seed(0)
    read = read_float_network(Concatenated().eval(), SHAPE, 16, None, pixels)
    first, second = activation_groups(read.graph)
    assert [len(group.maxima) for group in (first, second)] == [2, 2]
    levels = {first.name: np.full((3, 1, 1), 5.0), second.name: np.full((2, 1, 1), 6.0)}
    graph = with_levels(read.graph, (first, second), {first.name: 3, second.name: 9}, levels)
    assert compare_with_stepped(verify_layer_graph(graph), pixels[:4]) == 0


def test_activations_with_one_t_share_the_budget():
    assert allocate({"both": 1 / np.arange(1.0, 9)}, {"both": 2}, 9) == {"both": 4}


def test_a_clip_of_the_float_network_is_kept(read, pixels):
    module = Pooled()
    assert list(read.clips) == ["relu6"]
    torch.manual_seed(0)
    module = Pooled().eval()
    with torch.no_grad():
        module.norm.running_var.fill_(0.1)
        module.inner.weight.mul_(12)
    inputs = torch.from_numpy(pixels[:8] / 16)
    _compare_as_float(read.graph, read.clips, module, pixels[:8], inputs, "")
    with pytest.raises(UnsupportedNetworkError, match="gives other logits than the network"):
        _compare_as_float(read.graph, {}, module, pixels[:8], inputs, "")


def test_gradients_pass_straight_through():
    current = torch.tensor([-1.0, 0.3, 0.7, 5.0]).reshape(1, 4, 1, 1).requires_grad_()
    threshold = torch.full((4, 1, 1), 2.0, requires_grad=True)
    share = torch.full((4, 1, 1), 0.5, requires_grad=True)
    values = quantized(current, threshold, share, 4)
    assert values.flatten().tolist() == [0, 0.5, 0.5, 2]
    values.sum().backward()
    assert current.grad.flatten().tolist() == [0, 1, 1, 0]
    # (Q - x) / v_th between 0 and v_th, and 1 above: the gradient of a learned step size
    np.testing.assert_allclose(threshold.grad.flatten(), [0, 0.1, -0.1, 1], atol=1e-6)
    assert share.grad.flatten().tolist() == [0, 0.5, 0.5, 0]


def test_a_channel_of_one_value_is_clipped_at_it():
    counts = np.zeros((2, NUM_BINS))
    counts[0, -1] = counts[1, -1] = 10
    levels = best_clipping_levels(Histogram(np.array([3.0, 0.5]), counts), [1, 4])
    for steps in (1, 4):
        np.testing.assert_allclose(levels[steps].flatten(), [3.0, 0.5], rtol=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_the_clipping_level_has_the_least_error_of_all(steps, weight):
    values = np.random.default_rng(steps).exponential(size=20_000)
    counts, _ = np.histogram(values, NUM_BINS, (0, values.max()))
    criterion = Criterion(per_channel=True, clipping_weight=weight)
    histogram = Histogram(np.array([values.max()]), counts[None].astype(float))
    (found,) = best_clipping_levels(histogram, [steps], criterion)[steps].flatten()

    def error(level):
        step = level / steps
        rounded = step * np.floor(np.clip(values / step, 0, steps) + 0.5)
        return (np.where(values > level, weight, 1) * (values - rounded) ** 2).mean()

    best = min(error(level) for level in np.linspace(0.05, 1, 400) * values.max())
    assert error(found) <= 1.02 * best


def test_a_silent_channel_and_a_whole_layer_get_levels_above_0():
    counts = np.zeros((3, NUM_BINS))
    counts[0, -1] = counts[2, -1] = 1
    histogram = Histogram(np.array([4.0, 0.0, 2.0]), counts)
    np.testing.assert_allclose(
        best_clipping_levels(histogram, [2])[2].flatten(), [4, 3, 2], rtol=1e-3
    )
    layer = Criterion(per_channel=False, clipping_weight=64)
    assert np.ptp(best_clipping_levels(histogram, [2], layer)[2]) == 0
    np.testing.assert_allclose(quantile_clipping_levels(histogram, 1.0), 4, rtol=1e-3)
    silent = Histogram(np.zeros(2), np.zeros((2, NUM_BINS)))
    assert (best_clipping_levels(silent, [2])[2] > 0).all()
    assert (quantile_clipping_levels(silent, 0.999) > 0).all()


def test_allocation_finds_the_least_sum_of_errors_within_the_budget():
    random = np.random.default_rng(0)
    weights = {"a": 1, "b": 2, "c": 1}
    for _ in range(20):
        errors = {name: np.sort(random.random(6))[::-1] for name in weights}
        found = allocate(errors, weights, 14)

        def total(steps, errors=errors):
            return sum(errors[n][t - 1] for n, t in zip(weights, steps, strict=True))

        possible = [s for s in product(range(1, 7), repeat=3) if s[0] + 2 * s[1] + s[2] <= 14]
        assert tuple(found.values()) in possible
        assert total(found.values()) == pytest.approx(min(map(total, possible)))


def test_the_most_sensitive_activation_gets_the_most_timesteps():
    errors = {name: scale / np.arange(1, 33) ** 2 for name, scale in {"a": 64.0, "b": 1.0}.items()}
    # the least of 64 / T_a^2 + 1 / T_b^2 at T_a + T_b = 20: T_a = 4 T_b
    assert allocate(errors, {"a": 1, "b": 1}, 20) == {"a": 16, "b": 4}


def test_sensitivity_is_interpolated_and_never_rises_with_t():
    sensitivity = Sensitivity(
        timesteps=(1, 4, 16), errors={"a": (1.0, 1 / 16, 0.5)}, weights={"a": 1}
    )
    found = sensitivity.at_every_step(16)["a"]
    assert found[1] == pytest.approx(1 / 4)  # 1 / T^2 between the first two
    assert (np.diff(found) <= 0).all()


def test_an_exchange_lowers_the_measured_error_within_the_budget():
    flat = {name: np.full(20, 1.0) for name in "abc"}  # which predicts nothing
    calls = []

    def measure(steps):
        calls.append(dict(steps))
        return (steps["a"] - 7) ** 2 + (steps["b"] - 3) ** 2 + (steps["c"] - 2) ** 2

    weights = dict.fromkeys("abc", 1)
    found = exchange(dict.fromkeys("abc", 4), flat, weights, 12, measure, most_measurements=100)
    assert found == {"a": 7, "b": 3, "c": 2}
    assert all(sum(steps.values()) <= 12 and min(steps.values()) >= 1 for steps in calls)
    calls.clear()
    exchange(dict.fromkeys("abc", 4), flat, weights, 12, measure, most_measurements=3)
    assert len(calls) == 4  # and the start


def test_corrected_biases_remove_a_shift_that_was_planted(read, images):
    activate = relu_with_clips(read.clips)
    behaviour = float_behaviour(read.graph, images, activate)
    shift = {
        "relu": np.array([0.3, -0.2, 0.0, 0.1])[:, None, None],
        "readout": np.array([1.0, 0.0, -2.0])[:, None, None],
    }
    shifted = with_shifted_biases(read.graph, shift)
    corrected = with_corrected_biases(shifted, behaviour, activate)
    for population in read.graph.populations[1:]:
        np.testing.assert_allclose(corrected[population.name].bias, population.bias, atol=1e-5)
        if population.name in shift:
            assert np.abs(shifted[population.name].bias - population.bias).max() > 0.2


def test_corrected_biases_give_the_float_networks_mean_logits(read, images, converted):
    behaviour = float_behaviour(read.graph, images, relu_with_clips(read.clips))
    before = _logits(converted, images)
    after = _logits(
        with_corrected_biases(converted, behaviour, spiking(converted, torch.float32)), images
    )
    wanted = behaviour.logits.mean(dim=0)
    assert (before.mean(dim=0) - wanted).abs().max() > 1e-3
    torch.testing.assert_close(after.mean(dim=0), wanted, atol=1e-5, rtol=1e-5)


def _logits(graph, images):
    with torch.inference_mode():
        activate = spiking(graph, images.dtype)
        return run_pass(graph, GraphTensors.of(graph, images.dtype), images, activate).logits


def _distilled(read, groups, graph, images, **plan):
    return distill(
        graph, groups, read.graph, relu_with_clips(read.clips), lambda i: images[torch.from_numpy(i)],
        64, images[64:], DistillationPlan(batch_size=16, **plan), squared_error, squared_error,
    )  # fmt: skip


@pytest.mark.parametrize("weight_learning_rate", [0.0, 5e-3])
def test_distillation_lowers_the_error_on_held_out_images(
    read, groups, images, converted, pixels, weight_learning_rate
):
    result = _distilled(
        read, groups, converted, images, epochs=4, weight_learning_rate=weight_learning_rate
    )
    expected = float_behaviour(read.graph, images[64:], relu_with_clips(read.clips)).logits
    found = squared_error(_logits(result.graph, images[64:]), expected).mean()
    assert float(found) == pytest.approx(result.error_after, rel=1e-3)
    assert result.error_after < 0.9 * result.error_before
    compare_with_stepped(result.graph, pixels[:2])
    trained = [
        not np.array_equal(ours.maps[-1].weight, theirs.maps[-1].weight)
        for ours, theirs in zip(result.graph.synapses, converted.synapses, strict=True)
        if ours.maps
        and isinstance(ours.maps[-1], WeightedMap)
        and not is_maximum(converted[ours.target])
    ]
    assert trained
    assert all(t is bool(weight_learning_rate) for t in trained)


def test_distillation_that_does_harm_returns_the_network_as_it_was(read, groups, images, converted):
    result = _distilled(read, groups, converted, images, epochs=2, learning_rate=30.0)
    assert result.graph is converted
    assert result.epoch == 0
    assert result.error_after == result.error_before


def test_errors_of_logits_are_0_when_equal_and_bounded():
    logits, other = torch.tensor([[2.0, 0.0], [0.0, 99.0]]), torch.tensor([[2.0, 0.0], [99.0, 0.0]])
    for error in (divergence, mutual_divergence, squared_error):
        assert error(logits, logits).abs().max() < 1e-6
        assert error(other, logits)[1] > 0.9
    assert mutual_divergence(other, logits)[1] <= 1 + 1e-6
