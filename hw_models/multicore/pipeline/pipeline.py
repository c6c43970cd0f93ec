"""The self-timed pipeline: stages with firing windows, joined by alignment buffers with D slots.

A population has R replicas, 1 unless it is replicated: replica r works on samples r, r + R, ..., one at
a time. Each replica is a *stage*. Nothing is scheduled centrally. A stage fires a step in the first tick
that satisfies three rules::

    order    one step per tick, window after window: x_q(k,t) >= x_q(k,t-1) + 1
                                                     x_q(k,0) >= x_q(k-R_q,T_q-1) + 1
    frames   all frames of the step have arrived:    x_q(k,t) >= x_p(k,u)   + 1 + link_ticks
    credits  each target has a free slot:            x_p(k,0) >= x_q(k-D,T_q-1) + 1 + link_ticks

where ``x_p(k,t)`` is the tick of step t of sample k. An averaging edge needs the source's last frame
before the window starts; ``replicate`` and ``truncate`` need, for each step, the frame that the
alignment selects. A slot is in use from the source's first step to the target's last. D counts the slots
of all replicas of the target, each of which has D / R_q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from operator import attrgetter

import networkx as nx

from hw_models.multicore.pipeline.provisioning import Provisioning, Replicas, check_provisioning
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.network import step_frames


@dataclass(frozen=True, kw_only=True)
class AlignmentBuffer:
    """The buffer of one synapse.

    Attributes:
        slots: D, the number of samples that all replicas of the target together can hold.
        frames: source frame that each target step reads; None if the edge averages all frames.
    """

    source: str
    target: str
    slots: int
    frames: tuple[int | None, ...] | None

    @property
    def edge(self) -> tuple[str, str]:
        return self.source, self.target

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Populations in topological order with their window lengths, and the buffers between them.

    Attributes:
        windows: T_l in ticks, by population name.
        link_ticks: delay of a frame forward, and of a credit backward.
        replicas: R of the replicated populations.
        equal_windows: groups of populations whose windows must be equally long, because exact max pooling
            compares their counts; in topological order.
    """

    windows: Mapping[str, int]
    buffers: tuple[AlignmentBuffer, ...]
    link_ticks: int
    replicas: Replicas = field(default_factory=dict)
    equal_windows: tuple[tuple[str, ...], ...] = ()

    @property
    def readout(self) -> str:
        """The population whose last step completes the result: the last one."""
        *_, last = self.windows
        return last

    def num_replicas(self, name: str) -> int:
        return self.replicas.get(name, 1)

    def stages(self, name: str) -> tuple[str, ...]:
        """Names of a population's stages, replica by replica; its own name if it has one replica."""
        count = self.num_replicas(name)
        return tuple(stage_name(name, replica, count) for replica in range(count))

    def incoming(self, name: str) -> tuple[AlignmentBuffer, ...]:
        return self._incoming.get(name, ())

    def outgoing(self, name: str) -> tuple[AlignmentBuffer, ...]:
        return self._outgoing.get(name, ())

    @cached_property
    def _incoming(self) -> dict[str, tuple[AlignmentBuffer, ...]]:
        return _grouped(self.buffers, attrgetter("target"))

    @cached_property
    def _outgoing(self) -> dict[str, tuple[AlignmentBuffer, ...]]:
        return _grouped(self.buffers, attrgetter("source"))


def _grouped(
    buffers: Iterable[AlignmentBuffer], key: Callable[[AlignmentBuffer], str]
) -> dict[str, tuple[AlignmentBuffer, ...]]:
    groups: dict[str, list[AlignmentBuffer]] = {}
    for buffer in buffers:
        groups.setdefault(key(buffer), []).append(buffer)
    return {name: tuple(group) for name, group in groups.items()}


def stage_name(population: str, replica: int, num_replicas: int) -> str:
    return population if num_replicas == 1 else f"{population}#{replica}"


def replica_pairs(num_sources: int, num_targets: int) -> list[tuple[int, int]]:
    """Replicas of a source and of a target that have samples in common, in order of the target's.

    Replicas k mod R_p and k mod R_q work on sample k; they agree modulo the greatest common divisor.
    """
    common = gcd(num_sources, num_targets)
    return [
        (source, target)
        for target in range(num_targets)
        for source in range(target % common, num_sources, common)
    ]


def pipeline_of(network: IntegerNetwork, provisioning: Provisioning, link_ticks: int) -> Pipeline:
    """The pipeline of a network.

    Raises:
        OptionError: ``check_provisioning`` refuses the provisioning.
    """
    check_provisioning(network, provisioning)
    buffers = tuple(
        AlignmentBuffer(
            source=s.source,
            target=s.target,
            slots=provisioning.slots[s.source, s.target],
            frames=None if s.alignment == "average" else step_frames(network, s),
        )
        for s in network.synapses
    )
    windows = {p.name: p.timesteps for p in network.populations}
    return Pipeline(
        windows=windows,
        buffers=buffers,
        link_ticks=link_ticks,
        replicas=provisioning.replicas,
        equal_windows=_equal_windows(network),
    )


def _equal_windows(network: IntegerNetwork) -> tuple[tuple[str, ...], ...]:
    """Each population of role ``maximum`` together with its sources; groups that overlap are one."""
    compared: nx.Graph = nx.Graph()
    for population in network.spiking:
        if population.role == "maximum":
            compared.add_edges_from((s.source, s.target) for s in network.incoming(population.name))
    position = {p.name: number for number, p in enumerate(network.populations)}
    groups = [sorted(g, key=position.__getitem__) for g in nx.connected_components(compared)]
    return tuple(tuple(group) for group in groups)
