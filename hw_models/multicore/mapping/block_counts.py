"""Connected sources of blocks of targets along one axis, counted with arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

Histogram: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs of a number and how often it occurs."""


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """Counts of each block of a synapse's targets along one axis.

    Attributes:
        links: pairs of a source and a target that are connected, shape ``(blocks,)``.
        axons: sources that reach the block; along channels, blocks of atoms.
        lists: distinct lengths of its synapse lists, and how many of each length: along channels one list
            per block of atoms, along rows and columns one per pattern of taps.
        kinds: index in ``lists`` of each block's histogram.
    """

    links: np.ndarray
    axons: np.ndarray
    lists: list[Histogram]
    kinds: np.ndarray


def channel_counts(fan_in: np.ndarray, edges: tuple[int, ...]) -> BlockCounts:
    """Counts of each block of target channels; a list has one block of atoms.

    Args:
        fan_in: source channels that reach each target channel, ``(targets, blocks of atoms)``.
    """
    lengths = np.add.reduceat(fan_in, edges[:-1], axis=0)
    block, atom_block = np.nonzero(lengths)
    lists, kinds = _histograms(len(lengths), block, lengths[block, atom_block])
    return BlockCounts(
        links=lengths.sum(axis=1),
        axons=(lengths > 0).sum(axis=1),
        lists=lists,
        kinds=kinds,
    )


def pixel_counts(taps: np.ndarray, edges: tuple[int, ...]) -> BlockCounts:
    """Counts of each block of rows or columns; sources share a list if their taps in it are equal.

    They are compared by a sum of random numbers, one per distance from the first target in the block.
    """
    num_blocks = len(edges) - 1
    source, target = np.nonzero(taps.T)
    block = np.searchsorted(edges, target, side="right") - 1
    first = np.flatnonzero(
        np.diff(source * num_blocks + block, prepend=-1)
    )  # of each run of targets
    lengths = np.diff(first, append=len(source))
    numbers = np.random.default_rng(1).integers(1, 1 << 63, len(taps), dtype=np.uint64)
    distance = target - np.repeat(target[first], lengths)
    values = taps[target, source].astype(np.uint64) * numbers[distance]
    patterns = np.add.reduceat(values, first) if len(first) else values
    run_block = block[first]
    order = np.lexsort((patterns, run_block))
    new = np.flatnonzero(
        np.diff(patterns[order], prepend=0).astype(bool)
        | np.diff(run_block[order], prepend=-1).astype(bool)
    )
    distinct = order[new]
    lists, kinds = _histograms(num_blocks, run_block[distinct], lengths[distinct])
    return BlockCounts(
        links=np.bincount(block, minlength=num_blocks),
        axons=np.bincount(run_block, minlength=num_blocks),
        lists=lists,
        kinds=kinds,
    )


def _histograms(
    num_blocks: int, blocks: np.ndarray, numbers: np.ndarray
) -> tuple[list[Histogram], np.ndarray]:
    """The distinct histograms of the numbers in each block, and the index of each block's own."""
    pairs, often = np.unique(np.stack([blocks, numbers]), axis=1, return_counts=True)
    edges = np.searchsorted(pairs[0], np.arange(num_blocks + 1)).tolist()
    entries = list(zip(pairs[1].tolist(), often.tolist(), strict=True))
    known: dict[Histogram, int] = {}
    kinds = [known.setdefault(tuple(entries[a:b]), len(known)) for a, b in pairwise(edges)]
    return list(known), np.array(kinds)
