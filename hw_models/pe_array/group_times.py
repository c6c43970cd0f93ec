"""How long the array and the stage behind it take for each group, ports included, and for each row.

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
from hw_models.pe_array.buffer_plan import carries_membranes, carries_sums, potential_word_bits
from hw_models.pe_array.layer_passes import LayerPass
from hw_models.pe_array.loop_nest import Tiling, tiling_of
from hw_models.pe_array.tile_transfers import tile_sizes

PORTS: tuple[BufferName, ...] = ("weight", "input")
BEHIND = ("node", "psum", "membrane", "output")
"""What the stage behind the array can be busy with; of equals the first is named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Turns:
    """Turns of the innermost loop that each group makes.

    Attributes:
        full, tail: with all V input channels, and with the tail of them; int64 arrays of the six axes. The
            last axis may have length 1 where bit planes are added up: all of them together.
    """

    full: np.ndarray
    tail: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupTimes:
    """A pass without its off-chip memory.

    Attributes:
        cycles: turns of the innermost loop.
        stalls: cycles by port, and by what the stage behind the array was busy with.
        row_cycles: of each row tile, stalls included, int64 ``(phases, rows)``.
        last_cycles: what the stage behind the array takes for the last group.
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


def group_times(layer: LayerPass, array: PeArray, turns: Turns | None = None) -> GroupTimes:
    """Times of all groups of a pass.

    Args:
        turns: what zero skipping leaves; all turns when None.
    """
    nest, tiling = layer.nest, tiling_of(layer.nest, array.unrolling, array.dataflow)
    axes = _axes(tiling, array)
    inputs = tile_sizes(nest.input_channels, tiling.input_channels)
    if turns is None:
        turns = _all_turns(axes, nest.kernel, inputs)
    elif turns.full.shape[5] < axes.lengths[5]:
        widest = axes.s.max(axis=5, keepdims=True)
        axes = _Axes(m=axes.m, n=axes.n, s=widest, lengths=(*axes.lengths[:5], 1))
    stalls = dict.fromkeys((*PORTS, *BEHIND), 0)
    cycles, accumulate = 0, np.zeros((1,) * 6, np.int64)
    for count, v in ((turns.full, int(inputs[0])), (turns.tail, int(inputs[-1]))):
        if not count.any():
            continue
        duration, is_weight = _turn_cycles(layer, array, axes, v)
        cycles += axes.total(count)
        stalls["weight"] += axes.total(count * (duration - 1) * is_weight)
        stalls["input"] += axes.total(count * (duration - 1) * ~is_weight)
        accumulate = accumulate + count * duration
    if nest.sum_frames and array.dataflow.time_loop == "innermost":
        accumulate = accumulate * np.ones_like(axes.s)
        accumulate = accumulate.sum(axis=5, keepdims=True)
    behind, busy_with = _behind_cycles(layer, array, tiling)
    row_cycles = _hand_over(axes, accumulate, behind, busy_with, stalls)
    return GroupTimes(
        cycles=cycles, stalls=stalls, row_cycles=row_cycles, last_cycles=int(behind.flat[-1])
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


def _all_turns(axes: _Axes, kernel: tuple[int, int], inputs: np.ndarray) -> Turns:
    has_tail = len(inputs) > 1 and inputs[-1] < inputs[0]
    ones = np.ones_like(axes.s)
    return Turns(
        full=ones * prod(kernel) * (len(inputs) - has_tail), tail=ones * prod(kernel) * has_tail
    )


def _turn_cycles(
    layer: LayerPass, array: PeArray, axes: _Axes, v: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of one turn of the innermost loop, and whether the weight port sets them."""
    weights = axes.m * v * (0 if layer.nest.unit_weights else array.weight_bits)
    operands = axes.n * axes.s * v * layer.operand_bits
    at_weight, at_input = (
        _port_cycles(array, "weight", weights),
        _port_cycles(array, "input", operands),
    )
    return np.maximum(1, np.maximum(at_weight, at_input)), at_weight >= at_input


def _port_cycles(array: PeArray, name: BufferName, bits: np.ndarray) -> np.ndarray:
    return -(-bits // (8 * array.buffers[name].port_bytes))


def _behind_cycles(
    layer: LayerPass, array: PeArray, tiling: Tiling
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of the stage behind the array for each group, and what it is busy with (index of BEHIND)."""
    nest, axes = layer.nest, _axes(tiling, array)
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
    carried = carries_sums(layer, array, tiling)
    reads = (carried & ~is_first) | nest.adds_sums
    writes = (carried & ~is_last) | (completes & (not nest.fires))
    potentials = np.zeros_like(sums)
    if carries_membranes(layer, array, tiling):
        word_bits = potential_word_bits(layer, array)
        potentials = neurons * word_bits * (1 * ~is_first + 1 * ~is_last)
    steps = nest.node_steps if nest.sum_frames else s
    parts = np.broadcast_arrays(
        node,
        _port_cycles(array, "psum", sums * array.sum_bits * (1 * reads + 1 * writes)),
        _port_cycles(array, "membrane", potentials),
        _port_cycles(array, "output", neurons * steps * fires * layer.output_bits),
    )
    together = np.stack(parts)
    return together.max(axis=0), together.argmax(axis=0)


def _hand_over(
    axes: _Axes,
    accumulate: np.ndarray,
    behind: np.ndarray,
    busy_with: np.ndarray,
    stalls: dict[str, int],
) -> np.ndarray:
    """Cycles of each row tile; adds to the stalls what groups wait for the stage behind the array.

    A group takes as long as its own accumulation, or the stage behind the array for the group before.
    """
    num_groups, outer, channel_tiles, rows = axes.lengths[:4]
    phases, per_row = (num_groups, outer, channel_tiles), axes.lengths[4] * behind.shape[5]
    behind_shape = (1, outer, channel_tiles, 1, *behind.shape[4:])
    behind = np.broadcast_to(behind, behind_shape).reshape(1, outer, channel_tiles, 1, per_row)
    busy_with = np.broadcast_to(busy_with, behind_shape).reshape(behind.shape)
    own = (accumulate.shape[0], outer, channel_tiles, accumulate.shape[3], *behind_shape[4:])
    accumulate = np.broadcast_to(accumulate, own).reshape(*own[:4], per_row)

    before, before_busy = behind[..., :-1], busy_with[..., :-1]
    excess = np.maximum(0, before - accumulate[..., 1:])
    _attribute(stalls, excess, before_busy, num_groups * rows // (own[0] * own[3]))
    within = accumulate.sum(axis=-1) + excess.sum(axis=-1)

    # the first group of a row follows the last one of the row before, or of the phase before
    last = np.broadcast_to(behind[..., -1], (*phases, rows)).reshape(-1)
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
    for index, name in enumerate(BEHIND):
        stalls[name] += int((excess * (busy_with == index)).sum()) * times
