"""The program of each core: neurons, synapse lists, input and output axons, buffer slots.

A *population axon* brings one source pixel's channels (its atoms) to a core. It points to a synapse list
and to a compartment base that shifts the list's targets, so that pixels which see the same kernel taps
share one list. Compartments are numbered channel by channel, each channel row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from typing_extensions import assert_never

from hw_models.multicore.mapping.connectivity import Connectivity, connectivity
from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.mapping.tile_grid import Tile
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.merged_weights import kernel


@dataclass(frozen=True, kw_only=True, eq=False)
class SynapseList:
    """Synapses of one source pixel's atoms.

    Attributes:
        offsets: compartments relative to the axon's base, shape ``(E,)``.
        weights: int64, shape ``(atoms, E)``; 0 where an atom has no synapse there.
    """

    offsets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class IncomingEdge:
    """One alignment buffer of a core, with the axons and lists that fill it.

    Attributes:
        source: the population that sends.
        exponent: weights are multiplied by ``2^exponent``.
        pixels: source row and column of each axon, shape ``(A, 2)``; all pixels of the first source
            replica that sends to the core, then those of the second, and so on.
        lists, bases: list number and compartment base of each axon, shape ``(A,)``.
        integrating, firing: slot in which the core's n-th sample is integrated, and from which it is
            read, at index ``n mod D``; D is the number of slots of one replica.
        frames: places of a slot; the n-th frame of those that steps read is in place ``n mod frames``.
    """

    source: str
    exponent: int
    pixels: np.ndarray
    lists: np.ndarray
    bases: np.ndarray
    synapse_lists: tuple[SynapseList, ...]
    integrating: np.ndarray
    firing: np.ndarray
    frames: int


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreProgram:
    """One core, which works on samples r, r + R, ... and drops the frames of all others.

    Attributes:
        num_replicas: R of its population; r is ``core.replica``.
        threshold: int64 per neuron, or None on a readout core, which only accumulates.
        initial_potential, bias: int64 per neuron.
        edges: one for each incoming synapse, in the network's order.
    """

    core: CoreAssignment
    num_replicas: int
    threshold: np.ndarray | None
    initial_potential: np.ndarray
    bias: np.ndarray
    edges: tuple[IncomingEdge, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class OutputAxons:
    """The route from one core to another: every spike of ``pixels`` goes to ``axons`` there.

    Attributes:
        source, target: core slots, indices into ``CoreMapping.cores``.
        pixels: the source core's own pixels (row, column in its tile), shape ``(S, 2)``.
        axons: number of each pixel's input axon at the target, shape ``(S,)``.
    """

    source: int
    target: int
    pixels: np.ndarray
    axons: np.ndarray


def core_programs(mapping: CoreMapping, population: str) -> Iterator[CoreProgram]:
    """The programs of a population's cores, one by one, in the order of ``CoreMapping.cores_of``."""
    neurons = mapping.network[population]
    assert not isinstance(neurons, IntegerInput), "the host sends the pixels"
    synapses = mapping.network.incoming(population)
    shapes = {s.source: mapping.network[s.source].shape for s in synapses}
    links = {s.source: connectivity(s, shapes[s.source]) for s in synapses}
    kernels = {s.source: kernel(s, shapes[s.source]) for s in synapses}
    for core in mapping.cores_of(population):
        threshold, initial_potential, bias = (
            np.broadcast_to(field, neurons.shape)[core.tile.slices].reshape(-1).copy()
            for field in _parameters(neurons)
        )
        yield CoreProgram(
            core=core,
            num_replicas=mapping.num_replicas(population),
            threshold=None if isinstance(neurons, IntegerReadout) else threshold,
            initial_potential=initial_potential,
            bias=bias,
            edges=tuple(
                _incoming_edge(
                    s,
                    links[s.source],
                    kernels[s.source],
                    core.tile,
                    num_senders=len(_heard(mapping, s, core.replica)),
                    slots=mapping.provisioning.slots_per_replica(s.source, s.target),
                    frames=mapping.frames_held[s.source, s.target],
                )
                for s in synapses
            ),
        )


def _heard(mapping: CoreMapping, synapse: IntegerSynapse, replica: int) -> list[int]:
    """Replicas of the source that send to one of the target, in the order of its axons."""
    return [source for source, target, _ in mapping.senders(synapse) if target == replica]


def output_axons(mapping: CoreMapping, synapse: IntegerSynapse) -> Iterator[OutputAxons]:
    """The routes of one synapse between cores, in order of the target's cores."""
    source, target = mapping.grids[synapse.source], mapping.grids[synapse.target]
    links = connectivity(synapse, mapping.network[synapse.source].shape)
    # source channels, rows and columns that reach each target block
    reaching = [
        [np.flatnonzero(matrix[a:b].any(axis=0)) for a, b in pairwise(edges)]
        for matrix, edges in zip(links.axes, target.edges, strict=True)
    ]
    for replica in range(mapping.num_replicas(synapse.target)):
        senders = [
            mapping.core_slots_of(synapse.source, i) for i in _heard(mapping, synapse, replica)
        ]
        for target_slot, blocks in zip(
            mapping.core_slots_of(synapse.target, replica), np.ndindex(target.shape), strict=True
        ):
            channels, rows, columns = (reaching[axis][block] for axis, block in enumerate(blocks))
            for number, tile in enumerate(source.tiles):
                own_rows, own_columns = _within(rows, tile.rows), _within(columns, tile.columns)
                if not all(map(len, (own_rows, own_columns, _within(channels, tile.channels)))):
                    continue
                pixels = _pairs(
                    rows[own_rows] - tile.rows[0], columns[own_columns] - tile.columns[0]
                )
                axons = np.add.outer(own_rows * len(columns), own_columns).reshape(-1)
                for index, source_slots in enumerate(senders):
                    yield OutputAxons(
                        source=source_slots[number],
                        target=target_slot,
                        pixels=pixels,
                        axons=index * len(rows) * len(columns) + axons,
                    )


def _within(indices: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Places of those indices that lie in a block."""
    return np.flatnonzero((indices >= block[0]) & (indices < block[1]))


def _parameters(
    neurons: IntegerSpiking | IntegerReadout,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Threshold, initial potential and bias; a readout starts at 0 and never spikes."""
    match neurons:
        case IntegerSpiking():
            return neurons.threshold, neurons.initial_potential, neurons.bias
        case IntegerReadout():
            nothing = np.zeros((1, 1, 1), np.int64)
            return nothing, nothing, neurons.bias
        case _:
            assert_never(neurons)


def _incoming_edge(
    synapse: IntegerSynapse,
    links: Connectivity,
    weights: np.ndarray,
    tile: Tile,
    *,
    num_senders: int,
    slots: int,
    frames: int,
) -> IncomingEdge:
    """Axons of all source pixels that reach a tile, and one synapse list for each pattern of taps."""
    row_patterns = _Patterns.of(links.row_taps[:, slice(*tile.rows)])
    column_patterns = _Patterns.of(links.column_taps[:, slice(*tile.columns)])
    width = tile.columns[1] - tile.columns[0]
    mine = weights[slice(*tile.channels)]
    synapse_lists = []
    for row_taps in row_patterns.taps:
        by_row = np.tensordot(mine, row_taps, axes=(2, 0))  # (o, i, l, R)
        for column_taps in column_patterns.taps:
            block = np.tensordot(by_row, column_taps, axes=(2, 0))  # (o, i, R, C)
            outputs, inputs, height, reach = block.shape
            pixel = np.add.outer(np.arange(height) * width, np.arange(reach))
            offsets = np.add.outer(np.arange(outputs) * tile.positions, pixel)
            synapse_lists.append(
                SynapseList(
                    offsets=offsets.reshape(-1),
                    weights=np.ascontiguousarray(block.swapaxes(0, 1).reshape(inputs, -1)),
                )
            )
    lists = np.add.outer(row_patterns.numbers * len(column_patterns.taps), column_patterns.numbers)
    bases = np.add.outer(row_patterns.first * width, column_patterns.first)
    return IncomingEdge(
        source=synapse.source,
        exponent=synapse.exponent,
        pixels=np.tile(_pairs(row_patterns.sources, column_patterns.sources), (num_senders, 1)),
        lists=np.tile(lists.reshape(-1), num_senders),
        bases=np.tile(bases.reshape(-1), num_senders),
        synapse_lists=tuple(synapse_lists),
        integrating=np.arange(slots),
        firing=np.arange(slots),
        frames=frames,
    )


@dataclass(frozen=True, eq=False)
class _Patterns:
    """Patterns of taps of the sources that reach a block along one axis.

    Attributes:
        sources: their indices, shape ``(S,)``.
        numbers: index in ``taps`` of each source's pattern.
        first: first target in the block that each source reaches.
        taps: distinct patterns, each ``(kernel taps, targets from the first to the last)``.
    """

    sources: np.ndarray
    numbers: np.ndarray
    first: np.ndarray
    taps: list[np.ndarray]

    @classmethod
    def of(cls, taps: np.ndarray) -> _Patterns:
        sources, numbers, first = [], [], []
        known: dict[tuple[int, bytes], int] = {}
        patterns: list[np.ndarray] = []
        for source in np.flatnonzero(taps.any(axis=(0, 1))):
            targets = np.flatnonzero(taps[:, :, source].any(axis=0))
            pattern = np.ascontiguousarray(taps[:, targets[0] : targets[-1] + 1, source])
            number = known.setdefault((pattern.shape[1], pattern.tobytes()), len(patterns))
            if number == len(patterns):
                patterns.append(pattern)
            sources.append(int(source))
            numbers.append(number)
            first.append(int(targets[0]))
        return cls(np.array(sources, int), np.array(numbers, int), np.array(first, int), patterns)


def _pairs(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Every (row, column), columns last, shape ``(rows * columns, 2)``."""
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
