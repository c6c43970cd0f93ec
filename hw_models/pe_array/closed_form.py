"""Counters of one kernel in closed form; ``tests/oracles/loop_trace.py`` walks the loops to check them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hw_models.pe_array.loop_nest import Dataflow, LoopNest, Unrolling, tiling_of

PIPELINE_CYCLES = 2
"""From the last iteration until its partial sums are complete: operands arrive, sums are combined.

The register stages of the array in ``rtl/sv/``; the RTL tests count them."""


@dataclass(frozen=True, kw_only=True)
class LoopCounters:
    """What one kernel does, tails excluded.

    Attributes:
        cycles: iterations of the innermost loop.
        node_stall_cycles: cycles in which the array waits because the node unit has not finished the
            group before (partial sums have two banks).
        accumulations: ``weight x input`` accumulations, zero padding included.
        weight_reads: weights read from the weight port; one serves N columns and S frames.
        input_reads: operands read from the input port; one serves M output channels. Positions in the
            zero padding are not read.
        psum_reads, psum_writes: partial sums that come from an earlier kernel or frame tile, or are left
            for a later one.
        membrane_reads, membrane_writes: potentials that leave the array between two frame tiles.
        node_updates: firing steps of all neurons.
        output_writes: what the node unit writes, one for each update: spikes of one bit; in the modes of
            an ANN, the quantized value.
    """

    cycles: int
    node_stall_cycles: int
    accumulations: int
    weight_reads: int
    input_reads: int
    psum_reads: int
    psum_writes: int
    membrane_reads: int
    membrane_writes: int
    node_updates: int
    output_writes: int


def count_loops(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> LoopCounters:
    """Closed form; ceil at every tail."""
    tiling = tiling_of(nest, unrolling, dataflow)
    windows = nest.groups * nest.rows * prod(nest.kernel_size)
    column_and_frame_tiles = tiling.num_column_tiles * tiling.num_frame_tiles
    channels = nest.output_channels * nest.input_channels
    cycles = windows * tiling.num_channel_tiles * column_and_frame_tiles * tiling.num_input_tiles
    between_frame_tiles = 0
    if dataflow.time_loop == "outermost":
        between_frame_tiles = nest.num_neurons * (tiling.num_frame_tiles - 1)
    carried_sums = between_frame_tiles if nest.sum_frames else 0
    carried_membranes = between_frame_tiles if nest.fires and not nest.sum_frames else 0
    sums = nest.num_neurons * nest.sums_per_neuron
    updates = nest.num_neurons * nest.node_steps if nest.fires else 0
    return LoopCounters(
        cycles=cycles,
        node_stall_cycles=_node_stalls(nest, unrolling, dataflow),
        accumulations=windows * nest.columns * nest.frames * channels,
        weight_reads=0 if nest.unit_weights else windows * channels * column_and_frame_tiles,
        input_reads=nest.groups
        * nest.input_channels
        * nest.frames
        * tiling.num_channel_tiles
        * in_range_pairs(nest, axis=0)
        * in_range_pairs(nest, axis=1),
        psum_reads=carried_sums + (sums if nest.adds_sums else 0),
        psum_writes=carried_sums + (0 if nest.fires else sums),
        membrane_reads=carried_membranes,
        membrane_writes=carried_membranes,
        node_updates=updates,
        output_writes=updates,
    )


def array_cycles(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> int:
    """Cycles of a kernel from start to the last write, with ports that never make the array wait."""
    counters, tiling = (
        count_loops(nest, unrolling, dataflow),
        tiling_of(nest, unrolling, dataflow),
    )
    last_group = tiling.firing_cycles if nest.fires else 1
    return counters.cycles + counters.node_stall_cycles + PIPELINE_CYCLES + last_group


def in_range_pairs(nest: LoopNest, axis: int) -> int:
    """(output position, kernel offset) pairs along an axis that meet the map, not its zero padding."""
    positions = (nest.rows, nest.columns)[axis]
    size, stride, padding = nest.input_size[axis], nest.stride[axis], nest.padding[axis]
    total = 0
    for offset in range(nest.kernel_size[axis]):
        first = max(0, -((offset - padding) // stride))  # ceil((padding - offset) / stride)
        last = min(positions - 1, (size - 1 + padding - offset) // stride)
        total += max(0, last - first + 1)
    return total


def _node_stalls(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> int:
    """Each group that fires for longer than the next one accumulates; the last has none after it."""
    if not nest.fires:
        return 0
    tiling = tiling_of(nest, unrolling, dataflow)
    accumulation = tiling.cycles_per_window
    firing_groups = nest.groups * tiling.num_channel_tiles * nest.rows * tiling.num_column_tiles
    if not nest.sum_frames:
        firing_groups *= tiling.num_frame_tiles
    elif dataflow.time_loop == "innermost":
        accumulation *= tiling.num_frame_tiles
    return (firing_groups - 1) * max(0, tiling.firing_cycles - accumulation)


def utilisation(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> float:
    """Share of the elements that do useful work while the array computes, tails excluded."""
    counters = count_loops(nest, unrolling, dataflow)
    return counters.accumulations / (counters.cycles * unrolling.num_elements)
