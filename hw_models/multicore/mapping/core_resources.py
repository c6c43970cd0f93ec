"""How much of a core a tile uses, counted as Loihi stores feature maps.

A *population axon* belongs to one source pixel and carries the channel as its atom, so it serves all
channels up to the target's atom count. Source pixels that see the same kernel taps share one synapse
list, at different compartment bases. (After nengo-loihi's ``Synapse``: ``axon_to_weight_map`` and
``axon_compartment_bases``.)

An axon's route is fixed, so a replica sends all of its spikes to every replica of the target that works
on any of its samples, and each drops the frames of the others' samples. Spikes of two source replicas
may arrive in one tick; the axon tells them apart, so each source replica has its own axons into the same
synapse lists. The host sends an image only to the replica that works on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from hw_models.core_limits import CORE_LIMITS, CoreAmounts
from hw_models.multicore.mapping.block_counts import (
    BlockCounts,
    Histogram,
)
from hw_models.multicore.mapping.core_profiles import (
    compartment_profiles,
    synapse_formats,
    weight_bits,
)
from hw_models.multicore.mapping.cut_counts import CutCounts, cut_counts
from hw_models.multicore.mapping.tile_grid import TileGrid, combinations
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.multicore.pipeline.repetition import frames_held
from hw_models.target_description import TargetDescription
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSynapse,
    bit_planes,
)


@dataclass(frozen=True, kw_only=True)
class CoreUse(CoreAmounts):
    """How much of a core a tile uses."""

    neurons: int


@dataclass(frozen=True, eq=False)
class NetworkOnTarget:
    """A network, a target and its provisioning there.

    Attributes:
        stored_bits: width of all weights on the cores; None takes the narrowest that holds each synapse's.
    """

    network: IntegerNetwork
    target: TargetDescription
    provisioning: Provisioning
    stored_bits: int | None = None

    @cached_property
    def cuts(self) -> CutCounts:
        """Counts that all ways to cut the network share."""
        return cut_counts(self.network, self.target.atoms)

    @cached_property
    def weight_bits(self) -> dict[tuple[str, str], int]:
        return {
            (s.source, s.target): self.stored_bits or weight_bits(self.network, s)
            for s in self.network.synapses
        }

    @cached_property
    def frames_held(self) -> dict[tuple[str, str], int]:
        """Frames that a slot of each alignment buffer holds at once."""
        pipeline = pipeline_of(self.network, self.provisioning, self.target.link_ticks)
        return frames_held(pipeline)

    @cached_property
    def synapse_formats(self) -> dict[str, int]:
        return {
            p.name: synapse_formats(self.network, p.name, self.weight_bits)
            for p in self.network.populations
        }

    def available(self, limit: str) -> int:
        return int(getattr(self.target.core, limit))

    def num_cores(self, grids: Mapping[str, TileGrid]) -> dict[str, int]:
        """Cores of each population, over all of its replicas."""
        replicas = self.provisioning.num_replicas
        return {name: len(grid) * replicas(name) for name, grid in grids.items()}

    def source_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the source that send to one of the target, each on its own axons."""
        if isinstance(self.network[synapse.source], IntegerInput):
            return 1
        count = self.provisioning.num_replicas(synapse.source)
        return count // gcd(count, self.provisioning.num_replicas(synapse.target))

    def target_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the target to which one of the source sends."""
        count = self.provisioning.num_replicas(synapse.target)
        return count // gcd(count, self.provisioning.num_replicas(synapse.source))


def core_uses(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> list[CoreUse]:
    """Use of each tile."""
    blocks = [np.arange(size) for size in grid.shape]
    counts = _counted_uses(context, population, grid, consumers, blocks)
    columns = (np.broadcast_to(count, grid.shape).reshape(-1).tolist() for count in counts.values())
    return [CoreUse(**dict(zip(counts, tile, strict=True))) for tile in zip(*columns, strict=True)]


def highest_use(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> CoreUse:
    """The most that any tile uses of each limit: this has to fit.

    All but the compartments is counted once, whatever the slots of the buffers.
    """
    known, name = context.cuts.highest, population.name
    around = (*context.cuts.incoming[name], *context.cuts.outgoing[name])
    key = (
        grid,
        tuple(consumers[s.target].edges for s in context.cuts.outgoing[name]),
        tuple((context.source_replicas(s), context.target_replicas(s)) for s in around),
        context.stored_bits,
        context.target.slots_per_axon,
        context.target.synapse_memory,
    )
    if key not in known:
        blocks = _distinct_blocks(context, population, grid, consumers)
        counts = _counted_uses(context, population, grid, consumers, blocks)
        known[key] = {name: int(np.max(count)) for name, count in counts.items()}
    compartments = known[key]["neurons"] * compartments_per_neuron(context, population)
    return CoreUse(**{**known[key], "compartments": compartments})


def _distinct_blocks(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> list[np.ndarray]:
    """One of all equal blocks along each axis: most of the many blocks of a feature map are alike."""
    codes = context.cuts.thresholds(population.name).codes
    if codes is not None and codes.shape[1:] != (1, 1):
        return [np.arange(size) for size in grid.shape]
    return [context.cuts.distinct(grid, axis, consumers) for axis in range(3)]


def _counted_uses(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
    blocks: Sequence[np.ndarray],
) -> dict[str, np.ndarray | int]:
    """Neurons and each of ``CORE_LIMITS``, by name: int64 over some tiles, or one number for all.

    All counts are products of one count along each axis, so they are computed per block and combined.

    Args:
        blocks: indices of the blocks along channels, rows and columns whose combinations are counted.
    """
    network, name, cuts = context.network, population.name, context.cuts

    def combined(counts: Iterable[np.ndarray]) -> np.ndarray:
        return combinations(*(count[b] for count, b in zip(counts, blocks, strict=True)))

    words, input_axons, output_axons = np.zeros((3, *map(len, blocks)), np.int64)
    for synapse in cuts.incoming[name]:
        planes = bit_planes(network[synapse.source])
        axes = [cuts.counts(synapse, axis, grid.edges[axis]) for axis in range(3)]
        words += planes * _synapse_words(context, synapse, axes, blocks)
        axons = combined(counts.axons for counts in axes)
        input_axons += planes * context.source_replicas(synapse) * axons
    for synapse in cuts.outgoing[name]:
        edges = zip(grid.edges, consumers[synapse.target].edges, strict=True)
        sent = [cuts.sent(synapse, axis, *pair) for axis, pair in enumerate(edges)]
        output_axons += (
            context.target.slots_per_axon * context.target_replicas(synapse) * combined(sent)
        )
    channels, rows, columns = (np.diff(axis) for axis in grid.edges)
    neurons = combined((channels, rows, columns))
    return {
        "neurons": neurons,
        "compartments": neurons * compartments_per_neuron(context, population),
        "synapse_words": words,
        "input_axons": input_axons,
        "output_axons": output_axons,
        "compartment_bases": combined((np.ones_like(channels), rows, columns)),
        "threshold_profiles": cuts.profiles(grid)[np.ix_(*blocks)],
        "compartment_profiles": compartment_profiles(population),
        "synapse_formats": context.synapse_formats[name],
    }


def compartments_per_neuron(context: NetworkOnTarget, population: IntegerPopulation) -> int:
    """Compartments of each neuron: its own, unless it is of a readout, and those of its buffer slots."""
    buffers = sum(
        context.provisioning.slots_per_replica(s.source, s.target)
        * context.frames_held[s.source, s.target]
        for s in context.network.incoming(population.name)
    )
    return buffers + (0 if isinstance(population, IntegerReadout) else 1)


def excess(context: NetworkOnTarget, uses: Sequence[CoreUse]) -> dict[str, int]:
    """By how much the tiles exceed each limit that one of them exceeds."""
    worst = {n: max(getattr(use, n) for use in uses) - context.available(n) for n in CORE_LIMITS}
    return {name: amount for name, amount in worst.items() if amount > 0}


def fullest_limit(target: TargetDescription, uses: Sequence[CoreUse]) -> str:
    """The limit that a tile comes closest to, and that keeps tiles small."""
    return max(
        CORE_LIMITS,
        key=lambda limit: max(getattr(u, limit) for u in uses) / getattr(target.core, limit),
    )


def _synapse_words(
    context: NetworkOnTarget,
    synapse: IntegerSynapse,
    axes: Sequence[BlockCounts],
    pick: Sequence[np.ndarray],
) -> np.ndarray:
    """Words of the synapse lists of some tiles: one list per pattern along rows and columns and atom block.

    The length of a list is the product of one length along each axis.
    """
    bits = context.weight_bits[synapse.source, synapse.target]
    (c, num_c), (r, num_r), (k, num_k) = (_as_arrays(counts.lists) for counts in axes)
    lengths = np.multiply.outer(np.multiply.outer(c, r), k)  # (kinds, numbers) along each axis
    words = context.target.synapse_memory.words(lengths, bits)
    words = (words * num_k).sum(axis=5)
    words = (words * num_r[:, :, None]).sum(axis=3)
    words = (words * num_c[:, :, None, None]).sum(axis=1)
    return np.asarray(
        words[np.ix_(*(counts.kinds[p] for counts, p in zip(axes, pick, strict=True)))]
    )


def _as_arrays(histograms: Sequence[Histogram]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and how often each occurs, both int64 ``(histograms, numbers)``, filled up with 0."""
    filled = np.zeros((len(histograms), max(map(len, histograms)), 2), np.int64)
    for row, histogram in zip(filled, histograms, strict=True):
        row[: len(histogram)] = np.reshape(histogram, (-1, 2))
    return filled[..., 0], filled[..., 1]
