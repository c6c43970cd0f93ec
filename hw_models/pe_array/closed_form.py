"""Counters of one kernel in closed form; ``tests/oracles/loop_trace.py`` checks them by walking the loops."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hw_models.pe_array.loop_nest import (
    Dataflow,
    LoopNest,
    Unrolling,
    tap_positions,
    tiling_of,
)

PIPELINE_CYCLES = 2
"""Cycles from the last iteration until its partial sums are complete: operands arrive, sums are combined.

They are register stages of the array in ``rtl/sv/``; the RTL tests count them."""


@dataclass(frozen=True, kw_only=True)
class LoopCounters:
    """Counters of one kernel; idle lanes of tails are not counted.

    Attributes:
        cycles: iterations of the innermost loop.
        node_stall_cycles: cycles in which the array waits for the node unit to finish the previous group
            (partial sums have two banks).
        accumulations: ``weight x input`` accumulations, zero padding included.
        weight_reads: weights read from the weight port; each serves N columns and S frames.
        input_reads: operands read from the input port; each serves M output channels. Positions in the
            zero padding are not read.
        psum_reads, psum_writes: partial sums that come from an earlier kernel or frame tile, or are left
            for a later one.
        membrane_reads, membrane_writes: potentials that leave the array between two frame tiles.
        node_updates: firing steps of all neurons.
        output_writes: one per node update: a spike of one bit, or the quantized value of an ANN.
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
    """Counters of a kernel in closed form, with a ceiling at every tail."""
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
    """Cycles of a kernel from start to the last write, if no port makes the array wait."""
    counters = count_loops(nest, unrolling, dataflow)
    last_group = tiling_of(nest, unrolling, dataflow).firing_cycles if nest.fires else 1
    return counters.cycles + counters.node_stall_cycles + PIPELINE_CYCLES + last_group


def in_range_pairs(nest: LoopNest, axis: int) -> int:
    """Number of pairs (output position, kernel tap) along an axis that read the map, not its padding."""
    return int((tap_positions(nest, axis) >= 0).sum())


def _node_stalls(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> int:
    """Cycles by which groups fire for longer than the next group accumulates."""
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
