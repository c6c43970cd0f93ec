"""Sums of frames over blocks of neurons: the innermost work of counting events.

All sums of one population's frames are computed together, so that its frames are read once. Two facts leave
little to multiply:

- Blocks repeat: most target blocks of a convolution have equal weights from a source. Each distinct row of
  weights is summed once, and each sum is kept once.
- Neighbouring rows of a frame, and neighbouring columns, mostly have equal weights in all sums, as a
  population is cut into few blocks. Such a run is added up first, in bytes as long as the sum fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TypeAlias

import numpy as np

_CHANNELS = 2  # axis of the frames; rows and columns follow

Weights: TypeAlias = Sequence[np.ndarray]
"""A row for each block along channels, rows and columns: ``(a, C)``, ``(b, H)`` and ``(c, W)``, bool or
integers that are not negative."""


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Weighted sums of frames for every combination of blocks; exact below 2^53.

    Attributes:
        distinct: every sum that occurs, whole numbers, float64 of shape ``(D, K, T)``.
        index: index in them of each combination's sum, columns fastest, shape ``(a b c,)``.
    """

    distinct: np.ndarray
    index: np.ndarray

    def of_combinations(self) -> np.ndarray:
        """The sums written out, int64 ``(a b c, K, T)``."""
        return self.distinct.astype(np.int64)[self.index]

    def of_groups(self, groups: np.ndarray, count: int, factors: np.ndarray) -> np.ndarray:
        """Totals over groups of combinations.

        Args:
            groups: group of each combination, ``0 <= group < count``, shape ``(a b c,)``.
            factors: how often each combination counts, for each of N totals, shape ``(N, a b c)``.

        Returns:
            ``(N, count, K, T)``, int64, or float64 if the factors are.
        """
        num_distinct, *steps = self.distinct.shape
        sums = self.distinct.reshape(num_distinct, prod(steps))
        pairs = groups * num_distinct + self.index
        taken = np.array([np.bincount(pairs, row, count * num_distinct) for row in factors])
        taken = taken.reshape(len(factors), count, num_distinct)
        # most groups use few of the sums: a small product for each, not a large one full of zeros
        of_group, chosen = np.nonzero(taken.any(axis=0))
        edges = np.searchsorted(of_group, np.arange(count + 1)).tolist()
        totals = np.empty(
            (len(factors), count, prod(steps)), np.result_type(factors.dtype, np.int64)
        )
        if totals.dtype == np.int64 and taken.size and sums.size:
            largest = float(taken.sum(axis=2).max()) * float(sums.max())
            if largest >= 2**53:  # products of floating-point numbers would round
                taken, sums = taken.astype(np.int64), sums.astype(np.int64)
        for group, (start, stop) in enumerate(pairwise(edges)):
            own = chosen[start:stop]
            totals[:, group] = taken[:, group, own] @ sums[own]
        return totals.reshape(len(factors), count, *steps)


def frame_sums(frames: np.ndarray, asked: Sequence[Weights]) -> list[BlockSums]:
    """Weighted sums over channels, rows and columns for every combination of blocks.

    Args:
        frames: integers or bool ``(K, T, C, H, W)``, not negative, in any order in memory.
        asked: weights of at least one set of sums.

    Returns:
        One set of sums for each set of weights.
    """
    if frames.dtype == bool:
        frames = frames.view(np.uint8)  # numpy adds these up without a cast
    order = _memory_order(frames)
    distinct = [[_distinct_rows(weight) for weight in weights] for weights in asked]
    products = _products(
        frames.transpose(order),
        [[rows[axis - _CHANNELS][0] for axis in order[_CHANNELS:]] for rows in distinct],
    )
    blocks_first = np.argsort(order)[[2, 3, 4, 0, 1]]
    results = []
    for product, rows in zip(products, distinct, strict=True):
        sums = np.ascontiguousarray(product.transpose(blocks_first), np.float64)
        num_distinct = prod(sums.shape[:3])
        index = np.arange(num_distinct).reshape(sums.shape[:3])[np.ix_(*(i for _, i in rows))]
        results.append(BlockSums(sums.reshape(num_distinct, *sums.shape[3:]), index.reshape(-1)))
    return results


def _distinct_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, and for every row its index among them."""
    found: dict[bytes, int] = {}
    index = np.array([found.setdefault(row.tobytes(), len(found)) for row in weight], np.int64)
    _, first = np.unique(index, return_index=True)
    return weight[first], index


def _memory_order(frames: np.ndarray) -> tuple[int, ...]:
    """Axes from the outermost in memory to the innermost; unchanged if K and T are not outermost."""
    order = tuple(
        int(axis) for axis in np.argsort([-abs(s) for s in frames.strides], kind="stable")
    )
    return order if set(order[:2]) == {0, 1} else (0, 1, 2, 3, 4)


def _products(frames: np.ndarray, asked: Sequence[Weights]) -> list[np.ndarray]:
    """Products with each set of weights along the last three axes; integers, so exact.

    Runs are added up along the outer two only: along the innermost they are many short steps.
    """
    outer, middle, inner = (list(rows) for rows in zip(*asked, strict=True))
    frames, outer = _add_up_runs(frames, 2, outer)
    frames, middle = _add_up_runs(frames, 3, middle)
    narrowed = list(zip(outer, middle, inner, strict=True))
    largest = _largest(frames) * max(
        prod(int(rows.sum(axis=1).max(initial=0)) for rows in weights) for weights in narrowed
    )
    frames = np.ascontiguousarray(frames, np.float32 if largest < 2**24 else np.float64)
    # integers that floats hold: some BLAS kernels set a flag from lanes of their registers that are not used
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return [_product(frames, weights) for weights in narrowed]


def _add_up_runs(
    frames: np.ndarray, axis: int, weights: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Frames and weights in which each run of indices with equal weights is one index."""
    stacked = np.concatenate(weights)
    changes = (stacked[:, 1:] != stacked[:, :-1]).any(axis=0)
    if changes.all():
        return frames, weights
    edges = np.flatnonzero(np.concatenate([[True], changes, [True]]))
    number = np.min_scalar_type(_largest(frames) * int(np.diff(edges).max()))
    shape = (*frames.shape[:axis], len(edges) - 1, *frames.shape[axis + 1 :])
    sums = np.empty(shape, number)
    along, runs = np.moveaxis(frames, axis, 0), np.moveaxis(sums, axis, 0)
    for run, (start, stop) in zip(runs, pairwise(edges.tolist()), strict=True):
        np.sum(along[start:stop], axis=0, dtype=number, out=run)
    return sums, [weight[:, edges[:-1]] for weight in weights]


def _largest(frames: np.ndarray) -> int:
    return int(frames.max(initial=0))


def _product(frames: np.ndarray, weights: Weights) -> np.ndarray:
    """Products along the last three axes, first along the one that becomes shortest by them."""
    shape = list(frames.shape)
    shares = [len(rows) / rows.shape[1] for rows in weights]
    for axis in np.argsort(shares, kind="stable").tolist():
        rows = weights[axis].astype(frames.dtype)
        before, size, after = prod(shape[: 2 + axis]), shape[2 + axis], prod(shape[3 + axis :])
        if after == 1:  # one product of matrices instead of many with a vector
            frames = frames.reshape(before, size) @ rows.T
        else:
            frames = rows @ frames.reshape(before, size, after)
        shape[2 + axis] = len(rows)
    return frames.reshape(shape)
