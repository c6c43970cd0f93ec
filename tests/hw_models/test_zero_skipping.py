"""Zero skipping: vectorised counts = a literal trace, on real operands, and cases by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles.skipping_trace import SkippingTrace
from oracles.timing_trace import trace_kernel
from random_kernels import random_array, random_kernel
from random_selections import selects
from strategies import integer_networks, random_pixels

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import ArrayKernel, NodeParameters, Operand, Result
from hw_models.pe_array.buffer_plan import plan_buffers
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.kernel_timing import time_kernel
from hw_models.pe_array.loop_nest import Ending, LoopNest, Unrolling
from hw_models.pe_array.modes import SNN_BIT_PLANES, array_modes
from hw_models.pe_array.operands import Activity, frame_operand, kernel_values, selected_values
from hw_models.pe_array.skipping_estimate import estimate_skipping
from hw_models.pe_array.zero_skipping import SKIPPINGS, skip_zeros
from sim.stepped import apply_maps, run_stepped
from toolchain.errors import TargetError

ARRAY = load_array("pe-array")
NETWORKS = settings(max_examples=40)


def random_case(seed):
    """A kernel, an array that holds it, and operands of some density, or None."""
    rng = random.Random(seed)
    kernel, array = random_kernel(rng), random_array(rng, ARRAY)
    try:
        plan_buffers(kernel, array)
    except TargetError:
        return None
    values = np.random.default_rng(seed)
    entries = 1 if kernel.nest.sum_frames else kernel.nest.frames
    shape = (1, entries, *kernel.stored)
    largest = 2**kernel.nest.frames - 1 if kernel.nest.sum_frames else 1
    is_nonzero = values.random(shape) < rng.choice([0, 0.05, 0.3, 0.9])
    stored = values.integers(1, largest + 1, shape) * is_nonzero
    return kernel, array, selected_values(kernel, stored)


def test_counts_equal_the_trace():
    cases = [case for seed in range(400) if (case := random_case(seed))]
    assert len(cases) > 250
    for kernel, array, values in cases:
        for skipping in SKIPPINGS:
            work = skip_zeros(kernel, array, values, skipping)
            trace = SkippingTrace(kernel, array, values, skipping)
            found = time_kernel(kernel, array, work.iterations)
            assert found == trace_kernel(kernel, array, trace), (skipping, kernel, array)
            assert work.accumulations == trace.accumulations
            assert work.weight_reads == trace.weight_reads
            assert work.input_reads == trace.input_reads


def test_each_kind_skips_at_least_what_the_one_before_does():
    for seed in range(400):
        if case := random_case(seed):
            kernel, array, values = case
            none = count_loops(kernel.nest, array.unrolling, array.dataflow)
            work = [skip_zeros(kernel, array, values, skipping) for skipping in SKIPPINGS]
            cycles = [none.cycles, *(time_kernel(kernel, array, w.iterations).cycles for w in work)]
            assert cycles == sorted(cycles, reverse=True)
            done = [none.accumulations, *(w.accumulations for w in work)]
            assert done == sorted(done, reverse=True)


def row_of(operands, frames=1, **changes) -> ArrayKernel:
    """A 1x1 kernel to three channels on one row; operands ``(entries, channels, columns)``."""
    _, channels, columns = np.shape(operands)
    nest = LoopNest(
        groups=1, output_channels=3, input_channels=channels, rows=1, columns=columns,
        kernel_size=(1, 1), stride=(1, 1), padding=(0, 0), input_size=(1, columns), frames=frames,
        sum_frames=False, node_steps=frames, adds_sums=False, ending=Ending.FIRES, unit_weights=False,
    )  # fmt: skip
    return ArrayKernel(
        name="a -> b", source="a", target="b", stage_index=0, nest=replace(nest, **changes),
        stored=(channels, 1, columns), source_channels=np.arange(channels), target_channels=np.arange(3),
        weight=np.ones((1, 3, channels, 1, 1), np.int8), exponent=0,
        reads=Operand(
            shape=(channels, 1, columns), selection=tuple(range(frames)), bits=1, entry_bits=1,
            is_signed=False,
        ),
        leaves=Result(stored_bits=1, stores_frames=False, written_bits=1),
        parameters=NodeParameters(),
    )  # fmt: skip


def cycles_of(kernel, operands, n, s, v, skipping):
    array = replace(
        ARRAY,
        unrolling=Unrolling(output_channels=3, output_columns=n, timesteps=s, input_channels=v),
    )
    values = np.array(operands)[None, :, :, None, :]
    work = skip_zeros(kernel, array, values, skipping)
    return time_kernel(kernel, array, work.iterations).cycles, work.accumulations


@pytest.mark.parametrize(
    ("skipping", "cycles", "accumulations"),
    [
        # iteration of channels 0, 1: column 0 reads (1, 0), column 1 (0, 0); of 2, 3: (0, 0) and (1, 1);
        # of 4, 5: all zero. Together two iterations of 2 columns x 2 channels x 3 outputs.
        ("lockstep", 2, 24),
        # column 0 takes one iteration, column 1 takes one, at once
        ("per_lane", 1, 2 * 2 * 3),
        # one operand and two operands fit one iteration of two
        ("compacted", 1, 3 * 3),
    ],
)
def test_two_columns_by_hand(skipping, cycles, accumulations):
    operands = [[[1, 0], [0, 0], [0, 1], [0, 1], [0, 0], [0, 0]]]
    kernel = row_of(operands)
    assert cycles_of(kernel, operands, 2, 1, 2, skipping) == (cycles, accumulations)


@pytest.mark.parametrize(
    ("skipping", "cycles"),
    [
        ("lockstep", 3),  # planes 0 and 1 share a tile: all three iterations; plane 2 has none
        ("per_lane", 2),  # lane 0 runs planes 0 and 2, lane 1 plane 1: 2 + 0 and 1
        ("compacted", 1),  # plane 0: two operands, one iteration; plane 1: two, one iteration
    ],
)
def test_bit_planes_by_hand(skipping, cycles):
    """Channels in pairs, values of three bits: 1, 0 | 1, 0 | 2, 2; two lanes."""
    operands = [[[1], [0], [1], [0], [2], [2]]]
    kernel = row_of(operands, frames=3, sum_frames=True, node_steps=1)
    assert cycles_of(kernel, operands, 1, 2, 2, skipping)[0] == cycles


def test_a_silent_layer_takes_no_iterations_but_its_node_unit_fires():
    operands = np.zeros((1, 6, 4), int)
    kernel = row_of(operands, sum_frames=True, node_steps=5)
    array = replace(
        ARRAY,
        unrolling=Unrolling(output_channels=3, output_columns=1, timesteps=1, input_channels=2),
    )
    work = skip_zeros(kernel, array, operands[None, :, :, None, :], "lockstep")
    timing = time_kernel(kernel, array, work.iterations)
    assert (timing.cycles, work.accumulations) == (0, 0)
    assert timing.on_chip_stalls["node"] == 3 * 5  # the last of four groups drains
    assert timing == trace_kernel(
        kernel, array, SkippingTrace(kernel, array, operands[None, :, :, None, :], "lockstep")
    )


@NETWORKS
@given(
    integer_networks(alignments=("average", "truncate", "replicate"), extended=False),
    st.integers(0, 2**32 - 1),
)
def test_kernels_read_what_the_stepped_engine_sends(network, seed):
    """Operands after pools and maps are the stepped engine's; bit planes add up to them."""
    assume(not any(selects(network, synapse) for synapse in network.synapses))
    pixels = random_pixels(network, seed)
    run = run_stepped(network, pixels)
    activity = Activity(pixels=pixels, counts=run.counts, trains=run.trains)
    for mode in array_modes(network):
        for kernel, values in kernel_values(network, mode, activity):
            synapse = next(s for s in network.incoming(kernel.target) if s.source == kernel.source)
            before = synapse.maps[: kernel.stage_index]
            for frame, entry in enumerate(kernel.reads.selection):
                operand = frame_operand(kernel, values, entry)
                if kernel.nest.sum_frames:
                    sent = _sent(network, synapse, run, pixels, None)
                    expected = apply_maps(before, sent) >> frame & 1
                elif entry is None:
                    expected = np.zeros_like(operand)
                else:
                    source_frame = _source_frame(network, kernel, frame, mode)
                    sent = _sent(network, synapse, run, pixels, source_frame)
                    expected = apply_maps(before, sent)
                assert np.array_equal(operand, expected.reshape(operand.shape))


def _source_frame(network, kernel, frame, mode):
    """The frame of the source that a frame of a kernel reads, by the stepped engine's own list."""
    from toolchain.networks.integer_network.network import step_frames

    synapse = next(s for s in network.incoming(kernel.target) if s.source == kernel.source)
    if synapse.alignment == "average" or network[kernel.source].timesteps == 1:
        return None if synapse.alignment == "average" else 0
    frames = step_frames(network, synapse)
    if kernel.stage_index == len(synapse.maps) - 1:
        return frames[frame]
    return sorted({f for f in frames if f is not None})[frame]


def _sent(network, synapse, run, pixels, frame):
    if synapse.source not in run.trains:
        return pixels
    if frame is None:
        return run.counts[synapse.source]
    return run.trains[synapse.source][:, frame].astype(np.int64)


@NETWORKS
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_estimates_are_means_over_the_samples(network, seed):
    pixels = random_pixels(network, seed)
    run = run_stepped(network, pixels)
    activity = Activity(pixels=pixels, counts=run.counts, trains={})
    together = estimate_skipping(network, ARRAY, SNN_BIT_PLANES, activity)
    alone = [
        estimate_skipping(
            network,
            ARRAY,
            SNN_BIT_PLANES,
            Activity(
                pixels=pixels[i : i + 1],
                counts={name: counts[i : i + 1] for name, counts in run.counts.items()},
                trains={},
            ),
        )
        for i in range(len(pixels))
    ]
    for skipping in SKIPPINGS:
        for index, kernel in enumerate(together[skipping]):
            cycles = [sample[skipping][index].total_cycles for sample in alone]
            assert kernel.total_cycles == pytest.approx(sum(cycles) / len(cycles))
