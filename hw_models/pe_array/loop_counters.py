"""Counters of Algorithm 2 over one pass: in closed form, and by walking the loops as printed.

The closed form is what reports use. The walk is its proof: it visits every iteration, and must give
the same number for every counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from hw_models.pe_array.array_description import Unrolling
from hw_models.pe_array.layer_passes import LoopBounds


@dataclass(frozen=True, kw_only=True)
class LoopCounters:
    """What one pass does.

    Attributes:
        cycles: iterations of the innermost loop.
        accumulations: useful ``weight x input`` accumulations, tails excluded.
        weight_reads: weights fetched from the weight buffer; one serves N columns and S steps.
        input_reads: input values fetched; one serves M output channels.
        node_updates: membrane updates; V stays in the array over the steps of one group.
    """

    cycles: int
    accumulations: int
    weight_reads: int
    input_reads: int
    node_updates: int


def count_loops(bounds: LoopBounds, unrolling: Unrolling) -> LoopCounters:
    """Closed form; ceil at every tail."""
    channel_tiles = ceil(bounds.output_channels / unrolling.output_channels)
    column_tiles = ceil(bounds.columns / unrolling.output_columns)
    step_tiles = ceil(bounds.timesteps / unrolling.timesteps)
    input_tiles = ceil(bounds.input_channels / unrolling.input_channels)
    window = bounds.groups * bounds.rows * prod(bounds.kernel)
    outputs = bounds.output_channels * bounds.columns * bounds.timesteps
    return LoopCounters(
        cycles=window * channel_tiles * column_tiles * step_tiles * input_tiles,
        accumulations=window * outputs * bounds.input_channels,
        weight_reads=window
        * bounds.output_channels
        * bounds.input_channels
        * column_tiles
        * step_tiles,
        input_reads=window
        * bounds.input_channels
        * bounds.columns
        * bounds.timesteps
        * channel_tiles,
        node_updates=bounds.groups * bounds.rows * outputs,
    )


def walk_loops(bounds: LoopBounds, unrolling: Unrolling) -> LoopCounters:
    """The loops of Algorithm 2, one iteration at a time."""
    cycles = accumulations = weight_reads = input_reads = node_updates = 0
    for _group in range(bounds.groups):
        for channels in tiles(bounds.output_channels, unrolling.output_channels):
            for _row in range(bounds.rows):
                for columns in tiles(bounds.columns, unrolling.output_columns):
                    for steps in tiles(bounds.timesteps, unrolling.timesteps):
                        for _ in range(prod(bounds.kernel)):
                            for inputs in tiles(bounds.input_channels, unrolling.input_channels):
                                m, n, s, v = map(len, (channels, columns, steps, inputs))
                                cycles += 1
                                accumulations += m * n * s * v
                                weight_reads += m * v
                                input_reads += n * s * v
                        node_updates += len(channels) * len(columns) * len(steps)
    return LoopCounters(
        cycles=cycles,
        accumulations=accumulations,
        weight_reads=weight_reads,
        input_reads=input_reads,
        node_updates=node_updates,
    )


def tiles(size: int, tile: int) -> Iterator[range]:
    """Index ranges of at most ``tile`` that cover ``size``; the last may be a tail."""
    return (range(start, min(start + tile, size)) for start in range(0, size, tile))


def utilisation(bounds: LoopBounds, unrolling: Unrolling) -> float:
    """Share of the array's elements that do useful work, tails excluded."""
    counters = count_loops(bounds, unrolling)
    return counters.accumulations / (counters.cycles * unrolling.num_elements)
