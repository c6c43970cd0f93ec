"""Whole networks in the RTL: spikes fed from kernel to kernel, counts and logits of the stepped engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import connect, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_maximum_networks import max_pool_network
from random_selections import random_selection_network
from strategies import integer_networks, random_pixels

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.loop_nest import TIME_LOOPS, Dataflow, Ending, Unrolling
from hw_models.pe_array.modes import SNN_BIT_PLANES, SNN_TEMPORAL, snn_schedules
from hw_models.pe_array.operands import Activity
from hw_models.pe_array.rtl.driver.network import (
    kernel_difference,
    network_kernels,
    rtl_array_for,
    verify_in_rtl,
)
from hw_models.pe_array.rtl.driver.run import run_kernel
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Dense, SumPool

pytestmark = pytest.mark.rtl

ARRAY = replace(
    load_array("pe-array"),
    unrolling=Unrolling(output_channels=2, output_columns=2, timesteps=2, input_channels=3),
    sum_bits=40,  # random thresholds and weights are larger than a compiled network's
)


def residual_network() -> IntegerNetwork:
    """Stem, a block with a strided shortcut, a depthwise kernel behind a pool, and a pooled readout."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        return rng.integers(-20, 21, shape, dtype=np.int8)

    def neurons(name, shape, timesteps, threshold):
        ranges = (threshold // 2, threshold), (0, threshold // 2), (-20, 60)
        return spiking(name, shape, timesteps, *(rng.integers(*r, shape[0]) for r in ranges))

    same = {"stride": (1, 1), "padding": (1, 1)}
    return network_of(
        neurons("stem", (5, 7, 6), 3, 300),
        neurons("inner", (4, 4, 3), 2, 200),
        neurons("join", (4, 4, 3), 5, 400),
        neurons("wide", (8, 2, 1), 4, 150),
        connect("input", "stem", Convolution(weight=weights(5, 2, 3, 3), **same)),
        connect(
            "stem",
            "inner",
            Convolution(weight=weights(4, 5, 3, 3), stride=(2, 2), padding=(1, 1)),
        ),
        connect("inner", "join", Convolution(weight=weights(4, 4, 3, 3), **same), exponent=1),
        connect("stem", "join", Convolution(weight=weights(4, 5, 1, 1), stride=(2, 2))),
        connect(
            "join",
            "wide",
            SumPool(kernel=(2, 2), stride=(2, 2)),
            Convolution(weight=weights(8, 1, 3, 3), **same, groups=4),
        ),
        connect(
            "wide", "logits", SumPool(kernel=(2, 1), stride=(2, 1)), Dense(weight=weights(3, 8))
        ),
        connect("inner", "logits", Dense(weight=weights(3, 48))),
        image=(2, 7, 6),
        max_value=15,
        classes=3,
        bias=[5, 0, -7],
    )


def activity_of(pixels, run):
    return Activity(pixels=pixels, counts=run.counts, trains=run.trains)


def hold_network(network, array, mode, pixels, compiled):
    """Every kernel of one sample, each fed with what the RTL has computed before."""
    reference = run_stepped(network, pixels)
    expected = list(network_kernels(network, array, mode, activity_of(pixels, reference)))
    simulator = compiled(rtl_array_for(expected, array), "icarus")
    counts, trains, logits, steps = {}, {}, np.empty((1, *network.readout.shape), np.int64), 0
    so_far = Activity(pixels=pixels, counts=counts, trains=trains)
    for one in network_kernels(network, array, mode, so_far):
        run = run_kernel(simulator, one.kernel.nest, array.dataflow, one.data)
        assert kernel_difference(expected[steps], run, array) is None
        steps += 1
        name, channels = one.kernel.target, one.kernel.target_channels
        if run.spikes is not None:
            shape = (1, network[name].timesteps, *network[name].shape)
            trains.setdefault(name, np.empty(shape, bool))[:, :, channels] = run.spikes
            counts[name] = trains[name].sum(1)
        elif one.kernel.nest.ending is Ending.READS_OUT:
            frames = network[name].timesteps if one.kernel.nest.sum_frames else 1
            logits[:, channels] = run.sums.sum(0) * frames
    assert steps == len(expected)
    for name, train in reference.trains.items():
        np.testing.assert_array_equal(trains[name], train)
        np.testing.assert_array_equal(counts[name], reference.counts[name])
    np.testing.assert_array_equal(logits.reshape(1, -1), reference.logits)


@pytest.mark.parametrize("mode", [SNN_TEMPORAL, SNN_BIT_PLANES], ids=str)
@pytest.mark.parametrize("time_loop", TIME_LOOPS)
def test_a_residual_network_kernel_by_kernel(compiled, mode, time_loop):
    network = residual_network()
    array = replace(ARRAY, dataflow=Dataflow(time_loop=time_loop, fold=time_loop == "innermost"))
    pixels = random_pixels(network, seed=1, samples=3)[2:]
    counts = run_stepped(network, pixels).counts
    for name, count in counts.items():  # every kernel has something to do
        assert 0 < count.sum() < count.size * network[name].timesteps
    hold_network(network, array, mode, pixels, compiled)


@pytest.mark.parametrize(
    "seed", [3, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(100, 160))]
)
def test_networks_of_every_linear_map_kernel_by_kernel(compiled, seed):
    """The input memory of a kernel holds what its addresses select, zeros included."""
    network = random_selection_network(seed)
    selected = [kernel.nest.addresses for kernel in array_kernels(network, SNN_TEMPORAL)]
    assert seed != 3 or any(addresses != (None, None) for addresses in selected)
    hold_network(network, ARRAY, SNN_BIT_PLANES, random_pixels(network, seed)[-1:], compiled)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    integer_networks(
        alignments=("average", "replicate", "truncate"), any_potential=True, extended=False
    ),
    st.sampled_from(TIME_LOOPS),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_random_networks_kernel_by_kernel(compiled, network, time_loop, fold, seed):
    array = replace(ARRAY, dataflow=Dataflow(time_loop=time_loop, fold=fold))
    pixels = random_pixels(network, seed)[-1:]
    for mode in snn_schedules(network):
        hold_network(network, array, mode, pixels, compiled)


def test_max_pools_are_left_out_by_name(rtl_cache):
    maps = (Convolution(weight=np.ones((2, 2, 2, 2), np.int8)),)
    network = max_pool_network(("y", (2, 1, 1), maps, 0), shape=(2, 4, 4))
    pixels = random_pixels(network, 1, samples=1)
    activity = activity_of(pixels, run_stepped(network, pixels))
    result = verify_in_rtl(
        network, ARRAY, activity, simulator="icarus", cycle_limit=10**6, cache=rtl_cache
    )
    assert (result.num_kernels, result.left_out, result.difference) == (6, {}, None)
    assert result.max_pools == ("x -> y (max pool)",)


def verify_residual(rtl_cache, *, cycle_limit, train_of_wide=None):
    network = residual_network()
    pixels = random_pixels(network, seed=1, samples=3)[2:]
    reference = run_stepped(network, pixels)
    trains = dict(reference.trains)
    if train_of_wide is not None:
        trains["wide"] = train_of_wide(trains["wide"])
    return verify_in_rtl(
        network,
        ARRAY,
        Activity(pixels=pixels, counts=reference.counts, trains=trains),
        simulator="icarus",
        cycle_limit=cycle_limit,
        cache=rtl_cache,
    )


def test_the_shortest_kernels_are_simulated_within_the_limit(rtl_cache):
    every = verify_residual(rtl_cache, cycle_limit=10**6)
    assert (every.num_kernels, every.left_out, every.difference) == (18, {}, None)
    nothing = verify_residual(rtl_cache, cycle_limit=1)
    assert (nothing.num_kernels, nothing.cycles, nothing.difference) == (0, 0, None)
    assert sum(nothing.left_out.values()) == every.cycles
    shortest = sorted(nothing.left_out.values())[:3]
    some = verify_residual(rtl_cache, cycle_limit=sum(shortest))
    assert (some.num_kernels, some.cycles, some.difference) == (3, sum(shortest), None)
    assert some.left_out.items() <= nothing.left_out.items()
    assert sum(some.left_out.values()) + some.cycles == every.cycles


def test_a_difference_names_the_kernel_and_both_values(rtl_cache):
    at = (2, 3, 1, 0)
    changed = []

    def change(train):
        wrong = train.copy()
        wrong[(0, *at)] ^= True
        changed.append(int(wrong[(0, *at)]))
        return wrong

    result = verify_residual(rtl_cache, cycle_limit=10**6, train_of_wide=change)
    assert result.difference == (
        "snn_temporal, join -> wide: spike at (step, channel, row, column) = (2, 3, 1, 0) is "
        f"{1 - changed[0]} in the RTL, must be {changed[0]}"
    )


def test_a_miscount_names_the_kernel_and_both_numbers(compiled):
    network = residual_network()
    pixels = random_pixels(network, seed=1, samples=1)
    reference = run_stepped(network, pixels)
    stem, *_ = network_kernels(network, ARRAY, SNN_TEMPORAL, activity_of(pixels, reference))
    simulator = compiled(rtl_array_for([stem], ARRAY), "icarus")
    run = run_kernel(simulator, stem.kernel.nest, ARRAY.dataflow, stem.data)
    assert kernel_difference(stem, run, ARRAY) is None
    miscounted = replace(stem, counters=replace(stem.counters, input_reads=1))
    assert kernel_difference(miscounted, run, ARRAY) == (
        f"input_reads is {stem.counters.input_reads:,} in the RTL, 1 in the model"
    )
