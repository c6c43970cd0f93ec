"""Find the max pools that populations of the role ``maximum`` compute, by algebra.

Such a population counts ``clip(N_b - N_a, 0, T)``. Where its input is ``max(R) - max(L)`` for two sets R and
L of counts of one population, its count is ``max(R + L) - max(L)``. So every count is a sum of maxima of
sets, each with a sign, and what reads a max pool reads a sum that leaves one set: its window. A pool is found
if all this holds for every neuron. Nothing depends on how the comparisons are arranged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import networkx as nx
import numpy as np

from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse
from toolchain.networks.integer_network.merged_weights import axis_taps, kernel
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.networks.linear_maps import (
    Pair,
    SelectChannels,
    Shape,
    chain_axis_matrices,
    chain_channel_sources,
    window_positions,
)

MOST_TERMS = 2**20
"""Most terms of the sums that are written out; above it, the populations stay as they are."""

MOST_WEIGHTS = 2**26
"""Most weights between all channels that are looked at, likewise."""

_Window: TypeAlias = frozenset[Pair]  # places (row, column) of the pooled population
_Sum: TypeAlias = dict[_Window, int]  # a sum of maxima of windows, each with its sign
_Sums: TypeAlias = dict[Pair, _Sum]  # of every neuron of a channel


@dataclass(frozen=True, kw_only=True)
class MaximumWindow:
    """Windows of a max pool, with padding that is never the maximum.

    Attributes:
        padding: (top, left, bottom, right).
    """

    kernel: Pair
    stride: Pair
    padding: tuple[int, int, int, int]
    dilation: Pair


@dataclass(frozen=True, kw_only=True, eq=False)
class MaximumPool:
    """A max pool in place of several synapses into one population.

    Attributes:
        pooled: name of the population whose counts are pooled.
        parts: the synapses that it stands for.
        synapse: the maps behind the pool.
        shape: of the pooled feature map.
    """

    pooled: str
    parts: tuple[IntegerSynapse, ...]
    window: MaximumWindow
    synapse: IntegerSynapse
    shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class MaximumPools:
    """The max pools of a network.

    Attributes:
        by_target: those that each population reads.
        populations: names of the populations of role ``maximum`` that they stand for.
    """

    by_target: Mapping[str, Sequence[MaximumPool]]
    populations: frozenset[str]


def maximum_pools(network: IntegerNetwork) -> MaximumPools:
    """Find the max pools of an integer network. Others stay populations."""
    compared = nx.Graph(
        (s.source, s.target) for s in network.synapses if is_maximum(network[s.target])
    )
    found: dict[str, list[MaximumPool]] = {}
    populations: set[str] = set()
    for names in nx.connected_components(compared):
        base = [name for name in names if not is_maximum(network[name])]
        pools = _pools_of(network, base[0], names) if len(base) == 1 else None
        if pools is not None:
            populations |= {name for name in names if is_maximum(network[name])}
            for pool in pools:
                found.setdefault(pool.synapse.target, []).append(pool)
    return MaximumPools(by_target=found, populations=frozenset(populations))


def _pools_of(network: IntegerNetwork, base: str, names: set[str]) -> list[MaximumPool] | None:
    """The pools that the readers of a group read; None if one reads anything else of its maxima."""
    shape = network[base].shape
    sums: dict[str, _Sums] = {
        base: {place: {frozenset([place]): 1} for place in np.ndindex(shape[1:])}
    }
    for population in network.spiking:
        if population.name in names and population.name != base:
            parts = network.incoming(population.name)
            of_counts = _sum_of(
                [_terms(network, s) for s in parts], sums, [s.source for s in parts]
            )
            if of_counts is None:
                return None
            counts = {place: _count(total) for place, total in of_counts.items()}
            if any(count is None for count in counts.values()):
                return None
            sums[population.name] = {p: c for p, c in counts.items() if c is not None}
    pools = []
    readers = {s.target for name in names for s in network.outgoing(name)} - names
    for reader in sorted(readers):
        parts = tuple(s for s in network.incoming(reader) if s.source in names)
        if len(parts) == 1 and parts[0].source == base:
            continue  # it reads the counts themselves
        pool = _pool_of(network, base, parts, sums)
        if pool is None:
            return None
        pools.append(pool)
    return pools


_Terms: TypeAlias = Iterator[tuple[Pair, Pair, int]]  # target, source, coefficient


def _terms(network: IntegerNetwork, synapse: IntegerSynapse) -> _Terms | None:
    """What each neuron of a channel reads, in counts; None if channels differ, mix or are too many."""
    shape = network[synapse.source].shape
    target = network[synapse.target]
    taps = prod(synapse.weighted.weight.shape[2:])
    if shape[0] * target.shape[0] * taps > MOST_WEIGHTS:
        return None
    weights = kernel(synapse, shape)
    of_one = weights[0, 0]
    own = np.eye(len(weights), weights.shape[1], dtype=np.int64)[..., None, None] * of_one
    if weights.shape[0] != weights.shape[1] or not np.array_equal(weights, own):
        return None
    rows, columns = axis_taps(synapse, shape)
    one_count = int(target.threshold.max()) // target.timesteps  # type: ignore[union-attr]
    counts = (of_one << synapse.exponent) // one_count
    return _products(counts, rows, columns)


def _products(counts: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> _Terms:
    for tap in map(tuple, np.argwhere(counts)):
        down, right = rows[tap[0]], columns[tap[1]]
        across = np.argwhere(right)
        for row, source_row in np.argwhere(down):
            for column, source_column in across:
                times = counts[tap] * down[row, source_row] * right[column, source_column]
                yield (
                    (int(row), int(column)),
                    (int(source_row), int(source_column)),
                    int(times),
                )


def _sum_of(
    terms: Sequence[_Terms | None], sums: Mapping[str, _Sums], sources: Sequence[str]
) -> _Sums | None:
    """The sum of what some synapses give, for every neuron of a channel of the target."""
    totals: dict[Pair, Counter[_Window]] = {}
    num_terms = 0
    for some, source in zip(terms, sources, strict=True):
        if some is None:
            return None
        for target, place, times in some:
            total = totals.setdefault(target, Counter())
            for window, sign in sums[source][place].items():
                total[window] += sign * times
            num_terms += len(sums[source][place])
            if num_terms > MOST_TERMS:
                return None
    return {
        place: {window: sign for window, sign in total.items() if sign}
        for place, total in totals.items()
    }


def _count(total: _Sum) -> _Sum | None:
    """``clip(max(R) - max(L), 0, T)``; the maximum of no counts is 0. None if the sum is another."""
    added = [window for window, sign in total.items() if sign == 1]
    taken = [window for window, sign in total.items() if sign == -1]
    if len(added) > 1 or len(taken) > 1 or len(added) + len(taken) < len(total):
        return None
    if not added:
        return {}
    if not taken:
        return {added[0]: 1}
    both = added[0] | taken[0]
    return {} if both == taken[0] else {both: 1, taken[0]: -1}


def _pool_of(
    network: IntegerNetwork,
    base: str,
    parts: tuple[IntegerSynapse, ...],
    sums: Mapping[str, _Sums],
) -> MaximumPool | None:
    """The pool that a sum of synapses reads through equal weights."""
    first = parts[0]
    channels = network[base].shape[0]
    selected = chain_channel_sources(first.pools_before, channels)
    shapes = {p.weighted_input_shape(network[p.source].shape) for p in parts}
    if len(shapes) > 1 or not all(_reads_alike(first, part) for part in parts):
        return None
    for part in parts:
        if not np.array_equal(chain_channel_sources(part.pools_before, channels), selected):
            return None
    ((_, height, width),) = shapes
    terms = []
    for part in parts:
        matrices = chain_axis_matrices(part.pools_before, network[part.source].shape)
        rows, columns = (matrix[None] for matrix in matrices)
        terms.append(_products(np.ones((1, 1), np.int64), rows, columns))
    totals = _sum_of(terms, sums, [part.source for part in parts])
    if totals is None or len(totals) < height * width:
        return None
    windows: dict[Pair, _Window] = {}
    for place, total in totals.items():
        if list(total.values()) != [1]:
            return None
        (windows[place],) = total
    window = _geometry(windows, (height, width), network[base].shape[1:])
    if window is None:
        return None
    is_all = np.array_equal(selected, np.arange(channels))
    behind = IntegerSynapse(
        source=base,
        target=first.target,
        pools_before=() if is_all else (SelectChannels(channels=selected),),
        weighted=first.weighted,
        pools_after=first.pools_after,
        exponent=first.exponent,
    )
    shape = channels, height, width
    return MaximumPool(pooled=base, parts=parts, window=window, synapse=behind, shape=shape)


def _reads_alike(first: IntegerSynapse, other: IntegerSynapse) -> bool:
    """Whether two synapses apply the same weight and maps behind those that select."""
    ours, theirs = (
        {name: value for name, value in vars(s.weighted).items() if name != "weight"}
        for s in (first, other)
    )
    return (
        type(first.weighted) is type(other.weighted)
        and ours == theirs
        and first.exponent == other.exponent
        and np.array_equal(first.weighted.weight, other.weighted.weight)
        and len(first.pools_after) == len(other.pools_after)
        and all(_same_map(a, b) for a, b in zip(first.pools_after, other.pools_after, strict=True))
    )


def _same_map(ours: object, theirs: object) -> bool:
    if type(ours) is not type(theirs):
        return False
    fields = vars(ours).keys()
    return all(np.array_equal(getattr(ours, f), getattr(theirs, f)) for f in fields)


def _geometry(windows: Mapping[Pair, _Window], size: Pair, sources: Pair) -> MaximumWindow | None:
    """Kernel, stride, padding and dilation that give exactly these windows; None if none do."""
    axes = []
    for axis in (0, 1):
        places = [
            sorted({at[axis] for at in windows[(i, 0) if axis == 0 else (0, i)]})
            for i in range(size[axis])
        ]
        axis_window = _axis_geometry(places, sources[axis])
        if axis_window is None:
            return None
        axes.append((places, axis_window))
    (rows, of_rows), (columns, of_columns) = axes
    for (row, column), window in windows.items():
        if window != {(r, c) for r in rows[row] for c in columns[column]}:
            return None
    kernel_size, stride, before, after, dilation = zip(of_rows, of_columns, strict=True)
    return MaximumWindow(
        kernel=kernel_size, stride=stride, padding=(*before, *after), dilation=dilation
    )


def _axis_geometry(
    places: Sequence[Sequence[int]], sources: int
) -> tuple[int, int, int, int, int] | None:
    """(kernel, stride, padding before, padding after, dilation) of one axis."""
    longest = max(places, key=len)
    steps = set(np.diff(longest).tolist())
    dilation = steps.pop() if len(steps) == 1 else 1
    for kernel_size in range(len(longest), len(longest) + 3):
        for before in range(kernel_size):
            for stride in range(1, sources + 1):
                reach = dilation * (kernel_size - 1)
                starts = [i * stride - before for i in range(len(places))]
                after = max(0, starts[-1] + reach + 1 - sources)
                if after >= max(kernel_size, 1) or (
                    window_positions(sources + before + after, reach + 1, stride, 0) != len(places)
                ):
                    continue
                if all(
                    [p for p in range(start, start + reach + 1, dilation) if 0 <= p < sources]
                    == list(own)
                    for start, own in zip(starts, places, strict=True)
                ):
                    return kernel_size, stride, before, after, dilation
    return None
