"""Populations that compute a maximum: selected counts and theirs add up to the max pool of the counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from builders import connect, dense, max_pooled, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_pixels

from sim.exact.count_differences import count_differences
from sim.exact.engine import run_exact
from sim.exact.layer_sums import LayerOptions, same_weights
from sim.exact.layers import Form, prepare_layers
from sim.exact.linear_kernels import exact_arithmetic, largest_factor
from sim.results import first_divergence
from sim.stepped import apply_maps, run_stepped
from toolchain.networks.integer_network import IntegerNetwork, verify_integer_network
from toolchain.networks.linear_maps import Convolution

CPU = torch.device("cpu")


def windows_of(shape, kernel, stride, padding):
    """A network that pools the counts of its first population, and a function from counts to the maximum."""
    source = spiking("source", shape, timesteps=5, threshold=64, initial=32)
    maximum = max_pooled(source, kernel, stride, padding, weight=16, exponent=2, initial=7)
    identity = Convolution(weight=np.full((shape[0], 1, 1, 1), 4, np.int8), groups=shape[0])
    readout = np.ones((1, np.prod(maximum.shape)))
    network = network_of(
        source,
        *maximum.populations,
        connect("input", "source", identity),
        *maximum.synapses,
        *maximum.connect("logits", dense(readout)),
        image=shape,
        max_value=90,
    )

    def pooled(counts):
        return sum(apply_maps(maps, counts[name]) for name, maps in maximum.parts)

    return verify_integer_network(network), pooled


def maxima(counts, kernel, stride, padding):
    """Max pooling by NumPy: the largest value of each window of the padded counts."""
    (up, left), (down, right) = padding, stride
    padded = np.pad(counts, ((0, 0), (0, 0), (up, up), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    return windows[:, :, ::down, ::right].max(axis=(4, 5))


@st.composite
def windows(draw):
    """Feature maps of any size, and a kernel, stride and padding for each axis."""
    axes = []
    for _ in range(2):
        size = draw(st.integers(1, 7))
        kernel = draw(st.integers(1, min(3, size)))
        axes.append((size, kernel, draw(st.integers(1, 3)), draw(st.integers(0, kernel // 2))))
    size, *window = zip(*axes, strict=True)
    return (draw(st.integers(1, 3)), *size), window


@settings(max_examples=40)
@given(windows(), st.integers(0, 2**32 - 1))
def test_the_parts_add_up_to_the_maximum_of_each_window(geometry, seed):
    shape, window = geometry
    network, pooled = windows_of(shape, *window)
    run = run_stepped(network, random_pixels(network, seed))
    counts = run.counts["source"]
    expected = maxima(counts, *window)
    assert np.array_equal(pooled(run.counts), expected)
    assert np.array_equal(run.logits[:, 0], expected.sum(axis=(1, 2, 3)))
    by_torch = F.max_pool2d(torch.from_numpy(counts).double(), *window)
    assert np.array_equal(by_torch.numpy(), expected)


def test_without_a_population_the_sum_is_another():
    """The comparisons above see it: a silent last population leaves the maximum of the first row."""
    network, pooled = windows_of((1, 2, 2), (2, 2), (2, 2), (0, 0))
    names = ["source", "source.maximum.column1", "source.maximum.row1"]
    assert [(p.name, p.role) for p in network.spiking] == list(
        zip(names, ["activation", "maximum", "maximum"], strict=True)
    )
    counts = dict(run_stepped(network, np.array([[[[2, 6], [12, 4]]]])).counts)
    assert counts["source"].reshape(-1).tolist() == [1, 2, 4, 1]
    assert pooled(counts).item() == 4
    assert pooled(counts | {names[2]: 0 * counts[names[2]]}).item() == 2


def test_one_convolution_reads_all_parts_of_a_maximum():
    network, _ = windows_of((2, 6, 6), (3, 3), (2, 2), (1, 1))
    (group,) = same_weights(network, "logits")
    assert len(group) == 5
    first = network.spiking[1]  # reads nothing but counts: its taps differ from those of the second
    assert [len(group) for group in same_weights(network, first.name)] == [1]
    changed = [
        replace(s, exponent=1) if s.target == "logits" and s.source == first.name else s
        for s in network.synapses
    ]
    apart = IntegerNetwork.build(network.populations, changed)
    assert sorted(len(group) for group in same_weights(apart, "logits")) == [1, 4]


@pytest.mark.skipif(not largest_factor(CPU), reason="no 8-bit arithmetic on this processor")
def test_maxima_are_differences_of_counts_and_their_readers_one_product():
    network, _ = windows_of((8, 5, 4), (3, 2), (2, 1), (1, 0))
    options = LayerOptions(device=CPU, largest_factor=largest_factor(CPU), with_trains=False)
    with exact_arithmetic():
        source, *maxima, readout = prepare_layers(network, options)
    assert source.form == Form.COUNTS
    assert [layer.form for layer in maxima] == [Form.DIFFERENCES] * 3
    assert len(readout.sums.edges) == 1
    pixels = random_pixels(network, 0)
    assert first_divergence(run_stepped(network, pixels), run_exact(network, pixels)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": np.full((2, 1, 1), 319)},
        {"bias": np.full((2, 1, 1), 1)},
        {"timesteps": 4},
    ],
    ids=["threshold", "bias", "timesteps"],
)
def test_what_is_nearly_a_difference_is_none(change):
    network, _ = windows_of((2, 4, 4), (1, 2), (1, 2), (0, 0))
    population = network.spiking[1]
    assert count_differences(network, population, largest_byte=255) is not None
    assert count_differences(network, population, largest_byte=4) is None  # T = 5 counts
    assert count_differences(network, replace(population, **change), largest_byte=255) is None
