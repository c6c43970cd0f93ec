"""Memory of the PE array: closed form = cycle-by-cycle trace, plans at their limits, cases by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles.timing_trace import trace_kernel
from random_kernels import random_array, random_kernel

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import ArrayKernel, NodeParameters, Operand, Result
from hw_models.pe_array.buffer_plan import plan_buffers
from hw_models.pe_array.closed_form import array_cycles, count_loops
from hw_models.pe_array.kernel_timing import stall_free_bandwidth, time_kernel
from hw_models.pe_array.loop_nest import Dataflow, Ending, LoopNest, Unrolling
from toolchain.errors import TargetError

ARRAY = load_array("pe-array")


def random_cases(count):
    """Kernels that their random arrays can hold, with the seed of each."""
    seed = found = 0
    while found < count:
        rng = random.Random(seed)
        kernel, array = random_kernel(rng), random_array(rng, ARRAY)
        seed += 1
        try:
            plan_buffers(kernel, array)
        except TargetError:
            continue
        found += 1
        yield seed - 1, kernel, array


def test_closed_form_equals_the_trace_on_every_number():
    for seed, kernel, array in random_cases(1_500):
        assert time_kernel(kernel, array) == trace_kernel(kernel, array), (seed, kernel, array)


def test_the_random_cases_know_every_plan_and_every_stall():
    plans, stalls = set(), set()
    for _, kernel, array in random_cases(1_500):
        plan, timing = plan_buffers(kernel, array), time_kernel(kernel, array)
        plans |= {("weight", plan.weight), ("input", plan.input)}
        plans |= {("psum", plan.psum), ("membrane", plan.membrane)}
        stalls |= {("on chip", name) for name, cycles in timing.on_chip_stalls.items() if cycles}
        stalls |= {("off chip", name) for name, cycles in timing.off_chip_stalls.items() if cycles}
    assert len(plans) == 4 + 4 + 3 + 3
    assert len(stalls) == 6 + 6


def test_iterations_and_node_stalls_are_those_of_the_loops_where_ports_are_wide():
    for seed, kernel, array in random_cases(300):
        wide = {name: replace(b, port_bytes=10**6) for name, b in array.buffers.items()}
        timing = time_kernel(kernel, replace(array, buffers=wide))
        counters = count_loops(kernel.nest, array.unrolling, array.dataflow)
        assert timing.cycles == counters.cycles, seed
        stalls = {name: cycles for name, cycles in timing.on_chip_stalls.items() if cycles}
        expected = counters.node_stall_cycles
        assert stalls == ({"node": expected} if expected else {}), seed
        off_chip = sum(timing.off_chip_stalls.values()) + timing.fill_cycles
        last_store = sum(timing.stored_bytes.values()) > 0
        alone = timing.total_cycles - off_chip
        drained = array_cycles(kernel.nest, array.unrolling, array.dataflow)
        assert drained <= alone, seed
        assert (alone > drained) == last_store, seed


def test_the_stall_free_bandwidth_is_the_least():
    found = 0
    for seed, kernel, array in random_cases(150):
        least = stall_free_bandwidth(kernel, array)
        widest = replace(array, off_chip_bytes_per_cycle=10**9)
        if least is None:
            assert any(time_kernel(kernel, widest).off_chip_stalls.values()), seed
            continue
        found += 1
        at, below = (replace(array, off_chip_bytes_per_cycle=b) for b in (least, max(1, least - 1)))
        assert not any(time_kernel(kernel, at).off_chip_stalls.values()), seed
        assert least == 1 or any(time_kernel(kernel, below).off_chip_stalls.values()), seed
    assert found > 20


def one_by_one(output_channels) -> ArrayKernel:
    """Four channels of 8 bits on three rows of two columns, to results of 8 bits."""
    nest = LoopNest(
        groups=1, output_channels=output_channels, input_channels=4, rows=3, columns=2,
        kernel_size=(1, 1), stride=(1, 1), padding=(0, 0), input_size=(3, 2), frames=1,
        sum_frames=False, node_steps=1, adds_sums=False, ending=Ending.FIRES, unit_weights=False,
    )  # fmt: skip
    return ArrayKernel(
        name="a -> b", source="a", target="b", stage_index=0, nest=nest, stored=(4, 3, 2),
        source_channels=np.arange(4), target_channels=np.arange(output_channels),
        weight=np.ones((1, output_channels, 4, 1, 1), np.int8), exponent=0,
        reads=Operand(shape=(4, 3, 2), selection=(0,), bits=8, entry_bits=8, is_signed=False),
        leaves=Result(stored_bits=8, stores_frames=False, written_bits=1),
        parameters=NodeParameters(),
    )  # fmt: skip


def small_array(bytes_per_cycle=4, **copies):
    """Two channels, two columns and four inputs a cycle: one iteration a row."""
    buffers = {n: replace(b, copies=copies.get(n, 2)) for n, b in ARRAY.buffers.items()}
    return replace(
        ARRAY,
        unrolling=Unrolling(output_channels=2, output_columns=2, timesteps=1, input_channels=4),
        off_chip_bytes_per_cycle=bytes_per_cycle,
        buffers=buffers,
    )


def stalled(timing):
    return {name: cycles for name, cycles in timing.off_chip_stalls.items() if cycles}


def test_three_rows_by_hand():
    """A row is one iteration; it loads 8 bytes, 2 cycles, and stores 4 bytes, 1 cycle.

    Fill: row 0 and the weights, 2 + 2. Row 0: loads row 1 during its iteration, waits 1. Row 1: stores row 0
    during its iteration, then waits 2 for row 2. Row 2: stores row 1. Drain: the pipeline 2, the node unit
    and row 2.
    """
    timing = time_kernel(one_by_one(2), small_array())
    assert (timing.fill_cycles, timing.cycles, timing.drain_cycles) == (4, 3, 4)
    assert stalled(timing) == {"input": 3}
    assert timing.total_cycles == 14
    assert timing.loaded_bytes["input"] == 24
    assert timing.loaded_bytes["weight"] == 8
    assert timing.stored_bytes["output"] == 12


def test_two_tiles_of_channels_by_hand():
    """Only the first channel tile loads the map, as the buffer holds it.

    The bus is never idle during that tile, so the array waits for the weights of the second tile, 2 cycles.
    """
    timing = time_kernel(one_by_one(4), small_array())
    assert stalled(timing) == {"input": 3, "weight": 2}
    assert timing.loaded_bytes["input"] == 24
    assert timing.loaded_bytes["weight"] == 16
    assert timing.total_cycles == 4 + 6 + 5 + 4


def test_an_input_memory_without_a_second_copy_stops_the_array():
    timing = time_kernel(one_by_one(2), small_array(input=1))
    assert stalled(timing) == {"input": 4}  # rows 1 and 2, 2 cycles each; stores continue meanwhile


def test_a_narrow_port_makes_iterations_longer():
    """Eight weights of a byte at 3 bytes per cycle take 3 cycles; eight operands at 2 bytes per cycle, 4."""
    array = small_array(bytes_per_cycle=100)
    weight = replace(array.buffers["weight"], port_bytes=3)
    narrow = replace(array, buffers={**array.buffers, "weight": weight})
    assert time_kernel(one_by_one(2), narrow).on_chip_stalls["weight"] == 3 * 2
    inputs = replace(array.buffers["input"], port_bytes=2)
    narrow = replace(array, buffers={**narrow.buffers, "input": inputs})
    stalls = time_kernel(one_by_one(2), narrow).on_chip_stalls
    assert (stalls["weight"], stalls["input"]) == (0, 3 * 3)


def conv(ending=Ending.FIRES):
    """Six channels to five on a 7x6 map, temporal."""
    nest = LoopNest(
        groups=1, output_channels=5, input_channels=6, rows=7, columns=6, kernel_size=(3, 3),
        stride=(1, 1), padding=(1, 1), input_size=(7, 6), frames=2, sum_frames=False, node_steps=2,
        adds_sums=False, ending=ending, unit_weights=False,
    )  # fmt: skip
    return replace(
        one_by_one(5),
        nest=nest,
        weight=np.ones((1, 5, 6, 3, 3), np.int8),
        reads=Operand(shape=(6, 7, 6), selection=(0, 0), bits=3, entry_bits=3, is_signed=False),
        leaves=Result(stored_bits=2, stores_frames=False, written_bits=1),
    )


def sized(buffer, size_bytes, time_loop="innermost"):
    array = small_array()
    buffers = {**array.buffers, buffer: replace(array.buffers[buffer], size_bytes=size_bytes)}
    return replace(array, buffers=buffers, dataflow=Dataflow(time_loop=time_loop))


@pytest.mark.parametrize(
    ("buffer", "plan", "least", "smaller"),
    [
        ("weight", "kept", 5 * 6 * 9, "tile"),
        ("weight", "tile", 2 * 2 * 6 * 9, "streamed"),
        ("input", "map", -(-7 * 6 * 6 * 3 // 8), "rows"),
        ("input", "rows", -(-2 * 3 * 6 * 6 * 3 // 8), "window"),
        ("input", "window", -(-2 * 3 * 4 * 6 * 3 // 8), "streamed"),
    ],
)
def test_each_plan_at_its_limit(buffer, plan, least, smaller):
    """What fits exactly is held, and with a byte less the next smaller thing."""
    assert getattr(plan_buffers(conv(), sized(buffer, least)), buffer) == plan
    assert getattr(plan_buffers(conv(), sized(buffer, least - 1)), buffer) == smaller


def test_a_smaller_input_memory_fetches_more():
    sizes = {"map": 95, "rows": 81, "window": 54, "streamed": 53}
    moved = {
        p: time_kernel(conv(), sized("input", s)).loaded_bytes["input"] for p, s in sizes.items()
    }
    row_bits = 6 * 6 * 3  # columns, channels, bits
    whole = 2 * row_bits // 8 + 5 * -(-row_bits // 8)  # rows 0 and 1 together, then one by one
    assert moved["map"] == whole
    assert moved["rows"] == 3 * whole  # once a tile of channels
    columns = 3 + 4 + 3  # of three tiles, their neighbours included
    windows = 2 * -(-2 * columns * 6 * 3 // 8) + 5 * -(-3 * columns * 6 * 3 // 8)
    assert moved["window"] == 3 * windows
    reads = 2 + 3 * 4 + 2  # columns under the kernel of six outputs
    iterations = 2 * -(-2 * reads * 6 * 3 * 2 // 8) + 5 * -(-3 * reads * 6 * 3 * 2 // 8)
    assert moved["streamed"] == 3 * iterations  # for both frame tiles


def test_membranes_of_a_whole_map_stay_on_chip_or_move_row_by_row():
    words = 24 + 2  # a potential, and the count so far
    kernel, least = conv(), -(-5 * 7 * 6 * words // 8)
    kept = sized("membrane", least, "outermost")
    spilled = sized("membrane", least - 1, "outermost")
    assert plan_buffers(kernel, kept).membrane == "kept"
    assert plan_buffers(kernel, spilled).membrane == "spilled"
    assert time_kernel(kernel, kept).loaded_bytes["membrane"] == 0
    row = [-(-m * 6 * words // 8) for m in (2, 2, 1)]
    assert time_kernel(kernel, spilled).loaded_bytes["membrane"] == 7 * sum(row)
    assert time_kernel(kernel, spilled).stored_bytes["membrane"] == 7 * sum(row)


def test_time_innermost_moves_no_membranes():
    assert plan_buffers(conv(), small_array()).membrane == "none"


def test_a_row_that_no_buffer_holds_names_file_and_field():
    array = sized("output", 5)
    array = replace(array, file=replace(array.file, path=Path("mine.yaml")))
    with pytest.raises(TargetError) as refusal:
        time_kernel(conv(), array)
    assert str(refusal.value) == (
        "mine.yaml: buffers.output.size_bytes.value must be at least 6 for a -> b (a row of 2 x 6 neurons "
        "of 2 bits, twice), not 5"
    )
    time_kernel(conv(), sized("output", 6))


@pytest.mark.parametrize("ending", [Ending.JOINS, Ending.MAPS, Ending.READS_OUT])
def test_sums_that_leave_need_a_row_of_room(ending):
    """Two channels, six columns, two frames, 24 bits, twice."""
    kernel = conv(ending)
    with pytest.raises(TargetError, match=r"buffers\.psum\.size_bytes.* at least 144 for a -> b"):
        time_kernel(kernel, sized("psum", 143))
    time_kernel(kernel, sized("psum", 144))
