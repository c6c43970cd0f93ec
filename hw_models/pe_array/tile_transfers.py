"""Bytes that each tile of a kernel moves between the buffers and off chip.

A *row tile* is one row of one tile of output channels (of one frame tile, if time is outermost). While the
array works on it, the next row tile is fetched and the previous one is stored. The row tiles that share a
tile of output channels are a *phase*. Weights and parameters per channel are fetched during the previous
phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import (
    BufferPlan,
    OperandName,
    carries_membranes,
    carries_sums,
    column_spans,
    potential_word_bits,
)
from hw_models.pe_array.closed_form import in_range_pairs
from hw_models.pe_array.loop_nest import (
    Ending,
    Tiling,
    spans,
    stored_positions,
    stored_size,
    tiles,
    tiling_of,
)

OPERANDS: tuple[OperandName, ...] = (
    "output", "psum", "membrane", "parameter", "weight", "input"
)  # fmt: skip
"""In the order in which a row tile's transfers use the bus: stores, then loads."""

PHASE_OPERANDS: tuple[OperandName, ...] = ("parameter", "weight")


@dataclass(frozen=True, kw_only=True, eq=False)
class TileTransfers:
    """Bytes by operand; an operand that never moves is left out.

    Attributes:
        loads, stores: bytes of each row tile in the order in which they run, int64 ``(phases, rows)``.
        phase_loads: bytes of each phase, int64 ``(phases,)``.
    """

    loads: Mapping[OperandName, np.ndarray]
    stores: Mapping[OperandName, np.ndarray]
    phase_loads: Mapping[OperandName, np.ndarray]


def tile_transfers(kernel: ArrayKernel, array: PeArray, plan: BufferPlan) -> TileTransfers:
    """Bytes that each row tile and each phase move."""
    # axes of arrays: (group, frame tile, channel tile, row); with time innermost, one tile has all frames
    nest, tiling = kernel.nest, tiling_of(kernel.nest, array.unrolling, array.dataflow)
    frame_tiles = [range(nest.frames)]
    if array.dataflow.time_loop == "outermost":
        frame_tiles = list(tiles(nest.frames, tiling.frames))
    phases = (nest.groups, len(frame_tiles), tiling.num_channel_tiles)
    channels = tile_sizes(nest.output_channels, tiling.output_channels)[:, None]
    neurons = channels * nest.columns
    loads: dict[OperandName, np.ndarray] = {}
    stores: dict[OperandName, np.ndarray] = {}
    phase_loads: dict[OperandName, np.ndarray] = {}

    loads["input"] = _input_bits(kernel, tiling, plan, frame_tiles)
    weight_bits = channels * nest.input_channels * prod(nest.kernel_size) * array.weight_bits
    is_first = _by_frame_tile([index == 0 for index in range(len(frame_tiles))])
    is_last = _by_frame_tile([index == len(frame_tiles) - 1 for index in range(len(frame_tiles))])
    match plan.weight:
        case "kept":
            phase_loads["weight"] = weight_bits * is_first
        case "tile":
            phase_loads["weight"] = weight_bits
        case "streamed":
            is_innermost = array.dataflow.time_loop == "innermost"
            frame_iterations = tiling.num_frame_tiles if is_innermost else 1
            loads["weight"] = weight_bits * tiling.num_column_tiles * frame_iterations
        case "none":
            pass
        case _:
            assert_never(plan.weight)

    completes = is_last if nest.sum_frames else np.ones_like(is_last)
    if kernel.parameters.per_channel:
        words = channels * kernel.parameters.per_channel
        phase_loads["parameter"] = words * array.potential_bits * completes
    if kernel.parameters.per_neuron:
        words = neurons * kernel.parameters.per_neuron
        loads["parameter"] = words * array.potential_bits * completes

    sums_of_tile = _by_frame_tile([1 if nest.sum_frames else len(t) for t in frame_tiles])
    sum_bits = neurons * sums_of_tile * array.sum_bits
    carried_in = carries_sums(kernel, array, tiling) & ~is_first
    carried_out = carries_sums(kernel, array, tiling) & ~is_last
    if plan.psum == "spilled":
        reads = carried_in | nest.adds_sums
        writes = carried_out | (nest.ending is Ending.JOINS)
        loads["psum"], stores["psum"] = sum_bits * reads, sum_bits * writes
    if plan.membrane == "spilled":
        assert carries_membranes(kernel, array, tiling)
        potentials = neurons * potential_word_bits(kernel, array)
        loads["membrane"], stores["membrane"] = potentials * ~is_first, potentials * ~is_last
    match nest.ending:
        case Ending.FIRES | Ending.QUANTIZES if kernel.leaves.stores_frames:
            stores["output"] = neurons * _by_frame_tile([len(t) for t in frame_tiles])
        case Ending.FIRES | Ending.QUANTIZES:
            stores["output"] = neurons * kernel.leaves.stored_bits * is_last
        case Ending.READS_OUT:
            stores["output"] = sum_bits * completes
        case Ending.MAPS:
            per_sum = kernel.leaves.stored_bits // nest.sums_per_neuron
            stores["output"] = neurons * sums_of_tile * per_sum * completes
        case Ending.JOINS:
            pass
        case _:
            assert_never(nest.ending)
    return TileTransfers(
        loads={name: _bytes(bits, phases, nest.rows) for name, bits in loads.items()},
        stores={name: _bytes(bits, phases, nest.rows) for name, bits in stores.items()},
        phase_loads={name: _bytes(bits, phases, 1)[:, 0] for name, bits in phase_loads.items()},
    )


def tile_sizes(size: int, tile: int) -> np.ndarray:
    """Sizes of the tiles along an axis, int64."""
    starts = np.arange(0, size, tile)
    return np.minimum(tile, size - starts)


def _input_bits(
    kernel: ArrayKernel, tiling: Tiling, plan: BufferPlan, frame_tiles: list[range]
) -> np.ndarray:
    """Bits of the input that each row tile fetches."""
    nest = kernel.nest
    positions = stored_positions(nest, axis=0)
    first, stop = spans(positions)
    entries = [{kernel.reads.selection[frame] for frame in tile} - {None} for tile in frame_tiles]
    by_frame = [len(e) for e in entries]
    match plan.input:
        case "window":
            columns, rows = column_spans(tiling).sum(), stop - first
        case "streamed":
            columns, rows = in_range_pairs(nest, axis=1), (positions >= 0).sum(axis=1)
            by_frame = [
                sum(
                    kernel.reads.loaded_bits(outer[tile.start : tile.stop])
                    for tile in tiles(len(outer), tiling.frames)
                )
                // kernel.reads.entry_bits
                for outer in frame_tiles
            ]
        case "map" | "rows":
            columns = stored_size(nest)[1]
            rows = _fetched_rows(first, stop, keeps_map=plan.input == "map")
        case _:
            assert_never(plan.input)
    if plan.input == "map":
        by_frame = [len(e.difference(*entries[:index])) for index, e in enumerate(entries)]
    bits = _by_frame_tile(by_frame) * kernel.reads.entry_bits * nest.input_channels * columns * rows
    if plan.input == "map":
        is_first_channel_tile = np.arange(tiling.num_channel_tiles) == 0
        bits = bits * is_first_channel_tile[:, None]
    return bits


def _fetched_rows(first: np.ndarray, stop: np.ndarray, *, keeps_map: bool) -> np.ndarray:
    """How many rows of the map each output row fetches.

    Args:
        first, stop: rows that each output row needs in the buffer.
        keeps_map: the buffer keeps all rows; otherwise those of the previous output row.
    """
    rows = np.arange(stop.max(initial=0))
    needed = (rows >= first[:, None]) & (rows < stop[:, None])
    held = np.logical_or.accumulate(needed, axis=0) if keeps_map else needed
    return (needed & ~np.pad(held, ((1, 0), (0, 0)))[:-1]).sum(axis=1)


def _by_frame_tile(values: list) -> np.ndarray:
    """One value per frame tile, on the axes (frame tile, channel tile, row)."""
    return np.array(values)[:, None, None]


def _bytes(bits: np.ndarray, phases: tuple[int, ...], rows: int) -> np.ndarray:
    """Bytes of each row of each phase, ``(phases, rows)``."""
    return np.broadcast_to(-(-bits // 8), (*phases, rows)).reshape(-1, rows)
