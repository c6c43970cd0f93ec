"""Exact max pooling, recognised so that the array takes the maximum with comparators.

A network computes max(a, b) = a + clip(b - a, 0, T) with populations whose role is ``maximum``. What follows
the pool reads the sum of the source and of these populations through equal weights. Where such a sum is
proven to be the maximum of a rectangular window, the array compares the source's counts instead, one
comparison for each tap, and the populations are not run. Where it is not, they run as any other population.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hw_models.pe_array.address_maps import Selection, is_selection, taken
from toolchain.networks.integer_network import IntegerNetwork, IntegerSpiking, IntegerSynapse
from toolchain.networks.linear_maps import (
    Convolution,
    IntegerMap,
    IntegerPool,
    Shape,
    as_grouped_convolution,
    window_reads,
)

Term: TypeAlias = tuple[str, Selection]
"""A population, and what is selected of its counts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaximumPool:
    """Synapses that together read a maximum, as one synapse from the source of the counts.

    Attributes:
        members: the synapses.
        rows, columns: stored row and column of each tap of each output, ``(outputs, taps)``; -1 for none.
        channels: stored channel of each channel.
        following: the maps that read the maximum.
    """

    source: str
    members: tuple[IntegerSynapse, ...]
    rows: np.ndarray
    columns: np.ndarray
    channels: np.ndarray
    following: tuple[IntegerMap, ...]


def maximum_pools(network: IntegerNetwork, name: str) -> list[MaximumPool]:
    """The maxima that a population reads."""
    if _role(network, name) == "maximum" or not any(
        _role(network, synapse.source) == "maximum" for synapse in network.incoming(name)
    ):
        return []
    groups: dict[object, list[IntegerSynapse]] = {}
    for synapse in network.incoming(name):
        groups.setdefault(_following_key(network, synapse), []).append(synapse)
    pools = (_pool(network, members) for members in groups.values() if len(members) > 1)
    return [pool for pool in pools if pool is not None]


def replaced_populations(network: IntegerNetwork) -> set[str]:
    """Populations that no kernel reads, as comparators take the maxima that they are part of."""
    replaced: set[str] = set()
    in_pools = {
        (synapse.source, synapse.target)
        for population in network.populations
        for pool in maximum_pools(network, population.name)
        for synapse in pool.members
    }
    for population in reversed(network.populations):
        if _role(network, population.name) == "maximum" and all(
            (synapse.source, synapse.target) in in_pools or synapse.target in replaced
            for synapse in network.outgoing(population.name)
        ):
            replaced.add(population.name)
    return replaced


def _pool(network: IntegerNetwork, members: Sequence[IntegerSynapse]) -> MaximumPool | None:
    terms = [(s.source, _leading(network, s)[0]) for s in members if s.alignment == "average"]
    leaves = _maximum_of(network, terms) if len(terms) == len(members) else None
    if leaves is None or len({source for source, _ in leaves}) != 1:
        return None
    selections = [selection for _, selection in leaves]
    if len({selection.channels.tobytes() for selection in selections}) != 1:
        return None
    rows = {selection.rows.tobytes(): selection.rows for selection in selections}
    columns = {selection.columns.tobytes(): selection.columns for selection in selections}
    places = {(s.rows.tobytes(), s.columns.tobytes()) for s in selections}
    if len(places) != len(rows) * len(columns):
        return None
    return MaximumPool(
        source=leaves[0][0],
        members=tuple(members),
        rows=np.stack(list(rows.values()), axis=1),
        columns=np.stack(list(columns.values()), axis=1),
        channels=selections[0].channels,
        following=_leading(network, members[0])[1],
    )


def _maximum_of(network: IntegerNetwork, terms: Sequence[Term]) -> list[Term] | None:
    """The selected counts whose maximum a sum of terms is, or None if that is not proven.

    The sum is a + r where r = clip(b - a) is the last population of the sum, and a and b are maxima.
    """
    if len(terms) == 1 and _role(network, terms[0][0]) == "activation":
        return list(terms) if isinstance(network[terms[0][0]], IntegerSpiking) else None
    order = {population.name: place for place, population in enumerate(network.populations)}
    last = max(range(len(terms)), key=lambda index: order[terms[index][0]])
    name, selection = terms[last]
    sides = _sides(network, name)
    if sides is None:
        return None
    subtracted, added = ([_within(term, selection) for term in side] for side in sides)
    if Counter(map(_key, subtracted)) != Counter(map(_key, [*terms[:last], *terms[last + 1 :]])):
        return None
    smaller, larger = _maximum_of(network, subtracted), _maximum_of(network, added)
    return None if smaller is None or larger is None else [*smaller, *larger]


def _sides(network: IntegerNetwork, name: str) -> tuple[list[Term], list[Term]] | None:
    """The terms a and b of a population that computes clip(b - a, 0, T), or None if it does not."""
    population = network[name]
    if not isinstance(population, IntegerSpiking) or population.role != "maximum":
        return None
    terms = [term for synapse in network.incoming(name) for term in _taps(network, synapse)]
    unit = max((abs(weight) for weight, _ in terms), default=0)
    threshold, steps = population.threshold, population.timesteps
    is_clip = (
        unit > 0
        and all(abs(weight) == unit for weight, _ in terms)
        and all(s.alignment == "average" for s in network.incoming(name))
        and all(network[source].timesteps == steps for _, (source, _) in terms)
        and bool((threshold == steps * unit).all() and (population.bias == 0).all())
        and bool((population.initial_potential >= 0).all())
        and bool((population.initial_potential < threshold).all())
    )
    if not is_clip:
        return None
    subtracted = [term for weight, term in terms if weight < 0]
    return subtracted, [term for weight, term in terms if weight > 0]


def _taps(network: IntegerNetwork, synapse: IntegerSynapse) -> list[tuple[int, Term]]:
    """Weight and selection of each tap of a depthwise synapse; a weight of 0 if it is another synapse."""
    reads, maps = _leading(network, synapse)
    weighted = synapse.weighted
    if not maps or maps[0] is not weighted or weighted.kind == "dense":
        return [(0, (synapse.source, reads))]
    convolution: Convolution = as_grouped_convolution(weighted, reads.shape)
    shape = convolution.output_shape(reads.shape)
    taps = []
    for k_h, k_w in np.ndindex(convolution.kernel):
        weights = convolution.weight[:, :, k_h, k_w]
        weight = int(weights.flat[0])
        if (weights != weight).any() or convolution.groups != shape[0] != len(reads.channels):
            return [(0, (synapse.source, reads))]
        if weight == 0:
            continue
        selection = Selection(
            channels=reads.channels,
            rows=_tap(reads.rows, convolution, 0, k_h),
            columns=_tap(reads.columns, convolution, 1, k_w),
        )
        for pool in maps[1:]:
            if not is_selection(pool, selection.shape):
                return [(0, (synapse.source, reads))]
            assert isinstance(pool, IntegerPool)
            selection = selection.then(pool)
        taps.append((weight << synapse.exponent, (synapse.source, selection)))
    return taps


def _tap(stored: np.ndarray, convolution: Convolution, axis: int, tap: int) -> np.ndarray:
    """Stored position that each output reads through one tap, -1 in the padding."""
    window = convolution.kernel, convolution.stride, convolution.padding, convolution.dilation
    return taken(stored, window_reads(len(stored), *(sizes[axis] for sizes in window))[:, tap])


def _leading(
    network: IntegerNetwork, synapse: IntegerSynapse
) -> tuple[Selection, tuple[IntegerMap, ...]]:
    """What the selections in front of a synapse take of its source, and the maps that follow them."""
    shape: Shape = network[synapse.source].shape
    reads, maps = Selection.whole(shape), list(synapse.maps)
    while is_selection(maps[0], reads.shape):
        pool = maps.pop(0)
        assert isinstance(pool, IntegerPool)
        reads = reads.then(pool)
    return reads, tuple(maps)


def _following_key(network: IntegerNetwork, synapse: IntegerSynapse) -> object:
    """Equal for synapses that do the same with what they read."""
    reads, maps = _leading(network, synapse)
    parts: list[object] = [reads.shape, synapse.exponent, synapse.alignment]
    for linear_map in maps:
        parts.append(linear_map.kind)
        for value in vars(linear_map).values():
            is_array = isinstance(value, np.ndarray)
            parts.append((value.shape, value.tobytes()) if is_array else value)
    return tuple(parts)


def _within(term: Term, selection: Selection) -> Term:
    """A term of a population, seen through what is selected of that population."""
    source, inner = term
    return source, Selection(
        channels=taken(inner.channels, selection.channels),
        rows=taken(inner.rows, selection.rows),
        columns=taken(inner.columns, selection.columns),
    )


def _key(term: Term) -> tuple[str, bytes, bytes, bytes]:
    source, selection = term
    return (
        source,
        selection.channels.tobytes(),
        selection.rows.tobytes(),
        selection.columns.tobytes(),
    )


def _role(network: IntegerNetwork, name: str) -> str:
    population = network[name]
    return population.role if isinstance(population, IntegerSpiking) else "activation"
