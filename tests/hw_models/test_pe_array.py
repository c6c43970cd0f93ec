"""The PE array: closed form = loop trace = reference points, and the integers of the network."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles.loop_trace import trace_loops
from random_kernels import random_dataflow, random_nest, random_unrolling
from random_selections import random_selection_network, selects
from strategies import integer_networks, random_pixels

from benchmarks.imagenet_vgg import imagenet_vgg16
from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.estimate import estimate_array
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.loop_nest import Dataflow, Ending, LoopNest, Unrolling
from hw_models.pe_array.modes import (
    ANN_BIT_SERIAL,
    ANN_MULTIPLIER,
    SNN_BIT_PLANES,
    SNN_TEMPORAL,
)
from sim.results import Simulation, first_divergence
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import num_accumulations

ARRAY = load_array("pe-array")
NETWORKS = settings(max_examples=60)
unrollings = st.builds(
    Unrolling,
    output_channels=st.integers(1, 5),
    output_columns=st.integers(1, 4),
    timesteps=st.integers(1, 5),
    input_channels=st.integers(1, 5),
)
dataflows = st.builds(
    Dataflow, time_loop=st.sampled_from(["innermost", "outermost"]), fold=st.booleans()
)


def convolution(out, inputs, size, frames, kernel=3, **changes):
    """A layer of the temporal schedule that keeps the size of its map."""
    nest = LoopNest(
        groups=1,
        output_channels=out,
        input_channels=inputs,
        rows=size,
        columns=size,
        kernel_size=(kernel, kernel),
        stride=(1, 1),
        padding=(kernel // 2, kernel // 2),
        input_size=(size, size),
        frames=frames,
        sum_frames=False,
        node_steps=frames,
        adds_sums=False,
        ending=Ending.FIRES,
        unit_weights=False,
    )
    return replace(nest, **changes)


def unrolling(m, n, s, v):
    return Unrolling(output_channels=m, output_columns=n, timesteps=s, input_channels=v)


@pytest.mark.parametrize(
    ("layer", "array", "cycles", "share"),
    [
        (convolution(16, 8, 8, 4), unrolling(8, 4, 2, 4), 1152, 1.0),
        (convolution(10, 6, 7, 5), unrolling(4, 4, 2, 4), 2268, 0.4557),
        (convolution(32, 16, 6, 3, kernel=1), unrolling(16, 8, 4, 16), 12, 0.5625),
        (convolution(32, 16, 6, 3), unrolling(16, 8, 4, 16), 108, 0.5625),
    ],
)
def test_reference_points(layer, array, cycles, share):
    counters = count_loops(layer, array, Dataflow())
    assert (counters.cycles, counters.node_stall_cycles) == (cycles, 0)
    used = counters.accumulations / (cycles * array.num_elements)
    assert used == pytest.approx(share, abs=5e-5)


def test_every_counter_of_a_layer_by_hand():
    """Two channels to three on a 2x3 map, 3x3 kernels, T = 3 steps; an array of 2 x 2 x 2 x 1.

    Padding: along the rows the kernel meets the map in 4 of 6 cases, along the columns in 7 of 9.
    """
    layer = convolution(3, 2, 3, 3, rows=2, input_size=(2, 3))
    counters = count_loops(layer, unrolling(2, 2, 2, 1), Dataflow(time_loop="outermost"))
    tiles = 2 * 2 * 2 * 2  # of channels, rows, columns, frames
    assert counters.cycles == tiles * 9 * 2
    assert counters.accumulations == 18 * 3 * 9 * 2  # neurons, frames, window
    assert counters.weight_reads == 3 * 2 * 9 * (2 * 2 * 2)  # once a row, column and frame tile
    assert counters.input_reads == 2 * (4 * 7) * 3 * 2  # once a channel tile
    assert (counters.membrane_reads, counters.membrane_writes) == (
        18,
        18,
    )  # between two frame tiles
    assert (counters.psum_reads, counters.psum_writes) == (0, 0)
    assert counters.node_updates == counters.output_writes == 18 * 3


def test_a_node_unit_slower_than_the_array_stalls_it():
    """A 1x1 layer of one input tile: a group takes 2 planes = 1 cycle, its 6 steps take 3."""
    layer = convolution(4, 4, 4, 2, kernel=1, sum_frames=True, node_steps=6)
    counters = count_loops(layer, unrolling(4, 4, 2, 4), Dataflow())
    assert (counters.cycles, counters.node_stall_cycles) == (
        4,
        3 * 2,
    )  # the last of 4 groups drains


def test_folding_uses_the_lanes_that_one_frame_leaves_idle():
    layer = convolution(4, 4, 8, 1)
    plain, folded = (
        count_loops(layer, unrolling(4, 2, 4, 4), Dataflow(fold=fold)) for fold in (False, True)
    )
    assert (plain.cycles, folded.cycles) == (8 * 4 * 9, 8 * 1 * 9)
    assert folded.accumulations == plain.accumulations
    assert folded.weight_reads * 4 == plain.weight_reads


def test_closed_form_equals_the_loop_trace_on_every_counter():
    for seed in range(5_000):
        rng = random.Random(seed)
        nest, array, dataflow = random_nest(rng), random_unrolling(rng), random_dataflow(rng)
        found, expected = count_loops(nest, array, dataflow), trace_loops(nest, array, dataflow)
        assert found == expected, (seed, nest, array, dataflow)


def on_array(network, pixels, array, dataflow, mode):
    run = run_on_array(network, replace(ARRAY, unrolling=array, dataflow=dataflow), pixels, mode)
    return Simulation(logits=run.logits, counts=run.counts, trains=run.trains)


@NETWORKS
@given(
    integer_networks(any_potential=True),
    unrollings,
    dataflows,
    st.sampled_from([SNN_TEMPORAL, SNN_BIT_PLANES]),
    st.integers(0, 2**32 - 1),
)
def test_both_schedules_compute_the_integers_of_the_network(network, array, dataflow, mode, seed):
    pixels = random_pixels(network, seed)
    simulation = on_array(network, pixels, array, dataflow, mode)
    assert first_divergence(run_stepped(network, pixels), simulation) is None


@NETWORKS
@given(
    integer_networks(any_potential=True, alignments=("replicate", "truncate", "average")),
    unrollings,
    dataflows,
    st.integers(0, 2**32 - 1),
)
def test_the_temporal_schedule_takes_any_alignment(network, array, dataflow, seed):
    pixels = random_pixels(network, seed)
    simulation = on_array(network, pixels, array, dataflow, SNN_TEMPORAL)
    assert first_divergence(run_stepped(network, pixels), simulation) is None


@NETWORKS
@given(integer_networks(alignments=("replicate",)))
def test_other_modes_need_averaging(network):
    for mode in (SNN_BIT_PLANES, ANN_MULTIPLIER, ANN_BIT_SERIAL):
        with pytest.raises(UnsupportedNetworkError) as refusal:
            estimate_array(network, ARRAY, mode)
        assert str(refusal.value) == (
            f"the PE array's mode {mode} needs 'average' alignment on every synapse; compile with "
            "--alignment average, or use snn_temporal"
        )


@NETWORKS
@given(integer_networks(alignments=("replicate", "average"), extended=False))
def test_kernels_fire_every_step_of_every_neuron_once(network):
    kernels = array_kernels(network, SNN_TEMPORAL)
    fired = [layer for layer in kernels if layer.nest.fires]
    expected = {p.name: p.timesteps * p.shape[0] * p.shape[1] * p.shape[2] for p in network.spiking}
    updates = {
        layer.target: count_loops(layer.nest, ARRAY.unrolling, ARRAY.dataflow).node_updates
        for layer in fired
    }
    assert len(fired) == len(expected)
    assert updates == expected


@NETWORKS
@given(integer_networks(extended=False))
def test_ann_accumulations_are_those_of_the_network(network):
    """One frame, no tails: the multiplier ANN does each accumulation of the network once.

    Maps that only select values are left out: they change what is computed at all, and cost nothing.
    """
    assume(not any(selects(network, synapse) for synapse in network.synapses))
    expected = sum(num_accumulations(s.maps, network[s.source].shape) for s in network.synapses)
    estimate = estimate_array(network, ARRAY, ANN_MULTIPLIER)
    assert sum(layer.counters.accumulations for layer in estimate.layers) == expected


@NETWORKS
@given(integer_networks())
def test_bit_planes_take_the_array_cycles_of_the_bit_serial_ann(network):
    """What the SNN saves over T_l frames, the ANN saves as well; only the node unit differs."""
    planes, serial = (array_kernels(network, mode) for mode in (SNN_BIT_PLANES, ANN_BIT_SERIAL))
    for snn, ann in zip(planes, serial, strict=True):
        counters = [count_loops(p.nest, ARRAY.unrolling, ARRAY.dataflow) for p in (snn, ann)]
        assert counters[0].cycles == counters[1].cycles
        assert counters[0].node_updates == counters[1].node_updates * snn.nest.node_steps


@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 2_000), marks=pytest.mark.slow)], ids=str
)
def test_networks_of_every_linear_map_compute_the_integers_of_the_stepped_engine(seeds):
    """Selections, sums, dilation and concatenations, in front of weights and behind them."""
    for seed in seeds:
        rng = random.Random(seed)
        alignments = ("average",) if seed % 3 else ("replicate", "truncate", "average")
        network = random_selection_network(seed, alignments)
        mode = SNN_BIT_PLANES if network.has_constant_current and seed % 2 else SNN_TEMPORAL
        pixels = random_pixels(network, seed, samples=2)
        array, dataflow = random_unrolling(rng), random_dataflow(rng)
        simulation = on_array(network, pixels, array, dataflow, mode)
        assert first_divergence(run_stepped(network, pixels), simulation) is None, seed


def test_vgg16_at_imagenet_size_needs_no_weights():
    """15,470,264,320 multiply-accumulates, as published tables have it (convolutions and dense layers)."""
    network = imagenet_vgg16()
    counted = 0
    for layer in estimate_array(network, ARRAY, ANN_MULTIPLIER).layers:
        if "(pool)" not in layer.kernel.name:
            counted += layer.counters.accumulations
    assert counted == 15_470_264_320


@pytest.mark.parametrize(
    ("mode", "dataflow", "cycles"),
    [
        (SNN_TEMPORAL, Dataflow(), 58_483_390),
        (SNN_TEMPORAL, Dataflow(time_loop="outermost"), 59_086_324),
        (SNN_BIT_PLANES, Dataflow(), 60_421_893),
        (SNN_BIT_PLANES, Dataflow(time_loop="outermost"), 62_339_310),
        (ANN_MULTIPLIER, Dataflow(), 39_968_446),
        (ANN_MULTIPLIER, Dataflow(fold=True), 24_532_158),
    ],
)
def test_vgg16_takes_the_cycles_that_the_documentation_gives(mode, dataflow, cycles):
    """The table in docs/pe-array.md."""
    array = replace(ARRAY, dataflow=dataflow)
    assert estimate_array(imagenet_vgg16(), array, mode).total_cycles == cycles
