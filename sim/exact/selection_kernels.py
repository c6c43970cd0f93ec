"""Kernels of the maps that choose values or add up a few: resampling and the selection of channels.

Most of them only copy, in the type that the values have: nearest upsampling, crops, zero padding, zero
insertion, every second row. Those that add up, such as uneven averages, are two small products of matrices.
Feature maps lie in memory with their channels last, so that a pixel is copied as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.networks.linear_maps import Resample, SelectChannels


def resampling_kernel(
    resample: Resample, *, int8: bool, dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """``rows @ N @ columns.T`` for values of shape ``(B, C, H, W)``.

    Args:
        dtype: floating-point type that holds the sums. A map that only copies keeps the values' own type.
        int8: the result is asked for in unsigned bytes, which hold it.
    """
    rows, columns = (_selected(matrix) for matrix in (resample.rows, resample.columns))
    if rows is not None and columns is not None:
        height, width = resample.rows.shape[1], resample.columns.shape[1]
        is_read = (rows >= 0)[:, None] & (columns >= 0)
        pixels = np.where(is_read, rows[:, None] * width + columns, height * width)
        return _pixel_selection(pixels, has_zeros=not is_read.all(), device=device)
    by_row, by_column = (
        torch.from_numpy(matrix).to(device, dtype) for matrix in (resample.rows, resample.columns)
    )

    def kernel(values: Tensor) -> Tensor:
        frames = values.permute(0, 2, 3, 1).to(dtype)  # (B, H, W, C)
        summed = by_row @ frames.flatten(2)
        sums = by_column @ summed.view(*summed.shape[:2], *frames.shape[2:])
        return (sums.to(torch.uint8) if int8 else sums).permute(0, 3, 1, 2)

    return kernel


def _selected(matrix: np.ndarray) -> np.ndarray | None:
    """The source that each target copies, -1 for none; None if the matrix adds up or multiplies."""
    if (matrix > 1).any() or (matrix.sum(axis=1) > 1).any():
        return None
    return np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1)


def _pixel_selection(
    pixels: np.ndarray, *, has_zeros: bool, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """A source pixel for each target pixel ``(R, K)``; the one after the last stands for zeros."""
    chosen = torch.from_numpy(pixels.reshape(-1)).to(device)

    def kernel(values: Tensor) -> Tensor:
        sources = values.permute(0, 2, 3, 1).flatten(1, 2)  # (B, pixels, C)
        if has_zeros:
            sources = F.pad(sources, (0, 0, 0, 1))
        frames = sources.index_select(1, chosen)
        return frames.view(len(values), *pixels.shape, -1).permute(0, 3, 1, 2)

    return kernel


def selection_kernel(
    selection: SelectChannels, channels: int, *, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Chosen channels of values ``(B, C, H, W)`` of any type.

    Args:
        channels: of the source.
    """
    chosen = selection.channels
    read = np.flatnonzero(chosen >= 0)
    if not len(read):
        return lambda values: values.new_zeros(len(values), len(chosen), *values.shape[2:])
    first, end = int(read[0]), int(read[-1]) + 1
    around, inner = (first, len(chosen) - end), chosen[first:end]
    low, is_slice = int(inner[0]), bool((np.diff(inner) == 1).all() and inner[0] >= 0)
    has_zeros = bool((inner < 0).any())
    index = torch.from_numpy(np.where(inner < 0, channels, inner)).to(device)

    def kernel(values: Tensor) -> Tensor:
        frames = values.permute(0, 2, 3, 1)
        if is_slice:
            frames = frames[..., low : low + len(inner)]
        else:
            frames = F.pad(frames, (0, 1)) if has_zeros else frames
            frames = frames.gather(3, index.expand(*frames.shape[:3], -1))
        frames = F.pad(frames, around) if any(around) else frames.contiguous()
        return frames.permute(0, 3, 1, 2)

    return kernel
