"""The sums into one population, as the array takes them: stages of each synapse, and joins of synapses.

A *stage* is one map of a synapse that adds up, together with the selections around it. Every stage but the
last leaves a map that the next one reads.

Synapses that reach the same channels add to the same partial sums. Where they reach other channels, as the
parts of a concatenation do, each set of channels is a *part* of its own: its node unit fires as soon as the
synapses of the part are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from hw_models.pe_array.address_maps import (
    AddressedMap,
    Selection,
    addressed_map,
    gathered,
    is_selection,
    taken,
)
from hw_models.pe_array.maximum_pools import MaximumPool, maximum_pools
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse
from toolchain.networks.linear_maps import Dense, IntegerMap, Shape, SumPool, WeightedMap

_COPY = SumPool(kernel=(1, 1), stride=(1, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One map of a synapse, as one kernel runs it.

    Attributes:
        stored: shape of the map in memory that it reads, flattened for a dense layer.
        has_weights: it multiplies by weights; otherwise every weight is 1 and none is read.
        takes_maximum: it compares whole operands instead of adding them.
    """

    mapped: AddressedMap
    stored: Shape
    has_weights: bool
    takes_maximum: bool = False

    @property
    def left(self) -> Shape:
        """Shape of the map that it leaves in memory."""
        return len(self.mapped.targets), *self.mapped.size


@dataclass(frozen=True, kw_only=True, eq=False)
class StagedSynapse:
    """A synapse with its stages; synapses that together read a maximum are the one from its source."""

    synapse: IntegerSynapse
    stages: tuple[Stage, ...]

    @property
    def targets(self) -> np.ndarray:
        """Channels of the target that it adds to, ascending."""
        return self.stages[-1].mapped.targets

    def covering(self, targets: np.ndarray) -> StagedSynapse:
        """The synapse with more channels of the target, to which it adds zeros."""
        last = replace(self.stages[-1], mapped=self.stages[-1].mapped.covering(targets))
        return replace(self, stages=(*self.stages[:-1], last))


def _staged_pool(network: IntegerNetwork, pool: MaximumPool) -> StagedSynapse:
    """A pass of comparators, and the maps that read the maximum."""
    comparing = Stage(
        mapped=gathered(pool.rows, pool.columns, pool.channels),
        stored=network[pool.source].shape,
        has_weights=False,
        takes_maximum=True,
    )
    synapse = next(synapse for synapse in pool.members if synapse.source == pool.source)
    stages = (comparing, *_stages(pool.following, comparing.left))
    return StagedSynapse(synapse=synapse, stages=stages)


def _stages(maps: Sequence[IntegerMap], source: Shape) -> tuple[Stage, ...]:
    """The stages of a chain of maps on a feature map of that shape."""
    shape, reads = source, Selection.whole(source)
    sums: list[tuple[IntegerMap, Selection]] = []
    for linear_map in maps:
        following = linear_map.output_shape(shape)
        if is_selection(linear_map, shape):
            assert not isinstance(linear_map, WeightedMap)
            reads = reads.then(linear_map)
        else:
            sums.append((linear_map, reads))
            reads = Selection.whole(following)
        shape = following
    if reads.repeats_positions:  # copies are made of sums, which are not computed twice
        sums.append((_COPY, reads))
        reads = Selection.whole(shape)
    stages: list[Stage] = []
    stored, kept = source, np.arange(source[0])
    for index, (linear_map, selected) in enumerate(sums):
        selected = replace(selected, channels=taken(kept, selected.channels))
        writes = reads if index == len(sums) - 1 else None
        stage = Stage(
            mapped=addressed_map(linear_map, selected, stored, writes),
            stored=(prod(stored), 1, 1) if isinstance(linear_map, Dense) else stored,
            has_weights=isinstance(linear_map, WeightedMap),
        )
        stages.append(stage)
        if index < len(sums) - 1:
            num_channels = linear_map.output_shape(selected.shape)[0]
            stored, kept = stage.left, _positions(stage.mapped.targets, num_channels)
    return tuple(stages)


def _positions(targets: np.ndarray, num_channels: int) -> np.ndarray:
    """Position of each channel among those that are kept, -1 for the others."""
    positions = np.full(num_channels, -1)
    positions[targets] = np.arange(len(targets))
    return positions


def population_parts(network: IntegerNetwork, name: str) -> list[list[StagedSynapse]]:
    """The synapses into a population in parts, each with the same channels; all channels are in one part.

    If the channels of two synapses overlap in part, there is one part, in which each synapse adds zeros to
    the channels that it does not reach. The last part has the channels that no synapse reaches. A synapse
    that reaches no channel at all is not run, unless it is the only one.
    """
    pools = {synapse: pool for pool in maximum_pools(network, name) for synapse in pool.members}
    synapses = []
    for synapse in network.incoming(name):
        if synapse not in pools:
            stages = _stages(synapse.maps, network[synapse.source].shape)
            synapses.append(StagedSynapse(synapse=synapse, stages=stages))
        elif synapse.source == pools[synapse].source:
            synapses.append(_staged_pool(network, pools[synapse]))
    synapses = [synapse for synapse in synapses if len(synapse.targets)] or synapses[:1]
    parts: dict[bytes, list[StagedSynapse]] = {}
    for staged in synapses:
        parts.setdefault(staged.targets.tobytes(), []).append(staged)
    reached = np.zeros(network[name].shape[0], np.int64)  # by how many parts
    for part in parts.values():
        reached[part[0].targets] += 1
    if reached.max() > 1:
        return [_covering(synapses, np.arange(len(reached)))]
    *others, last = parts.values()
    rest = np.flatnonzero(reached == 0)
    return [*others, _covering(last, np.union1d(last[0].targets, rest))]


def _covering(synapses: Sequence[StagedSynapse], targets: np.ndarray) -> list[StagedSynapse]:
    return [synapse.covering(targets) for synapse in synapses]
