"""The integers that each kernel reads, taken from the spike counts and trains of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.loop_nest import Ending
from hw_models.pe_array.modes import Mode
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """Samples, and the spikes of a run on them.

    Attributes:
        pixels: integers of shape ``(B, C, H, W)``.
        counts: counts of each spiking population, ``(B, C, H, W)``.
        trains: spikes of each spiking population that feeds a synapse without averaging, ``(B, T, C, H, W)``.
    """

    pixels: np.ndarray
    counts: Mapping[str, np.ndarray]
    trains: Mapping[str, np.ndarray]


def kernel_values(
    network: IntegerNetwork, mode: Mode, activity: Activity
) -> Iterator[tuple[ArrayKernel, np.ndarray]]:
    """Each kernel with the values it reads, int64 ``(B, entries, C, H, W)``, see ``selected_values``."""
    values = np.empty(0)
    for kernel in array_kernels(network, mode):
        if kernel.stage_index == 0:
            values = source_values(network, kernel, activity)
        values = selected_values(kernel, values)
        yield kernel, values
        if kernel.nest.ending is Ending.MAPS:
            values = _map_of_sums(kernel, values)


def source_values(network: IntegerNetwork, kernel: ArrayKernel, activity: Activity) -> np.ndarray:
    """Values that the first map of a synapse reads, int64 ``(B, entries, C, H, W)``.

    There is one entry, the count or the pixels, or one entry per frame.
    """
    if isinstance(network[kernel.source], IntegerInput):
        return activity.pixels.astype(np.int64)[:, None]
    synapse = next(s for s in network.incoming(kernel.target) if s.source == kernel.source)
    if synapse.alignment == "average":
        return activity.counts[kernel.source].astype(np.int64)[:, None]
    return activity.trains[kernel.source].astype(np.int64)


def selected_values(kernel: ArrayKernel, stored: np.ndarray) -> np.ndarray:
    """The map that a kernel slides over, int64 ``(B, entries, C, H, W)``.

    Args:
        stored: the map in memory, ``(B, entries, ...)``.
    """
    values = stored.reshape(*stored.shape[:2], *kernel.stored)
    rows, columns = kernel.nest.addresses
    for axis, addresses in ((2, kernel.source_channels), (3, rows), (4, columns)):
        if addresses is not None:
            at = np.array(addresses)
            is_zero = (at < 0).reshape(-1, *[1] * (4 - axis))
            values = np.where(is_zero, 0, values.take(np.maximum(at, 0), axis))
    height, width = kernel.nest.input_size
    return values[..., :height, :width]


def frame_operand(kernel: ArrayKernel, values: np.ndarray, entry: int | None) -> np.ndarray:
    """The operand of the frames that read an entry, ``(B, C, H, W)``.

    Args:
        values: ``(B, entries, ...)``; with bit planes, the one entry whose bits the frames are.
        entry: index of the entry, or of the bit; None gives zeros.
    """
    shape = (len(values), *kernel.reads.shape)
    if entry is None:
        return np.zeros(shape, values.dtype)
    if kernel.nest.sum_frames:
        return (values[:, 0] >> entry & 1).reshape(shape)
    return values[:, entry].reshape(shape)


def _map_of_sums(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """The sums that the next map of a synapse reads, one entry for each that the kernel reads."""
    if not kernel.nest.sum_frames:
        values = values[:, [entry for entry in kernel.reads.selection if entry is not None]]
    return sums_of_entries(kernel, values)


def sums_of_entries(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """Apply a kernel's map to every entry at once, without tiles: int64 ``(B, entries, C_o, H_o, W_o)``."""
    nest = kernel.nest
    (top, left), (down, right) = nest.padding, nest.stride
    next_row, next_column = nest.dilation
    shape = (*values.shape[:2], nest.groups, nest.input_channels, *nest.input_size)
    padded = np.pad(
        values.reshape(shape), ((0, 0), (0, 0), (0, 0), (0, 0), (top, top), (left, left))
    )
    outputs = (*shape[:3], nest.output_channels, nest.rows, nest.columns)
    sums = np.zeros(outputs, np.int64)
    weight = kernel.weight.astype(np.int64)
    for k_h, k_w in np.ndindex(nest.kernel_size):
        first, left_most = k_h * next_row, k_w * next_column
        rows = slice(first, first + (nest.rows - 1) * down + 1, down)
        columns = slice(left_most, left_most + (nest.columns - 1) * right + 1, right)
        window = padded[..., rows, columns]
        if nest.takes_maximum:
            np.maximum(sums, window, out=sums)
        elif nest.unit_weights:
            sums += window
        else:
            sums += np.einsum("goc,begchw->begohw", weight[..., k_h, k_w], window)
    return sums.reshape(*values.shape[:2], -1, nest.rows, nest.columns)
