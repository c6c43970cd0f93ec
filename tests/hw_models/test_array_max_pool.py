"""Exact max pooling on the PE array: comparators, against numpy and the stepped engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import connect, network_of, spiking
from integer_maximum_networks import max_pool_network
from strategies import random_pixels

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.estimate import estimate_array
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.maximum_pools import replaced_populations
from hw_models.pe_array.modes import ANN_MULTIPLIER, MODES, SNN_BIT_PLANES, SNN_TEMPORAL
from hw_models.pe_array.operands import Activity, kernel_values
from sim.results import Simulation, first_divergence
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Dense, Resample, Scale, SumPool

ARRAY = load_array("pe-array")
WINDOWS = [
    {},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    {"kernel": (1, 3), "stride": (1, 1)},
    {"kernel": (2, 1), "stride": (2, 1)},
]


def convolution(seed=1):
    rng = np.random.default_rng(seed)
    return Convolution(weight=rng.integers(-20, 21, (3, 2, 2, 2), dtype=np.int8), padding=(1, 1))


def pooled(counts, kernel=(2, 2), stride=(2, 2), padding=(0, 0)):
    """The maximum of each window, by numpy."""
    (top, left), (down, right) = padding, stride
    padded = np.pad(counts, ((0, 0), (0, 0), (top, top), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    return windows[:, :, ::down, ::right].max(axis=(-2, -1))


def network_with(window, **changes):
    size = pooled(np.zeros((1, 2, 6, 7)), **window).shape[1:]
    after = convolution().output_shape(size)
    return max_pool_network(("y", after, (convolution(),), 1), **window, **changes)


def activity_of(network, pixels):
    run = run_stepped(network, pixels)
    return Activity(pixels=pixels, counts=run.counts, trains=run.trains)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_counts_of_the_pool_are_the_maximum_of_the_counts(window):
    network = network_with(window)
    pixels = random_pixels(network, 1)
    activity = activity_of(network, pixels)
    expected = pooled(activity.counts["x"], **window)
    assert expected.max() > 0
    for mode in MODES.values():
        kernels = list(kernel_values(network, mode, activity))
        assert [kernel.name for kernel, _ in kernels] == [
            "input -> x", "x -> y (max pool)", "x -> y", "y -> logits",
        ]  # fmt: skip
        reader, read = kernels[2]
        np.testing.assert_array_equal(read[:, 0], expected)
        counters = estimate_array(network, ARRAY, mode).layers[1].counters
        taps = int(np.prod(window.get("kernel", (2, 2))))
        assert counters.accumulations == expected[0].size * taps
        assert counters.weight_reads == 0
        assert reader.reads.bits == (1 if mode.frames.name == "BIT_PLANES" else 2)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("mode", [SNN_TEMPORAL, SNN_BIT_PLANES], ids=str)
def test_the_array_computes_the_integers_of_the_stepped_engine(window, mode):
    network = network_with(window)
    pixels = random_pixels(network, 2)
    run = run_on_array(network, ARRAY, pixels, mode)
    simulation = Simulation(logits=run.logits, counts=run.counts, trains=run.trains)
    assert first_divergence(run_stepped(network, pixels), simulation) is None


def test_pools_dense_layers_and_several_readers_of_a_maximum():
    rng = np.random.default_rng(3)
    dense = Dense(weight=rng.integers(-9, 10, (4, 2 * 3 * 3), dtype=np.int8))
    average = (SumPool(kernel=(2, 2), stride=(1, 1)), convolution())
    network = max_pool_network(
        ("average", (3, 3, 3), average, 0), ("dense", (4, 1, 1), (dense,), 2)
    )
    names = [kernel.name for kernel in array_kernels(network, ANN_MULTIPLIER)]
    assert names == [
        "input -> x",
        "x -> average (max pool)", "x -> average (pool)", "x -> average",
        "x -> dense (max pool)", "x -> dense", "dense -> logits",
    ]  # fmt: skip
    pixels = random_pixels(network, 4)
    run = run_on_array(network, ARRAY, pixels, SNN_BIT_PLANES)
    simulation = Simulation(logits=run.logits, counts=run.counts, trains=run.trains)
    assert first_divergence(run_stepped(network, pixels), simulation) is None


def test_a_tournament_of_three_populations_is_one_pass():
    """a + r1 + r3 of a 2x2 window, where r1 = b - a, r2 = d - c, r3 = c + r2 - a - r1, each clipped."""

    def corner(row, column):
        return Resample(rows=np.eye(6, dtype=int)[row::2], columns=np.eye(6, dtype=int)[column::2])

    def taps(*weights):
        weight = np.array(weights, np.int8).reshape(1, 1, 2, 2).repeat(2, axis=0)
        return Convolution(weight=weight, stride=(2, 2), groups=2)

    def clip(name):
        return replace(spiking(name, (2, 3, 3), 3, 3 * 64, 96), role="maximum")

    plus, minus, reader = (Scale(weight=np.full(2, w, np.int8)) for w in (64, -64, 5))
    source = max_pool_network(("y", (2, 3, 3), (reader,), 0), shape=(2, 6, 6))
    network = network_of(
        source["x"], clip("r1"), clip("r2"), clip("r3"), source["y"],
        next(s for s in source.synapses if s.target == "x"),
        connect("x", "r1", taps(-64, 64, 0, 0)),
        connect("x", "r2", taps(0, 0, -32, 32), exponent=1),
        connect("x", "r3", taps(-64, 0, 64, 0)),
        connect("r1", "r3", minus),
        connect("r2", "r3", plus),
        connect("x", "y", corner(0, 0), reader), connect("r1", "y", reader), connect("r3", "y", reader),
        next(s for s in source.synapses if s.target == "logits"),
        image=(1, 6, 6), classes=3,
    )  # fmt: skip
    pixels = random_pixels(network, 6)
    activity = activity_of(network, pixels)
    kernels = {
        kernel.name: values for kernel, values in kernel_values(network, ANN_MULTIPLIER, activity)
    }
    assert list(kernels) == ["input -> x", "x -> y (max pool)", "x -> y", "y -> logits"]
    np.testing.assert_array_equal(kernels["x -> y"][:, 0], pooled(activity.counts["x"]))


def changed(network, name, **fields):
    populations = [replace(p, **fields) if p.name == name else p for p in network.populations]
    return IntegerNetwork.build(populations, network.synapses)


def without_equal_weights(network):
    synapses = [
        replace(s, exponent=s.exponent + 1) if (s.source, s.target) == ("x", "y") else s
        for s in network.synapses
    ]
    return IntegerNetwork.build(network.populations, synapses)


@pytest.mark.parametrize(
    "change",
    [
        lambda n: changed(n, "ry1", threshold=np.full((2, 1, 1), 13)),
        lambda n: changed(n, "rx1", bias=np.ones((2, 1, 1), np.int64)),
        lambda n: changed(n, "ry1", initial_potential=np.full((2, 1, 1), 12)),
        lambda n: changed(n, "rx1", role="activation"),
        without_equal_weights,
    ],
    ids=["threshold", "bias", "initial potential", "role", "weights"],
)
def test_what_is_no_maximum_runs_as_it_is(change):
    """The proof fails, so every population is run, and the integers are right all the same."""
    network = network_with({})
    assert replaced_populations(network) == {"rx1", "ry1"}
    network = change(network)
    assert replaced_populations(network) == set()
    assert not any(k.nest.takes_maximum for k in array_kernels(network, SNN_TEMPORAL))
    pixels = random_pixels(network, 5)
    run = run_on_array(network, ARRAY, pixels, SNN_TEMPORAL)
    simulation = Simulation(logits=run.logits, counts=run.counts, trains=run.trains)
    assert first_divergence(run_stepped(network, pixels), simulation) is None
