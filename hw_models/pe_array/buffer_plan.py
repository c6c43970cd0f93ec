"""The part of each operand that its buffer holds, which decides how often it is fetched from off chip.

Each buffer holds the first of these that fits:

- *weights*: ``kept``, the weights of a group of channels for all its frame tiles; ``tile``, those of one
  tile of output channels, for every row of the map; ``streamed``, fetched for each tile of columns and
  frames.
- *input*: ``map``, fetched once for all tiles of output channels; ``rows``, the rows from the first to the
  last under the kernel (dilation * (K_h - 1) + 1), so that a row is fetched once per tile of output channels;
  ``window``, likewise of rows and columns, fetched for each tile of columns; ``streamed``, what the taps
  read, fetched for each iteration of the innermost loop.
- *partial sums* of a join and *membrane potentials* between frame tiles: ``kept`` for the whole map;
  ``spilled`` off chip, one row at a time.

A double-buffered memory needs room for two of the parts that are replaced while the array runs. An array
whose memory cannot hold one row of results, or the operands of one iteration, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Literal, TypeAlias

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.array_description import BufferName, PeArray, require_room
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.loop_nest import (
    Ending,
    Tiling,
    spans,
    stored_positions,
    stored_size,
    tiles,
    tiling_of,
)

WeightPlan: TypeAlias = Literal["none", "kept", "tile", "streamed"]
InputPlan: TypeAlias = Literal["map", "rows", "window", "streamed"]
MapPlan: TypeAlias = Literal["none", "kept", "spilled"]
OperandName: TypeAlias = BufferName | Literal["parameter"]


@dataclass(frozen=True, kw_only=True)
class BufferPlan:
    """The part of each operand that is held."""

    weight: WeightPlan
    input: InputPlan
    psum: MapPlan
    membrane: MapPlan


def plan_buffers(kernel: ArrayKernel, array: PeArray) -> BufferPlan:
    """The largest part of each operand that fits its buffer.

    Raises:
        TargetError: a buffer cannot hold a row, or an iteration, of the kernel; names file and field.
    """
    tiling = tiling_of(kernel.nest, array.unrolling, array.dataflow)
    plan = BufferPlan(
        weight=_weights(kernel, array),
        input=_input(kernel, array, tiling),
        psum=_sums(kernel, array, tiling),
        membrane=_membranes(kernel, array, tiling),
    )
    _check_output_row(kernel, array, tiling)
    return plan


def buffer_of(kernel: ArrayKernel, operand: OperandName) -> BufferName:
    """Buffer of an operand: parameters share the weights' buffer, and sums that leave the partial sums'."""
    match operand:
        case "parameter":
            return "weight"
        case "output":
            return "output" if kernel.nest.fires else "psum"
        case _:
            return operand


def carries_sums(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> bool:
    """Whether the sum of the bit planes leaves the array between two frame tiles."""
    return kernel.nest.sum_frames and _leaves_between_frames(array, tiling)


def carries_membranes(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> bool:
    """Whether membrane potentials leave the array between two frame tiles."""
    fires_by_frame = kernel.nest.fires and not kernel.nest.sum_frames
    return fires_by_frame and _leaves_between_frames(array, tiling)


def potential_word_bits(kernel: ArrayKernel, array: PeArray) -> int:
    """Bits of a membrane potential between two frame tiles, with the spikes counted so far."""
    return array.potential_bits + (0 if kernel.leaves.stores_frames else kernel.leaves.stored_bits)


def _leaves_between_frames(array: PeArray, tiling: Tiling) -> bool:
    return array.dataflow.time_loop == "outermost" and tiling.num_frame_tiles > 1


def _weights(kernel: ArrayKernel, array: PeArray) -> WeightPlan:
    nest, unrolling = kernel.nest, array.unrolling
    if nest.unit_weights:
        return "none"
    per_channel = nest.input_channels * prod(nest.kernel_size) * array.weight_bits
    copies = array.buffers["weight"].copies if nest.groups > 1 else 1
    if _holds(array, "weight", copies * nest.output_channels * per_channel):
        return "kept"
    channels = min(unrolling.output_channels, nest.output_channels)
    tile_bits = array.buffers["weight"].copies * channels * per_channel
    return "tile" if _holds(array, "weight", tile_bits) else "streamed"


def _input(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> InputPlan:
    nest = kernel.nest
    (height, width), copies = stored_size(nest), array.buffers["input"].copies
    rows = int(np.subtract(*spans(stored_positions(nest, axis=0))[::-1]).max())
    all_bits = nest.input_channels * kernel.reads.loaded_bits(range(nest.frames))
    if _holds(array, "input", (copies if nest.groups > 1 else 1) * height * width * all_bits):
        return "map"
    value_bits = nest.input_channels * most_loaded_bits(kernel, array, tiling)
    if _holds(array, "input", copies * rows * width * value_bits):
        return "rows"
    columns = int(column_spans(tiling).max())
    if _holds(array, "input", copies * rows * columns * value_bits):
        return "window"
    n, s = min(tiling.columns, nest.columns), min(tiling.frames, nest.frames)
    v = min(tiling.input_channels, nest.input_channels)
    contents = f"{n} x {s} x {v} operands of {kernel.reads.bits} bits"
    require_room(array, "input", ceil(n * s * v * kernel.reads.bits / 8), contents, kernel.name)
    return "streamed"


def column_spans(tiling: Tiling) -> np.ndarray:
    """Columns of the stored map, from the first to the last that is read, under each tile of columns."""
    first, stop = spans(stored_positions(tiling.nest, axis=1))
    starts = np.arange(0, tiling.nest.columns, tiling.columns)
    first = np.where(stop == 0, stop.max(), first)  # outputs that read nothing
    last_stop = np.maximum.reduceat(stop, starts)
    return np.maximum(0, last_stop - np.minimum.reduceat(first, starts))


def most_loaded_bits(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> int:
    """Bits of an input value that are needed at the same time: for all frames, or for one tile of them."""
    if array.dataflow.time_loop == "innermost":
        return kernel.reads.loaded_bits(range(kernel.nest.frames))
    return max(kernel.reads.loaded_bits(tile) for tile in tiles(kernel.nest.frames, tiling.frames))


def _sums(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> MapPlan:
    nest = kernel.nest
    in_join = nest.adds_sums or nest.ending is Ending.JOINS
    if not in_join and not carries_sums(kernel, array, tiling):
        return "none"
    if _holds(array, "psum", nest.num_neurons * nest.sums_per_neuron * array.sum_bits):
        return "kept"
    _require_row(kernel, array, "psum", sums_per_row_neuron(kernel, array, tiling) * array.sum_bits)
    return "spilled"


def sums_per_row_neuron(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> int:
    """Largest number of partial sums that a neuron has at the same time."""
    if array.dataflow.time_loop == "innermost" or kernel.nest.sum_frames:
        return kernel.nest.sums_per_neuron
    return min(kernel.nest.frames, tiling.frames)


def _membranes(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> MapPlan:
    if not carries_membranes(kernel, array, tiling):
        return "none"
    word_bits = potential_word_bits(kernel, array)
    if _holds(array, "membrane", kernel.nest.num_neurons * word_bits):
        return "kept"
    _require_row(kernel, array, "membrane", word_bits)
    return "spilled"


def _check_output_row(kernel: ArrayKernel, array: PeArray, tiling: Tiling) -> None:
    """Check that the output buffer, or the buffer of sums if sums leave the chip, holds a row."""
    match kernel.nest.ending:
        case Ending.FIRES | Ending.QUANTIZES:
            _require_row(kernel, array, "output", kernel.leaves.stored_bits)
        case Ending.MAPS | Ending.READS_OUT:
            bits = sums_per_row_neuron(kernel, array, tiling) * array.sum_bits
            _require_row(kernel, array, "psum", bits)
        case Ending.JOINS:
            pass
        case _:
            assert_never(kernel.nest.ending)


def _require_row(kernel: ArrayKernel, array: PeArray, name: BufferName, neuron_bits: int) -> None:
    channels = min(array.unrolling.output_channels, kernel.nest.output_channels)
    columns = kernel.nest.columns
    contents = f"a row of {channels} x {columns} neurons of {neuron_bits} bits"
    require_room(array, name, ceil(channels * columns * neuron_bits / 8), contents, kernel.name)


def _holds(array: PeArray, name: BufferName, bits: int) -> bool:
    return bits <= 8 * array.buffers[name].size_bytes
