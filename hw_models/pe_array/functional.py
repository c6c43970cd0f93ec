"""The integers that the array computes, in its own loop order, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.loop_nest import (
    Dataflow,
    Ending,
    TileIndices,
    Tiling,
    Unrolling,
    outer_loops,
    tiling_of,
)
from hw_models.pe_array.modes import SNN_TEMPORAL, Mode
from hw_models.pe_array.operands import Activity, frame_operand, selected_values, source_values
from toolchain.networks.integer_network import IntegerNetwork, IntegerReadout, IntegerSpiking


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayRun:
    """Integers of a run.

    Attributes:
        counts: spike counts of each spiking population, int64 ``(B, C, H, W)``.
        trains: its spikes, bool ``(B, T_l, C, H, W)``.
        logits: int64 ``(B, classes)``.
    """

    counts: Mapping[str, np.ndarray]
    trains: Mapping[str, np.ndarray]
    logits: np.ndarray


def run_on_array(
    network: IntegerNetwork, array: PeArray, pixels: np.ndarray, mode: Mode = SNN_TEMPORAL
) -> ArrayRun:
    """Run a network in the array's loop order.

    Populations that the array does not run, as comparators take their maxima, are computed besides.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        mode: a spiking mode.

    Raises:
        UnsupportedNetworkError: the mode is ``snn_bit_planes``, and a synapse does not average.
    """
    assert mode.is_spiking
    trains: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    activity = Activity(pixels=pixels, counts=counts, trains=trains)
    logits = np.empty((len(pixels), *network.readout.shape), np.int64)
    sums: np.ndarray | None = None  # sums of the target so far
    maps: np.ndarray | None = None  # values that the next map of the synapse reads
    for kernel in array_kernels(network, mode, with_replaced=True):
        target = network[kernel.target]
        if kernel.stage_index == 0:
            maps = source_values(network, kernel, activity)
        assert maps is not None
        maps = selected_values(kernel, maps)
        channels, node = kernel.target_channels, None
        if isinstance(target, IntegerSpiking) and kernel.nest.fires:
            node = _NodeUnit(target, channels, len(pixels))
        left = sums if kernel.nest.adds_sums else None
        result = _run_kernel(kernel, array.unrolling, array.dataflow, maps, left, node)
        if kernel.nest.ending is Ending.MAPS:
            maps = result
        else:
            sums = result
        if node is not None:
            shape = (*node.spikes.shape[:2], *target.shape)
            fired = trains.setdefault(kernel.target, np.empty(shape, bool))
            fired[:, :, channels] = node.spikes
            counts[kernel.target] = fired.sum(1)
        if isinstance(target, IntegerReadout) and kernel.nest.ending is Ending.READS_OUT:
            steps = target.timesteps if kernel.nest.sum_frames else 1
            # the bias is a current of every step
            bias = np.broadcast_to(target.bias, target.shape) * target.timesteps
            logits[:, channels] = result.sum(1) * steps + bias[channels]
    return ArrayRun(counts=counts, trains=trains, logits=logits.reshape(len(pixels), -1))


def _frames(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """The operand of each frame, ``(B, F, C, H, W)``."""
    return np.stack(
        [frame_operand(kernel, values, entry) for entry in kernel.reads.selection], axis=1
    )


def _run_kernel(
    kernel: ArrayKernel,
    unrolling: Unrolling,
    dataflow: Dataflow,
    values: np.ndarray,
    left: np.ndarray | None,
    node: _NodeUnit | None,
) -> np.ndarray:
    """Sums of a kernel, int64 ``(B, F, C_o, H_o, W_o)``; F is 1 if bit planes are added up.

    Args:
        values: the values that the map reads.
        left: sums of the previous kernel of the same join.
        node: node unit that fires on each group as soon as its sums are complete.
    """
    nest, tiling = kernel.nest, tiling_of(kernel.nest, unrolling, dataflow)
    batch, shape = len(values), (nest.groups * nest.output_channels, nest.rows, nest.columns)
    sums = np.zeros((batch, nest.sums_per_neuron, *shape), np.int64)
    if left is not None:
        sums += left
    for tile, accumulated in _accumulate(kernel, tiling, dataflow, _frames(kernel, values)):
        channels = _output_channels(tile, nest.output_channels)
        here = (channels, tile.row, _slice(tile.columns))
        if not nest.sum_frames:
            sums[(slice(None), _slice(tile.frames), *here)] += accumulated << kernel.exponent
        else:
            for lane, frame in enumerate(tile.frames):
                is_sign = kernel.reads.is_signed and frame == nest.frames - 1
                weighted = accumulated[:, lane] << frame + kernel.exponent
                sums[(slice(None), 0, *here)] += -weighted if is_sign else weighted
        if node is not None and (not nest.sum_frames or tile.frames.stop == nest.frames):
            steps = range(nest.node_steps) if nest.sum_frames else tile.frames
            node.fire(sums, steps, here)
    return sums


def _accumulate(
    kernel: ArrayKernel, tiling: Tiling, dataflow: Dataflow, operands: np.ndarray
) -> Iterator[tuple[TileIndices, np.ndarray]]:
    """Partial sums of each iteration of the outer loops, ``(B, frames, channels, columns)``."""
    nest = kernel.nest
    (top, left), (down, right) = nest.padding, nest.stride
    next_row, next_column = nest.dilation
    kernel_rows, kernel_columns = nest.kernel_size
    padded = np.pad(operands, ((0, 0), (0, 0), (0, 0), (top, top), (left, left)))
    by_group = padded.reshape(*padded.shape[:2], nest.groups, -1, *padded.shape[3:])
    weight = kernel.weight.reshape(nest.groups, nest.output_channels, -1).astype(np.int64)
    for tile in outer_loops(tiling, dataflow):
        first = tile.row * down
        rows = slice(first, first + (kernel_rows - 1) * next_row + 1, next_row)
        window = by_group[:, _slice(tile.frames), tile.group, :, rows]
        reads = [
            [column * right + k_w * next_column for column in tile.columns]
            for k_w in range(kernel_columns)
        ]
        columns = window[..., reads]  # (B, frames, C_i, K_h, K_w, columns)
        flat = columns.reshape(*columns.shape[:2], -1, len(tile.columns))
        if nest.takes_maximum:
            yield tile, flat.max(axis=2, keepdims=True)
        else:
            yield tile, weight[tile.group, _slice(tile.channels)] @ flat


class _NodeUnit:
    """Membrane potentials and spikes of some channels of a population."""

    def __init__(self, population: IntegerSpiking, channels: np.ndarray, batch: int) -> None:
        def of_channels(parameter: np.ndarray) -> np.ndarray:
            return np.broadcast_to(parameter, population.shape)[channels]

        self.threshold, self.bias = of_channels(population.threshold), of_channels(population.bias)
        start = of_channels(population.initial_potential)
        self.potential = np.broadcast_to(start, (batch, *start.shape)).copy()
        self.spikes = np.zeros((batch, population.timesteps, *start.shape), np.int64)

    def fire(self, sums: np.ndarray, steps: range, here: tuple[slice, int, slice]) -> None:
        """Fire some timesteps of the neurons at ``here``, each step on its own sum or all on the same one."""
        neurons = (slice(None), *here)
        for step in steps:
            current = sums[:, min(step, sums.shape[1] - 1)][neurons] + self.bias[here]
            self.potential[neurons] += current
            spikes = self.potential[neurons] >= self.threshold[here]
            self.potential[neurons] -= self.threshold[here] * spikes
            self.spikes[:, step][neurons] = spikes


def _output_channels(tile: TileIndices, channels_per_group: int) -> slice:
    first = tile.group * channels_per_group
    return slice(first + tile.channels.start, first + tile.channels.stop)


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop)
