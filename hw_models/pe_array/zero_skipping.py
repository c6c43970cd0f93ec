"""Cycles that zero operands save, counted on the operands themselves and never from an average rate.

An iteration of the innermost loop reads an operand for each of N columns, S frames and V input channels. A
*lane* is one column and frame: the V operands that one dot product of the array takes in an iteration.

- ``lockstep``: an iteration is skipped if all its N x S x V operands are zero. All lanes stay together.
  A published design skips windows of timesteps without a spike in this way (parallel time batching: Lee,
  Zhang and Li, HPCA 2022).
- ``per_lane``: each of the N x S lanes skips its own iterations of V zeros; the group ends with its slowest
  lane. Every lane reads weights from its own address (Cnvlutin: Albericio et al., ISCA 2016).
- ``compacted``: each lane packs the non-zero operands of its window, V per iteration; the group ends with
  its slowest lane (SpinalFlow: Narayanan et al., ISCA 2020; SparTen: Gondimalla et al., MICRO 2019).

Zero padding counts as zero. The model assumes that the array knows which operands are zero; it charges
neither the flags that would say so nor the ports of lanes that have their own addresses. If bit planes are
added up inside the frame loop, a lane goes from one frame tile to the next without waiting for the others.

The zeros do not depend on the output channel, so they are counted once on the input map (an OR over V
channels and over the columns of a tile, then sums over the kernel window) and apply to every channel tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.group_times import Axis, Iterations, axis_of_frames, on_axes
from hw_models.pe_array.loop_nest import Tiling, tap_positions, tiles, tiling_of
from hw_models.pe_array.operands import frame_operand
from hw_models.pe_array.tile_transfers import tile_sizes

Skipping: TypeAlias = Literal["lockstep", "per_lane", "compacted"]
SKIPPINGS: tuple[Skipping, ...] = ("lockstep", "per_lane", "compacted")


@dataclass(frozen=True, kw_only=True, eq=False)
class SkippedWork:
    """Work of a kernel that is left on one sample.

    Attributes:
        iterations: iterations of the innermost loop, for ``time_kernel``.
        accumulations, weight_reads, input_reads: counters of these iterations, as in ``LoopCounters``.
    """

    iterations: Iterations
    accumulations: int
    weight_reads: int
    input_reads: int


def skip_zeros(
    kernel: ArrayKernel, array: PeArray, values: np.ndarray, skipping: Skipping
) -> SkippedWork:
    """Work of a kernel that is left if zeros are skipped.

    Args:
        values: values that the kernel reads on one sample, ``(1, entries, C, H, W)``, see ``kernel_values``.
    """
    tiling = tiling_of(kernel.nest, array.unrolling, array.dataflow)
    frame_axis = axis_of_frames(array.dataflow)
    grouped = (kernel.nest.groups, -1, *kernel.nest.input_size)
    nonzero: _ByEntry = {
        entry: frame_operand(kernel, values, entry).reshape(grouped) != 0
        for entry in set(kernel.reads.selection)
    }
    match skipping:
        case "lockstep":
            return _lockstep(kernel, tiling, nonzero, frame_axis)
        case "per_lane":
            return _slowest_lane(kernel, tiling, *_per_lane(kernel, tiling, nonzero), frame_axis)
        case "compacted":
            return _slowest_lane(kernel, tiling, *_compacted(kernel, tiling, nonzero), frame_axis)
        case _:
            assert_never(skipping)


_ByEntry: TypeAlias = dict[int | None, np.ndarray]
"""An array ``(groups, ...)`` for each entry of the operands; None is the entry of frames without input."""


def _lockstep(
    kernel: ArrayKernel, tiling: Tiling, nonzero: _ByEntry, frame_axis: Axis
) -> SkippedWork:
    nest = kernel.nest
    columns = tile_sizes(nest.columns, tiling.columns)
    sizes = tile_sizes(nest.input_channels, tiling.input_channels)
    num_full = int((sizes == sizes[0]).sum())
    known: dict[frozenset[int | None], tuple[np.ndarray, np.ndarray]] = {}
    iterations, operands, weights, reads = [], 0, 0, 0
    for frames in tiles(nest.frames, tiling.frames):
        together = frozenset(kernel.reads.selection[frame] for frame in frames)
        if together not in known:
            any_frame = np.logical_or.reduce([nonzero[entry] for entry in together])
            known[together] = _common_iterations(kernel, tiling, _any_of_tile(any_frame, tiling))
        counts, in_range = known[together]
        iterations.append(counts)
        by_input_tile = counts.sum(axis=(0, 2))  # (input tiles, column tiles)
        operands += int(sizes @ by_input_tile @ columns) * len(frames)
        weights += int(sizes @ by_input_tile.sum(axis=1))
        reads += int(sizes @ in_range) * len(frames)
    left = np.stack(iterations)
    return SkippedWork(
        iterations=Iterations(
            full=_six_axes(left[:, :, :num_full].sum(axis=2), frame_axis),
            tail=_six_axes(left[:, :, num_full:].sum(axis=2), frame_axis),
        ),
        accumulations=operands * nest.output_channels,
        weight_reads=0 if nest.unit_weights else weights * nest.output_channels,
        input_reads=reads * tiling.num_channel_tiles,
    )


def _common_iterations(
    kernel: ArrayKernel, tiling: Tiling, blocks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Iterations that lanes in lockstep cannot skip.

    Args:
        blocks: whether an input tile has a non-zero operand, bool ``(groups, input tiles, H, W)``.

    Returns:
        Number of iterations, ``(groups, input tiles, rows, column tiles)``, and number of columns that they
        read outside the zero padding, ``(input tiles,)``.
    """
    nest = kernel.nest
    starts = np.arange(0, nest.columns, tiling.columns)
    iterations = np.zeros((*blocks.shape[:3], len(starts)), np.int32)
    columns_read = np.zeros_like(iterations)
    for k_w in range(nest.kernel_size[1]):
        reads = tap_positions(nest, axis=1)[:, k_w]
        in_range = reads >= 0
        lanes = np.zeros((*blocks.shape[:3], nest.columns), bool)
        lanes[..., in_range] = blocks[..., reads[in_range]]
        left = np.logical_or.reduceat(lanes, starts, axis=3)
        iterations += left
        columns_read += left * np.add.reduceat(in_range.astype(np.int32), starts)
    return _kernel_rows(kernel, iterations), _kernel_rows(kernel, columns_read).sum(axis=(0, 2, 3))


def _per_lane(kernel: ArrayKernel, tiling: Tiling, nonzero: _ByEntry) -> tuple[_ByEntry, _ByEntry]:
    """Iterations and operands of the lane of each output column, ``(groups, rows, columns)``."""
    sizes = tile_sizes(kernel.nest.input_channels, tiling.input_channels)
    blocks = {entry: _any_of_tile(mask, tiling) for entry, mask in nonzero.items()}
    lanes = {entry: _window_sums(kernel, mask.sum(axis=1)) for entry, mask in blocks.items()}
    reads = {
        entry: _window_sums(kernel, np.einsum("gihw,i->ghw", mask, sizes))
        for entry, mask in blocks.items()
    }
    return lanes, reads


def _compacted(kernel: ArrayKernel, tiling: Tiling, nonzero: _ByEntry) -> tuple[_ByEntry, _ByEntry]:
    """Iterations and operands as in ``_per_lane``, with the operands of a window packed."""
    reads = {entry: _window_sums(kernel, mask.sum(axis=1)) for entry, mask in nonzero.items()}
    lanes = {entry: -(-count // tiling.input_channels) for entry, count in reads.items()}
    return lanes, reads


def _slowest_lane(
    kernel: ArrayKernel, tiling: Tiling, lanes: _ByEntry, reads: _ByEntry, frame_axis: Axis
) -> SkippedWork:
    """Work if each group ends with its slowest lane.

    Args:
        lanes: iterations of the lane of each output column, ``(groups, rows, columns)``.
        reads: operands that the lane reads.
    """
    nest, selection = kernel.nest, kernel.reads.selection
    starts = np.arange(0, nest.columns, tiling.columns)
    frame_tiles = list(tiles(nest.frames, tiling.frames))
    if nest.sum_frames and frame_axis is Axis.INNER_FRAME_TILE:
        # a lane continues with its plane in the next frame tile without waiting for the others
        own: list[np.ndarray] = [
            np.sum([lanes[selection[f]] for f in range(lane, nest.frames, tiling.frames)], 0)
            for lane in range(len(frame_tiles[0]))
        ]
        slowest = [np.maximum.reduce(own)]
    else:
        slowest = [
            np.maximum.reduce([lanes[selection[frame]] for frame in frames])
            for frames in frame_tiles
        ]
    by_tile = np.stack([np.maximum.reduceat(lane, starts, axis=2) for lane in slowest])
    iterations = _six_axes(by_tile, frame_axis)
    num_operands = sum(int(reads[entry].sum()) for entry in selection)
    accumulations = num_operands * nest.output_channels
    return SkippedWork(
        iterations=Iterations(full=iterations, tail=np.zeros_like(iterations)),
        accumulations=accumulations,
        weight_reads=0 if nest.unit_weights else accumulations,
        input_reads=num_operands * tiling.num_channel_tiles,
    )


def _six_axes(iterations: np.ndarray, frame_axis: Axis) -> np.ndarray:
    """From ``(frame tiles, groups, rows, column tiles)`` to the axes of ``group_times``."""
    axes = (frame_axis, Axis.CHANNEL_GROUP, Axis.ROW, Axis.COLUMN_TILE)
    return on_axes(iterations, axes).astype(np.int64)


def _any_of_tile(mask: np.ndarray, tiling: Tiling) -> np.ndarray:
    """OR over the V channels of each input tile, ``(groups, input tiles, H, W)``."""
    starts = np.arange(0, mask.shape[1], tiling.input_channels)
    return np.logical_or.reduceat(mask, starts, axis=1)


def _window_sums(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """Sum over the kernel window of each output, ``(groups, rows, columns)``, zero padding included."""
    nest = kernel.nest
    sums = np.zeros((*values.shape[:2], nest.columns), np.int64)
    for k_w in range(nest.kernel_size[1]):
        reads = tap_positions(nest, axis=1)[:, k_w]
        in_range = reads >= 0
        sums[..., in_range] += values[..., reads[in_range]]
    return _kernel_rows(kernel, sums[:, None])[:, 0]


def _kernel_rows(kernel: ArrayKernel, by_row: np.ndarray) -> np.ndarray:
    """Sum over the kernel's rows: from ``(groups, tiles, H, columns)`` to one row per output row."""
    nest = kernel.nest
    sums = np.zeros((*by_row.shape[:2], nest.rows, by_row.shape[3]), np.int64)
    for k_h in range(nest.kernel_size[0]):
        reads = tap_positions(nest, axis=0)[:, k_h]
        in_range = reads >= 0
        sums[:, :, in_range] += by_row[:, :, reads[in_range]]
    return sums
