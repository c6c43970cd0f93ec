"""Sums of frames over blocks of neurons: the innermost work of counting events.

Blocks repeat: most target blocks of a convolution hear from a source with equal weights. Each distinct row
of weights is summed once. The axis that lies innermost in memory goes first, in one matrix product, which
leaves little for the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CHANNELS = 2  # axis of the frames; rows and columns follow


def frame_sums(frames: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Weighted sums over channels, rows and columns for every combination of blocks.

    Args:
        frames: integers or bool ``(K, T, C, H, W)``, not negative, in any order in memory.
        weights: integers ``(a, C)``, ``(b, H)`` and ``(c, W)``, not negative.

    Returns:
        int64 ``(a b c, K, T)``; right below 2^53.
    """
    blocks = [len(weight) for weight in weights]
    if not frames.size:
        return np.zeros((int(np.prod(blocks)), *frames.shape[:2]), np.int64)
    distinct = [_distinct_rows(weight) for weight in weights]
    order = _memory_order(frames)
    outer, middle, inner = (distinct[axis - _CHANNELS][0] for axis in order[2:])
    sums = _along_last(frames.transpose(order), inner, int(frames.max()))
    sums = np.matmul(middle.astype(np.float64), sums)
    leading, last = sums.shape[:3], sums.shape[3:]
    sums = np.matmul(outer.astype(np.float64), sums.reshape(*leading, -1))
    sums = sums.reshape(*leading[:2], len(outer), *last)
    channels, rows, columns = (index for _, index in distinct)
    sums = sums.transpose(np.argsort(order)).astype(np.int64)
    every = sums[:, :, channels[:, None, None], rows[:, None], columns]
    return every.reshape(*frames.shape[:2], -1).transpose(2, 0, 1)


def _distinct_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row that occurs, once, and for every row its index among them."""
    found: dict[bytes, int] = {}
    index = np.array([found.setdefault(row.tobytes(), len(found)) for row in weight], np.int64)
    _, first = np.unique(index, return_index=True)
    return weight[first], index


def _memory_order(frames: np.ndarray) -> tuple[int, ...]:
    """Axes from the outermost in memory to the innermost; as they are if K and T are not outermost."""
    order = tuple(
        int(axis) for axis in np.argsort([-abs(s) for s in frames.strides], kind="stable")
    )
    return order if set(order[:2]) == {0, 1} else (0, 1, 2, 3, 4)


def _along_last(frames: np.ndarray, weight: np.ndarray, largest: int) -> np.ndarray:
    """Products with each row of the weight along the last axis, float64; integers, so exact."""
    fits = largest * int(weight.sum(axis=1).max()) < 2**24
    number = np.float32 if fits else np.float64
    flat = np.ascontiguousarray(frames, number).reshape(-1, frames.shape[-1])
    sums = flat @ weight.T.astype(number)
    return sums.reshape(*frames.shape[:-1], len(weight)).astype(np.float64)
