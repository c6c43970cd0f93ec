"""How long the array and the stage stage it take for each group, ports included, and for each row.

A *group* is what one bank of partial sums holds: the neurons of one tile of channels and columns, in one
tile of frames; where bit planes are added up inside the frame loop, in all of them.

Arrays have the axes (group of channels, outer frame tile, channel tile, row, column tile, inner frame
tile); the frame tiles are on one of the two, and an axis on which nothing depends has length 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from hw_models.pe_array.array_description import BufferName, PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import carries_membranes, carries_sums, potential_word_bits
from hw_models.pe_array.loop_nest import Tiling, tiling_of
from hw_models.pe_array.tile_transfers import tile_sizes

PORTS: tuple[BufferName, ...] = ("weight", "input")
OUTPUT_STAGE = ("node", "psum", "membrane", "output")
"""What the output stage can be busy with; of equals the first is named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Iterations:
    """Iterations of the innermost loop that each group makes.

    Attributes:
        full, tail: with all V input channels, and with the tail of them; int64 arrays of the six axes. The
            last axis may have length 1 where bit planes are added up: all of them together.
    """

    full: np.ndarray
    tail: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupTimes:
    """A kernel without its off-chip memory.

    Attributes:
        cycles: iterations of the innermost loop.
        stalls: cycles by port, and by what the output stage was busy with.
        row_cycles: of each row tile, stalls included, int64 ``(phases, rows)``.
        last_cycles: what the output stage takes for the last group.
    """

    cycles: int
    stalls: Mapping[str, int]
    row_cycles: np.ndarray
    last_cycles: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Axes:
    """Sizes of the tiles M, N and S along their axes, and the lengths of all six."""

    m: np.ndarray
    n: np.ndarray
    s: np.ndarray
    lengths: tuple[int, ...]

    def total(self, values: np.ndarray) -> int:
        """Sum over all six axes, repeated where an array has length 1."""
        return int(values.sum()) * prod(self.lengths) // values.size


def group_times(
    kernel: ArrayKernel, array: PeArray, iterations: Iterations | None = None
) -> GroupTimes:
    """Times of all groups of a kernel.

    Args:
        iterations: what zero skipping leaves; all iterations when None.
    """
    nest, tiling = kernel.nest, tiling_of(kernel.nest, array.unrolling, array.dataflow)
    axes = _axes(tiling, array)
    inputs = tile_sizes(nest.input_channels, tiling.input_channels)
    if iterations is None:
        iterations = _all_iterations(axes, nest.kernel_size, inputs)
    elif iterations.full.shape[5] < axes.lengths[5]:
        widest = axes.s.max(axis=5, keepdims=True)
        axes = _Axes(m=axes.m, n=axes.n, s=widest, lengths=(*axes.lengths[:5], 1))
    stalls = dict.fromkeys((*PORTS, *OUTPUT_STAGE), 0)
    cycles, accumulate = 0, np.zeros((1,) * 6, np.int64)
    for count, v in ((iterations.full, int(inputs[0])), (iterations.tail, int(inputs[-1]))):
        if not count.any():
            continue
        duration, is_weight = _iteration_cycles(kernel, array, axes, v)
        cycles += axes.total(count)
        stalls["weight"] += axes.total(count * (duration - 1) * is_weight)
        stalls["input"] += axes.total(count * (duration - 1) * ~is_weight)
        accumulate = accumulate + count * duration
    if nest.sum_frames and array.dataflow.time_loop == "innermost":
        accumulate = accumulate * np.ones_like(axes.s)
        accumulate = accumulate.sum(axis=5, keepdims=True)
    stage, busy_with = _output_stage_cycles(kernel, array, tiling)
    row_cycles = _hand_over(axes, accumulate, stage, busy_with, stalls)
    return GroupTimes(
        cycles=cycles, stalls=stalls, row_cycles=row_cycles, last_cycles=int(stage.flat[-1])
    )


def _axes(tiling: Tiling, array: PeArray) -> _Axes:
    nest = tiling.nest
    m = tile_sizes(nest.output_channels, tiling.output_channels).reshape(1, 1, -1, 1, 1, 1)
    n = tile_sizes(nest.columns, tiling.columns).reshape(1, 1, 1, 1, -1, 1)
    s = tile_sizes(nest.frames, tiling.frames).reshape(1, 1, 1, 1, 1, -1)
    if array.dataflow.time_loop == "outermost":
        s = s.reshape(1, -1, 1, 1, 1, 1)
    lengths = (nest.groups, s.shape[1], m.size, nest.rows, n.size, s.shape[5])
    return _Axes(m=m, n=n, s=s, lengths=lengths)


def _all_iterations(axes: _Axes, kernel: tuple[int, int], inputs: np.ndarray) -> Iterations:
    has_tail = len(inputs) > 1 and inputs[-1] < inputs[0]
    ones = np.ones_like(axes.s)
    return Iterations(
        full=ones * prod(kernel) * (len(inputs) - has_tail), tail=ones * prod(kernel) * has_tail
    )


def _iteration_cycles(
    kernel: ArrayKernel, array: PeArray, axes: _Axes, v: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of one iteration of the innermost loop, and whether the weight port sets them."""
    weights = axes.m * v * (0 if kernel.nest.unit_weights else array.weight_bits)
    operands = axes.n * axes.s * v * kernel.reads.bits
    at_weight, at_input = (
        _port_cycles(array, "weight", weights),
        _port_cycles(array, "input", operands),
    )
    return np.maximum(1, np.maximum(at_weight, at_input)), at_weight >= at_input


def _port_cycles(array: PeArray, name: BufferName, bits: np.ndarray) -> np.ndarray:
    return -(-bits // (8 * array.buffers[name].port_bytes))


def _output_stage_cycles(
    kernel: ArrayKernel, array: PeArray, tiling: Tiling
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of the output stage for each group, and what it is busy with (index of OUTPUT_STAGE)."""
    nest, axes = kernel.nest, _axes(tiling, array)
    s = axes.s
    if nest.sum_frames and array.dataflow.time_loop == "innermost":
        s = s[..., :1]  # the frame tiles of a group end in one
    index = np.arange(s.size).reshape(s.shape)
    is_first, is_last = index == 0, index == s.size - 1
    neurons = axes.m * axes.n
    completes = is_last if nest.sum_frames else np.ones_like(is_last)
    sums = neurons * (np.ones_like(s) if nest.sum_frames else s)
    fires = completes & nest.fires
    node = np.where(fires, tiling.firing_cycles, 1)
    carried = carries_sums(kernel, array, tiling)
    reads = (carried & ~is_first) | nest.adds_sums
    writes = (carried & ~is_last) | (completes & (not nest.fires))
    potentials = np.zeros_like(sums)
    if carries_membranes(kernel, array, tiling):
        word_bits = potential_word_bits(kernel, array)
        potentials = neurons * word_bits * (1 * ~is_first + 1 * ~is_last)
    steps = nest.node_steps if nest.sum_frames else s
    parts = np.broadcast_arrays(
        node,
        _port_cycles(array, "psum", sums * array.sum_bits * (1 * reads + 1 * writes)),
        _port_cycles(array, "membrane", potentials),
        _port_cycles(array, "output", neurons * steps * fires * kernel.leaves.written_bits),
    )
    together = np.stack(parts)
    return together.max(axis=0), together.argmax(axis=0)


def _hand_over(
    axes: _Axes,
    accumulate: np.ndarray,
    stage: np.ndarray,
    busy_with: np.ndarray,
    stalls: dict[str, int],
) -> np.ndarray:
    """Cycles of each row tile; adds to the stalls what groups wait for the output stage.

    A group takes as long as its own accumulation, or the output stage for the group before.
    """
    num_groups, outer, channel_tiles, rows = axes.lengths[:4]
    phases, per_row = (num_groups, outer, channel_tiles), axes.lengths[4] * stage.shape[5]
    stage_shape = (1, outer, channel_tiles, 1, *stage.shape[4:])
    stage = np.broadcast_to(stage, stage_shape).reshape(1, outer, channel_tiles, 1, per_row)
    busy_with = np.broadcast_to(busy_with, stage_shape).reshape(stage.shape)
    own = (accumulate.shape[0], outer, channel_tiles, accumulate.shape[3], *stage_shape[4:])
    accumulate = np.broadcast_to(accumulate, own).reshape(*own[:4], per_row)

    before, before_busy = stage[..., :-1], busy_with[..., :-1]
    excess = np.maximum(0, before - accumulate[..., 1:])
    _attribute(stalls, excess, before_busy, num_groups * rows // (own[0] * own[3]))
    within = accumulate.sum(axis=-1) + excess.sum(axis=-1)

    # the first group of a row follows the last one of the row before, or of the phase before
    last = np.broadcast_to(stage[..., -1], (*phases, rows)).reshape(-1)
    last_busy = np.broadcast_to(busy_with[..., -1], (*phases, rows)).reshape(-1)
    first = np.broadcast_to(accumulate[..., 0], (*phases, rows)).reshape(-1)
    excess_first = np.zeros_like(first)
    excess_first[1:] = np.maximum(0, last[:-1] - first[1:])
    _attribute(stalls, excess_first[1:], last_busy[:-1], 1)
    row_cycles = np.broadcast_to(within, (*phases, rows)).reshape(-1) + excess_first
    return row_cycles.reshape(-1, rows)


def _attribute(
    stalls: dict[str, int], excess: np.ndarray, busy_with: np.ndarray, times: int
) -> None:
    if not excess.any():
        return
    for index, name in enumerate(OUTPUT_STAGE):
        stalls[name] += int((excess * (busy_with == index)).sum()) * times
