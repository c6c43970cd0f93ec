"""Lowering on images: never worse than plain lowering on held-out images, and always within the widths."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from maximum_networks import max_pool_network

from sim.stepped import run_stepped
from toolchain.method.float_snn import run_float_snn, transmit
from toolchain.networks.integer_network import verify_integer_network, verify_integer_widths
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense
from toolchain.passes import lower_to_integers
from toolchain.passes.align_edges import align_edges
from toolchain.post_training.logit_errors import mutual_divergence
from toolchain.rounding.counts import run_integers
from toolchain.rounding.layer_changes import Layer, corrected_bias, fitted_to_widths
from toolchain.rounding.layer_inputs import LayerWeight, at_positions, sampled_positions
from toolchain.rounding.lower_on_images import BIASES, NEAREST, ROUNDING, lower_on_images
from toolchain.rounding.plan import LoweringImages, lowering_images


def residual_graph(seed, channels=4, groups=1):
    """input -> stem -> join <- stem, join -> pooled logits; weights of both signs, T = 4 and 3."""
    rng = np.random.default_rng(seed)
    return float_network_of(
        float_spiking("stem", (channels, 6, 6), 4, 1.0, bias=0.05),
        float_spiking("join", (channels, 6, 6), 3, 1.0, bias=-0.05),
        float_connect(
            "input", "stem",
            Convolution(weight=rng.normal(scale=0.4, size=(channels, 1, 3, 3)), padding=(1, 1)),
        ),
        float_connect(
            "stem", "join",
            Convolution(
                weight=rng.normal(scale=0.3, size=(channels, channels // groups, 3, 3)),
                padding=(1, 1),
                groups=groups,
            ),
        ),
        float_connect(
            "join", "logits",
            AveragePool(kernel=(3, 3), stride=(3, 3)),
            Dense(weight=rng.normal(size=(3, channels * 4))),
        ),
        image=(1, 6, 6), max_value=15, unit=1 / 15, classes=3,
    )  # fmt: skip


def images_of(graph, seed=0, number=24):
    """Smooth images, so that the inputs of a layer are correlated."""
    rng = np.random.default_rng(seed)
    shape = graph.input.shape
    coarse = rng.integers(0, graph.input.max_value + 1, (2 * number, *shape))
    smooth = (coarse + np.roll(coarse, 1, 2) + np.roll(coarse, 1, 3)) // 3
    pixels = smooth.astype(np.uint8)
    return LoweringImages(fitted=pixels[::2], held_out=pixels[1::2])


@settings(max_examples=6)
@given(
    seed=st.integers(0, 10_000),
    bits=st.sampled_from([2, 4, 8]),
    groups=st.sampled_from([1, 2, 4]),
    most=st.sampled_from([None, 2]),
)
def test_the_network_fits_and_is_no_worse_on_held_out_images(seed, bits, groups, most):
    widths = replace(WIDTHS, weight_bits=bits, distinct_thresholds=most)
    graph = residual_graph(seed, groups=groups)
    images = images_of(graph, seed)
    lowering = lower_on_images(graph, widths, images)
    verify_integer_widths(verify_integer_network(lowering.network), widths)
    assert [step.name for step in lowering.steps] == [NEAREST, ROUNDING, BIASES]
    floats = torch.from_numpy(run_float_snn(graph, images.held_out).logits)

    def error(network):
        logits = torch.from_numpy(run_stepped(network, images.held_out).logits.astype(float))
        return float(mutual_divergence(logits * network.readout.unit, floats).mean())

    plain = error(lower_to_integers(graph, widths))
    kept = [step.logit_error for step in lowering.steps if step.kept]
    # the float network is run in single precision there, so that a count next to a tie may differ
    assert lowering.steps[0].logit_error == pytest.approx(plain, rel=0.01, abs=1e-5)
    assert error(lowering.network) == pytest.approx(kept[-1], rel=0.01, abs=1e-5)
    assert kept[-1] == min(kept)
    assert kept == sorted(kept, reverse=True)
    again = lower_on_images(graph, widths, images)
    assert str(again.network) == str(lowering.network)
    assert again.steps == lowering.steps


def test_four_bits_lose_much_less_than_with_nearest_rounding():
    graph = residual_graph(3, channels=8)
    lowering = lower_on_images(graph, replace(WIDTHS, weight_bits=4), images_of(graph, number=64))
    nearest, *_ = lowering.steps
    best = min(lowering.steps, key=lambda step: step.logit_error)
    assert best.logit_error < nearest.logit_error / 2
    assert best.equal_counts > nearest.equal_counts


def test_counts_and_logits_are_those_of_the_stepped_engine():
    graph = residual_graph(0)
    network = lower_to_integers(graph, WIDTHS)
    pixels = images_of(graph).fitted
    logits, counts = run_integers(network, pixels)
    expected = run_stepped(network, pixels)
    assert np.array_equal(logits.numpy(), expected.logits)
    for name, found in counts.items():
        assert np.array_equal(found.numpy(), expected.counts[name])


@given(
    seed=st.integers(0, 1000),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
)
def test_patches_times_weights_are_the_convolution(seed, kernel, stride, dilation, groups):
    rng = np.random.default_rng(seed)
    padding = (kernel[0] - 1, kernel[1] - 1)
    convolution = Convolution(
        weight=rng.normal(size=(4, 4 // groups, *kernel)),
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    counts = {"source": torch.from_numpy(rng.integers(0, 5, (3, 4, 7, 6))).double()}
    result = transmit((convolution,), counts["source"])
    positions = sampled_positions(3, tuple(result.shape[1:]))
    weight = LayerWeight((("source", ()),), convolution)
    patches = weight.patches(counts, positions, result.shape[3])
    product = weight.by_group(convolution.weight.reshape(4, -1)) @ patches
    assert product.reshape(4, -1) == pytest.approx(at_positions(result, positions))


def test_large_maps_are_read_at_different_positions_in_each_image():
    positions = sampled_positions(256, (1, 100, 100))
    assert positions.shape == (256, 16)
    assert len(np.unique(positions)) > 3_000
    assert all(len(set(own)) == 16 for own in positions.tolist())


def test_a_bias_gives_the_mean_count_of_the_float_network():
    graph = residual_graph(1)
    network = lower_to_integers(graph, replace(WIDTHS, weight_bits=4))
    populations = {p.name: p for p in network.populations}
    layer = Layer.of(graph["stem"], network, populations)
    rng = np.random.default_rng(0)
    threshold = int(layer.lowered.threshold.max())
    sums = torch.from_numpy(rng.integers(-threshold // 8, threshold // 3, (32, 4, 6, 6))).double()

    def mean_counts(population):
        window = population.initial_potential + 4 * (sums.numpy() + population.bias)
        return np.clip(window // population.threshold, 0, 4).mean(axis=(0, 2, 3))

    expected = mean_counts(layer.lowered) + np.array([-0.3, 0, 0.2, 0.3])
    changed = corrected_bias(layer, sums, expected, WIDTHS).lowered
    assert mean_counts(changed) == pytest.approx(expected, abs=0.02)
    assert changed.bias[1] == layer.lowered.bias[1]


def test_channels_without_weights_keep_their_bias():
    """Their count is decided already; no image says more."""
    graph = float_network_of(
        float_spiking("hidden", (2, 1, 1), 2, 1.0, bias=0.3),
        float_connect("input", "hidden", float_dense([[1.0], [0.0]])),
        float_connect("hidden", "logits", float_dense([[1.0, -1.0], [-1.0, 1.0]])),
        max_value=10, unit=0.1, classes=2,
    )  # fmt: skip
    network = lower_to_integers(graph, WIDTHS)
    layer = Layer.of(graph["hidden"], network, {p.name: p for p in network.populations})
    changed = corrected_bias(layer, torch.zeros(4, 2, 1, 1).double(), np.array([2.0, 2.0]), WIDTHS)
    before, after = layer.lowered.bias.reshape(-1), changed.lowered.bias.reshape(-1)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_bounds_over_the_state_take_a_smaller_exponent_or_refuse_the_layer():
    graph = residual_graph(2)
    network = lower_to_integers(graph, WIDTHS)
    layer = Layer.of(graph["stem"], network, {p.name: p for p in network.populations})
    assert fitted_to_widths(layer, WIDTHS) is layer
    narrower = replace(WIDTHS, state_bits=WIDTHS.state_bits - 1)
    halved = fitted_to_widths(layer, narrower)
    assert [e.exponent for e in halved.edges] == [e.exponent - 1 for e in layer.edges]
    ratio = halved.lowered.threshold / layer.lowered.threshold
    assert ratio == pytest.approx(0.5, rel=1e-2)
    assert fitted_to_widths(layer, replace(WIDTHS, state_bits=WIDTHS.state_bits - 4)) is None


def test_what_follows_an_exact_max_pool_is_read_through_one_weight():
    """Different integers on the paths would add up to no maximum."""
    graph = max_pool_network(channels=3, size=8)
    lowering = lower_on_images(graph, replace(WIDTHS, weight_bits=4), images_of(graph))
    first, *others = (s.weighted.weight for s in lowering.network.incoming("after"))
    assert len(others) == 2
    assert all(np.array_equal(first, weight) for weight in others)
    plain = lower_to_integers(graph, replace(WIDTHS, weight_bits=4))
    for name in ("columns", "rows"):
        assert np.array_equal(lowering.network[name].threshold, plain[name].threshold)


@pytest.mark.parametrize("method", ["replicate", "truncate"])
def test_other_alignments_are_lowered_without_images(method):
    graph = align_edges(residual_graph(0), method)
    lowering = lower_on_images(graph, WIDTHS, images_of(graph))
    assert str(lowering.network) == str(lower_to_integers(graph, WIDTHS))
    assert (lowering.steps, lowering.images) == ((), None)
    assert lowering.notes == (
        "weights are rounded to nearest: with replicate or truncate alignment, counts alone do not say what "
        "a layer computes",
    )


def test_weights_with_too_many_inputs_keep_nearest_rounding(monkeypatch):
    monkeypatch.setattr("toolchain.rounding.lower_on_images.MOST_INPUTS", 10)
    graph, widths = residual_graph(0), replace(WIDTHS, weight_bits=4)
    lowering = lower_on_images(graph, widths, images_of(graph))
    (note,) = lowering.notes
    assert (
        note
        == "weights with more than 10 inputs are rounded to nearest: stem -> join, join -> logits"
    )
    plain = lower_to_integers(graph, widths)
    weights = (net.incoming("join")[0].weighted.weight for net in (lowering.network, plain))
    assert np.array_equal(*weights)


class _Images:
    """A data set whose images are their own index."""

    def __init__(self, number, shape=(1, 6, 6)):
        index = np.arange(number, dtype=np.uint16).reshape(-1, 1, 1, 1)
        self.train_pixels = np.broadcast_to(index, (number, *shape))


def test_images_are_spread_over_the_training_images_and_disjoint():
    images = lowering_images(residual_graph(0), _Images(60_000))
    fitted, held_out = (part[:, 0, 0, 0] for part in (images.fitted, images.held_out))
    assert (len(fitted), len(held_out)) == (512, 1024)
    assert not set(fitted) & set(held_out)
    assert np.ptp(fitted) > 59_000
    few = lowering_images(residual_graph(0), _Images(8))
    assert (len(few.fitted), len(few.held_out)) == (2, 4)
    assert lowering_images(residual_graph(0), _Images(2)) is None


def test_other_images_have_another_digest():
    images = images_of(residual_graph(0))
    changed = images.fitted.copy()
    changed[0, 0, 0, 0] ^= 1
    assert (
        replace(images, fitted=changed).sha256
        != images.sha256
        == images_of(residual_graph(0)).sha256
    )


def test_an_identity_beside_a_convolution_is_left_alone():
    """One weight per channel has nothing to compensate."""
    rng = np.random.default_rng(0)
    joined = float_network_of(
        float_spiking("stem", (2, 6, 6), 4, 1.0),
        float_spiking("join", (2, 6, 6), 4, 1.0),
        float_connect("input", "stem", Convolution(weight=rng.normal(size=(2, 1, 1, 1)))),
        float_connect("stem", "join"),
        float_connect("stem", "logits", Dense(weight=rng.normal(size=(2, 72)))),
        float_connect("join", "logits", Dense(weight=rng.normal(size=(2, 72)))),
        image=(1, 6, 6), max_value=15, unit=1 / 15, classes=2,
    )  # fmt: skip
    lowering = lower_on_images(joined, WIDTHS, images_of(joined))
    weights = (
        net.incoming("join")[0].weighted.weight
        for net in (lowering.network, lower_to_integers(joined, WIDTHS))
    )
    assert np.array_equal(*weights)
