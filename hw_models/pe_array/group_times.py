"""Cycles that the array and its output stage take for each group and each row, without off-chip memory.

One bank of partial sums holds a *group*: the neurons of one tile of channels and columns in one tile of
frames, or in all frames if bit planes are added up inside the frame loop.

Arrays have the axes of ``Axis``. Frame tiles are on one of its two axes for them. An axis has length 1 if
nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from math import prod

import numpy as np

from hw_models.pe_array.array_description import BufferName, PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import carries_membranes, carries_sums, potential_word_bits
from hw_models.pe_array.loop_nest import Dataflow, Tiling, tiling_of
from hw_models.pe_array.tile_transfers import tile_sizes


class Axis(IntEnum):
    """The loops around the accumulation, outermost first."""

    CHANNEL_GROUP = 0
    OUTER_FRAME_TILE = 1  # with time outermost
    CHANNEL_TILE = 2
    ROW = 3
    COLUMN_TILE = 4
    INNER_FRAME_TILE = 5  # with time innermost


PORTS: tuple[BufferName, ...] = ("weight", "input")
OUTPUT_STAGE = ("node", "psum", "membrane", "output")
"""Parts of the output stage, of which the slowest decides; if two are equal, the first is named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Iterations:
    """Iterations of the innermost loop in each group.

    Attributes:
        full: iterations with all V input channels, int64 on the six axes. If bit planes are added up, the
            axis of inner frame tiles may have length 1, for all tiles together.
        tail: iterations with the rest of the input channels, likewise.
    """

    full: np.ndarray
    tail: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupTimes:
    """Cycles of a kernel without off-chip memory.

    Attributes:
        cycles: iterations of the innermost loop.
        stalls: cycles by port, and by the slowest part of the output stage.
        row_cycles: cycles of each row tile, stalls included, int64 ``(phases, rows)``.
        last_cycles: cycles of the output stage for the last group.
    """

    cycles: int
    stalls: Mapping[str, int]
    row_cycles: np.ndarray
    last_cycles: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _TileSizes:
    """Sizes of the tiles M, N and S along their axes, and the lengths of all six axes."""

    m: np.ndarray
    n: np.ndarray
    s: np.ndarray
    lengths: tuple[int, ...]

    def total(self, values: np.ndarray) -> int:
        """Sum over the full lengths of all six axes; an axis of length 1 is repeated."""
        return int(values.sum()) * prod(self.lengths) // values.size


def on_axes(values: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """An array with all six axes.

    Args:
        axes: axes of ``values``; the other axes get length 1.
    """
    shape = [1] * len(Axis)
    for axis, length in zip(axes, values.shape, strict=True):
        shape[axis] = length
    return values.transpose(np.argsort(axes)).reshape(shape)


def axis_of_frames(dataflow: Dataflow) -> Axis:
    """The axis of the frame tiles."""
    is_outermost = dataflow.time_loop == "outermost"
    return Axis.OUTER_FRAME_TILE if is_outermost else Axis.INNER_FRAME_TILE


def group_times(
    kernel: ArrayKernel, array: PeArray, iterations: Iterations | None = None
) -> GroupTimes:
    """Times of all groups of a kernel.

    Args:
        iterations: iterations that zero skipping leaves; None for all of them.
    """
    nest, tiling = kernel.nest, tiling_of(kernel.nest, array.unrolling, array.dataflow)
    sizes = _tile_sizes(tiling, array)
    inputs = tile_sizes(nest.input_channels, tiling.input_channels)
    inner = Axis.INNER_FRAME_TILE
    if iterations is None:
        iterations = _all_iterations(sizes, nest.kernel_size, inputs)
    elif iterations.full.shape[inner] < sizes.lengths[inner]:
        widest = sizes.s.max(axis=inner, keepdims=True)
        sizes = replace(sizes, s=widest, lengths=(*sizes.lengths[:inner], 1))
    stalls = dict.fromkeys((*PORTS, *OUTPUT_STAGE), 0)
    cycles, accumulate = 0, np.zeros((1,) * len(Axis), np.int64)
    for count, v in ((iterations.full, int(inputs[0])), (iterations.tail, int(inputs[-1]))):
        if not count.any():
            continue
        duration, is_weight = _iteration_cycles(kernel, array, sizes, v)
        cycles += sizes.total(count)
        stalls["weight"] += sizes.total(count * (duration - 1) * is_weight)
        stalls["input"] += sizes.total(count * (duration - 1) * ~is_weight)
        accumulate = accumulate + count * duration
    if nest.sum_frames and array.dataflow.time_loop == "innermost":
        accumulate = np.broadcast_arrays(accumulate, sizes.s)[0].sum(axis=inner, keepdims=True)
    stage, busy_with = _output_stage_cycles(kernel, array, tiling)
    row_cycles = _hand_over(sizes, accumulate, stage, busy_with, stalls)
    return GroupTimes(
        cycles=cycles, stalls=stalls, row_cycles=row_cycles, last_cycles=int(stage.flat[-1])
    )


def _tile_sizes(tiling: Tiling, array: PeArray) -> _TileSizes:
    nest = tiling.nest
    m = on_axes(tile_sizes(nest.output_channels, tiling.output_channels), [Axis.CHANNEL_TILE])
    n = on_axes(tile_sizes(nest.columns, tiling.columns), [Axis.COLUMN_TILE])
    s = on_axes(tile_sizes(nest.frames, tiling.frames), [axis_of_frames(array.dataflow)])
    lengths = list(np.broadcast_shapes(m.shape, n.shape, s.shape))
    lengths[Axis.CHANNEL_GROUP], lengths[Axis.ROW] = nest.groups, nest.rows
    return _TileSizes(m=m, n=n, s=s, lengths=tuple(lengths))


def _all_iterations(
    sizes: _TileSizes, kernel_size: tuple[int, int], inputs: np.ndarray
) -> Iterations:
    has_tail = len(inputs) > 1 and inputs[-1] < inputs[0]
    per_input_tile = np.full_like(sizes.s, prod(kernel_size))
    return Iterations(
        full=per_input_tile * (len(inputs) - has_tail), tail=per_input_tile * has_tail
    )


def _iteration_cycles(
    kernel: ArrayKernel, array: PeArray, sizes: _TileSizes, v: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of one iteration of the innermost loop, and whether the weight port is the slower one."""
    weights = sizes.m * v * (0 if kernel.nest.unit_weights else array.weight_bits)
    operands = sizes.n * sizes.s * v * kernel.reads.bits
    at_weight = _port_cycles(array, "weight", weights)
    at_input = _port_cycles(array, "input", operands)
    return np.maximum(1, np.maximum(at_weight, at_input)), at_weight >= at_input


def _port_cycles(array: PeArray, name: BufferName, bits: np.ndarray) -> np.ndarray:
    return -(-bits // (8 * array.buffers[name].port_bytes))


def _output_stage_cycles(
    kernel: ArrayKernel, array: PeArray, tiling: Tiling
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of the output stage for each group, and its slowest part (index of OUTPUT_STAGE)."""
    nest, sizes = kernel.nest, _tile_sizes(tiling, array)
    s = sizes.s
    if nest.sum_frames and array.dataflow.time_loop == "innermost":
        s = s[..., :1]  # one group has all frame tiles
    index = np.arange(s.size).reshape(s.shape)
    is_first, is_last = index == 0, index == s.size - 1
    completes = is_last if nest.sum_frames else np.ones_like(is_last)
    fires = completes & nest.fires
    neurons = sizes.m * sizes.n
    sums = neurons * (1 if nest.sum_frames else s)
    carried = carries_sums(kernel, array, tiling)
    moved_sums = sums * _num_moves(
        reads=(carried & ~is_first) | nest.adds_sums,
        writes=(carried & ~is_last) | (completes & (not nest.fires)),
    )
    moved_potentials = np.zeros_like(neurons)
    if carries_membranes(kernel, array, tiling):
        moved_potentials = neurons * _num_moves(reads=~is_first, writes=~is_last)
    steps = nest.node_steps if nest.sum_frames else s
    cycles = {
        "node": np.where(fires, tiling.firing_cycles, 1),
        "psum": _port_cycles(array, "psum", moved_sums * array.sum_bits),
        "membrane": _port_cycles(
            array, "membrane", moved_potentials * potential_word_bits(kernel, array)
        ),
        "output": _port_cycles(
            array, "output", neurons * steps * fires * kernel.leaves.written_bits
        ),
    }
    together = np.stack(np.broadcast_arrays(*(cycles[name] for name in OUTPUT_STAGE)))
    return together.max(axis=0), together.argmax(axis=0)


def _num_moves(*, reads: np.ndarray, writes: np.ndarray) -> np.ndarray:
    """How often each word moves, 0 to 2, given whether it is read and whether it is written."""
    return np.add(reads, writes, dtype=np.int64)


def _hand_over(
    sizes: _TileSizes,
    accumulate: np.ndarray,
    stage: np.ndarray,
    busy_with: np.ndarray,
    stalls: dict[str, int],
) -> np.ndarray:
    """Cycles of each row tile; adds to ``stalls`` the cycles in which groups wait for the output stage.

    A group takes as long as its accumulation or, if that is longer, the output stage of the previous group.

    Args:
        accumulate, stage: cycles of each group, on the six axes.
        busy_with: slowest part of the output stage, index of OUTPUT_STAGE.
    """
    phases, rows = sizes.lengths[: Axis.ROW], sizes.lengths[Axis.ROW]
    in_row = (sizes.lengths[Axis.COLUMN_TILE], stage.shape[Axis.INNER_FRAME_TILE])

    def by_row(values: np.ndarray) -> np.ndarray:
        """From six axes to (channel group, outer frame tile, channel tile, row, group of the row)."""
        shape = (values.shape[Axis.CHANNEL_GROUP], *phases[1:], values.shape[Axis.ROW])
        return np.broadcast_to(values, (*shape, *in_row)).reshape(*shape, prod(in_row))

    def in_order(values: np.ndarray) -> np.ndarray:
        """Values of all rows of all phases in order."""
        return np.broadcast_to(values, (*phases, rows)).reshape(-1)

    accumulate, stage, busy_with = by_row(accumulate), by_row(stage), by_row(busy_with)
    excess = np.maximum(0, stage[..., :-1] - accumulate[..., 1:])
    rows_alike = phases[0] * rows // (accumulate.shape[0] * accumulate.shape[Axis.ROW])
    _attribute(stalls, excess, busy_with[..., :-1], rows_alike)
    within = accumulate.sum(axis=-1) + excess.sum(axis=-1)

    # the first group of a row follows the last one of the previous row or phase
    last, last_busy = in_order(stage[..., -1]), in_order(busy_with[..., -1])
    first = in_order(accumulate[..., 0])
    excess_first = np.zeros_like(first)
    excess_first[1:] = np.maximum(0, last[:-1] - first[1:])
    _attribute(stalls, excess_first[1:], last_busy[:-1], 1)
    return (in_order(within) + excess_first).reshape(-1, rows)


def _attribute(
    stalls: dict[str, int], excess: np.ndarray, busy_with: np.ndarray, times: int
) -> None:
    """Add cycles to the stalls by the slowest part of the output stage."""
    if not excess.any():
        return
    for index, name in enumerate(OUTPUT_STAGE):
        stalls[name] += int((excess * (busy_with == index)).sum()) * times
