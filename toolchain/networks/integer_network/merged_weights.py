"""A synapse as a core stores it: one weight between two neurons, over all paths through the pools.

The maps of a synapse act on channels, rows and columns independently. So a weight between source (i, r, c)
and target (o, R, C) is

    sum_kl kernel[o, i, k, l] * row_taps[k, R, r] * column_taps[l, C, c]

where the taps count the paths through each tap of the weighted map. Where a pool's windows overlap, or its
values are read through several taps, one such weight is a sum of several weights of the synapse.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from toolchain.networks.integer_network.network import IntegerSynapse
from toolchain.networks.linear_maps import (
    Convolution,
    IntegerMap,
    IntegerPool,
    Shape,
    WeightedMap,
    as_grouped_convolution,
    window_taps,
)

_VALUES_AT_ONCE = 2**21
"""Merged weights computed at once."""


def axis_taps(synapse: IntegerSynapse, source_shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Paths between sources and targets through each tap of the weight, along rows and along columns.

    Returns:
        Two int64 arrays ``(kernel taps, targets, sources)``.
    """
    rows, columns = (_taps_along(axis, synapse, source_shape) for axis in (0, 1))
    return rows, columns


def _taps_along(axis: int, synapse: IntegerSynapse, shape: Shape) -> np.ndarray:
    first, *others = synapse.maps
    taps = _band(first, shape, axis)
    for linear_map in others:
        shape = first.output_shape(shape)
        taps = _composed(_band(linear_map, shape, axis), taps)
        first = linear_map
    return taps


def _band(linear_map: IntegerMap, shape: Shape, axis: int) -> np.ndarray:
    """Paths of one map along an axis; only the weight's taps are told apart, a pool adds up its own."""
    size = shape[1 + axis]
    if not isinstance(linear_map, WeightedMap):
        return linear_map.axis_matrix(axis, size)[None]
    convolution = as_grouped_convolution(linear_map, shape)
    return window_taps(
        size,
        convolution.kernel[axis],
        convolution.stride[axis],
        convolution.padding[axis],
        convolution.dilation[axis],
    )


def _composed(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Product of two bands, at most one of which has several taps; exact, as counts are below 2^53."""
    return (after.astype(float) @ before.astype(float)).astype(np.int64)


def channel_links(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """Which source channels reach which target channels, bool ``(targets, sources)``.

    A channel that no weight reads, or whose weights are all zero, is not connected: no core stores it.
    """
    channels = source_shape[0]
    shape = synapse.weighted_input_shape(source_shape)
    before = _selected(synapse.pools_before, channels)
    convolution = as_grouped_convolution(synapse.weighted, shape)
    groups, weight = convolution.groups, convolution.weight
    outputs, read, _, _ = used_parts(convolution)
    by_group = np.zeros((groups, channels), bool)
    own = np.flatnonzero((before >= 0) & read)
    by_group[own // weight.shape[1], before[own]] = True
    links = np.repeat(by_group, len(weight) // groups, axis=0)
    links &= outputs[:, None]
    after = _selected(synapse.pools_after, len(weight))
    return links[after] & (after >= 0)[:, None]


def used_parts(convolution: Convolution) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which outputs, inputs, rows and columns of taps have any weight that is not zero; bool each."""
    weight, groups = convolution.weight, convolution.groups
    outputs = np.bitwise_or.reduce(weight.reshape(len(weight), -1), axis=1) != 0
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    taps = np.bitwise_or.reduce(by_group, axis=1) != 0  # (groups, inputs of each, rows, columns)
    inputs = np.asarray(taps.any(axis=(2, 3))).reshape(-1)
    return (
        outputs,
        inputs,
        np.asarray(taps.any(axis=(0, 1, 3))),
        np.asarray(taps.any(axis=(0, 1, 2))),
    )


def kernel(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """The weight as a kernel over all channels, int64 ``(target, source, row taps, column taps)``."""
    channels = source_shape[0]
    convolution = as_grouped_convolution(
        synapse.weighted, synapse.weighted_input_shape(source_shape)
    )
    weight, groups = convolution.weight, convolution.groups
    outputs, inputs = len(weight) // groups, weight.shape[1]
    read = np.arange(groups).repeat(outputs)[:, None] * inputs + np.arange(inputs)
    source = _selected(synapse.pools_before, channels)[read]
    full = np.zeros((len(weight), channels + 1, *convolution.kernel), np.int64)
    # source -1 is the last one, which is dropped; a source that is read twice gets both weights
    np.add.at(full, (np.arange(len(weight))[:, None], source), weight)
    after = _selected(synapse.pools_after, len(weight))
    return np.where((after >= 0)[:, None, None, None], full[after, :-1], 0)


def _selected(pools: tuple[IntegerPool, ...], channels: int) -> np.ndarray:
    """Source channel of each channel after the maps, -1 for zeros."""
    found = np.arange(channels)
    for pool in pools:
        chosen = pool.channel_sources(len(found))
        found = np.where(chosen >= 0, found[chosen], -1)
    return found


_Known = list[tuple[tuple[IntegerPool, ...], tuple[IntegerPool, ...], Shape, int]]
_known: WeakKeyDictionary[WeightedMap, _Known] = WeakKeyDictionary()


def largest_merged_weight(synapse: IntegerSynapse, source_shape: Shape) -> int:
    """Largest magnitude of a weight between two neurons, before the exponent.

    It is kept with the weights: lowering asks for each exponent that it tries.
    """
    pools = synapse.pools_before, synapse.pools_after
    known = _known.setdefault(synapse.weighted, [])
    for before, after, shape, largest in known:
        if (before, after) == pools and shape == source_shape:
            return largest
    found = _largest(synapse, source_shape)
    known.append((*pools, source_shape, found))
    return found


def _largest(synapse: IntegerSynapse, source_shape: Shape) -> int:
    shape = synapse.weighted_input_shape(source_shape)
    weight = as_grouped_convolution(synapse.weighted, shape).weight
    before = _selected(synapse.pools_before, source_shape[0])
    after = _selected(synapse.pools_after, len(weight))
    if not (
        np.array_equal(before, np.arange(source_shape[0]))
        and np.array_equal(after, np.arange(len(weight)))
    ):
        weight = kernel(synapse, source_shape)
    rows, columns = map(_distinct_paths, axis_taps(synapse, source_shape))
    per_output = weight.shape[1] * max(len(rows), weight.shape[2]) * max(len(columns), 1)
    step = max(_VALUES_AT_ONCE // max(per_output, 1), 1)
    largest = 0
    for start in range(0, len(weight), step):
        merged = _merged(weight[start : start + step], rows, columns)
        largest = max(largest, int(merged.max(initial=0)), -int(merged.min(initial=0)))
    return largest


def _merged(weight: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weights ``(o, i, k, l)`` over paths ``(R, k)`` and ``(C, l)``, ``(o, i, R, C)``; exact below 2^53."""
    for axis, paths in ((2, rows), (3, columns)):
        if (paths.sum(axis=1) == 1).all():  # each pair of neurons has one path, or none
            used = np.flatnonzero(paths.any(axis=0))
            weight = weight if len(used) == paths.shape[1] else weight.take(used, axis)
        elif axis == 2:
            weight = (weight.swapaxes(2, 3) @ paths.T.astype(float)).swapaxes(2, 3)
        else:
            weight = weight @ paths.T.astype(float)
    return np.asarray(weight)


def _distinct_paths(taps: np.ndarray) -> np.ndarray:
    """The distinct numbers of paths through each tap between two neurons, int64 ``(D, kernel taps)``."""
    pairs = taps.reshape(len(taps), -1)
    if pairs.sum(axis=0).max(initial=0) <= 1:
        return np.eye(len(taps), dtype=np.int64)[pairs.any(axis=1)]
    return np.unique(pairs[:, pairs.any(axis=0)].T, axis=0)
