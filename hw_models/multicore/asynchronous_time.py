"""Time of a run without a global barrier: every core keeps in step only with those it talks to.

A core starts its next tick when it and all cores that it exchanges frames or credits with have finished
theirs (the local synchronizer "alpha" of Awerbuch, J. ACM 32(4), 1985), and ends it when its sources have
sent their spikes of the same tick and these have come through the mesh. Ticks, integers and stalls are those
of the barrier; only seconds change::

    start_i(n) = max(end_i(n - 1), end_j(n - 1) of every neighbour j)
    end_i(n)   = max(start_i(n) + computing_i(n),
                     start_j(n) + max(sending_j(n), arrivals_i(n)) of every source j)

where sending is the part of computing up to the last spike: synapses are looked up beside it, as under the
barrier. Queues in the mesh are taken to be as long as under the barrier.

A slow core delays its neighbours, theirs a tick later, and so on, instead of the whole chip at once.
The handshakes are taken to cost nothing beside the messages, so this bounds what a chip without a
barrier can gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.event_counts import Events
from hw_models.multicore.mapping import Mapping
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.tick_cost import arrivals_ns, computing_ns, interval_between, neurons_ns
from hw_models.target_description import CostProfile
from toolchain.integer_network import readout_population


@dataclass(frozen=True, kw_only=True)
class AsynchronousTime:
    """The run of a ``RunCost`` with neighbours in step in place of the barrier.

    Attributes:
        total_s, first_latency_s, interval_s: as in ``RunCost``.
    """

    total_s: float
    first_latency_s: float
    interval_s: float


def asynchronous_time(
    mapping: Mapping, profile: CostProfile, schedule: Schedule, events: Events
) -> AsynchronousTime:
    """Seconds of a scheduled run whose events were counted."""
    durations = (part(profile, events) for part in (computing_ns, neurons_ns, arrivals_ns))
    ends_s = _tick_ends(mapping, *durations) * 1e-9
    readout = [
        row
        for row, core in enumerate(mapping.cores)
        if core.tile.population == readout_population(mapping.network).name
    ]
    done_s = ends_s[readout].max(axis=0)[schedule.completion_ticks - 1]
    return AsynchronousTime(
        total_s=float(ends_s[:, -1].max()),
        first_latency_s=float(done_s[0]),
        interval_s=interval_between(done_s),
    )


def _tick_ends(
    mapping: Mapping, computing: np.ndarray, sending: np.ndarray, arrivals: np.ndarray
) -> np.ndarray:
    """When each core ends each tick, ns, shape ``(cores, ticks)``."""
    sources, targets = _talking(mapping)
    neighbours = _Groups.of(np.concatenate([targets, sources]), np.concatenate([sources, targets]))
    senders = _Groups.of(targets, sources)
    ends = np.empty_like(computing)
    before = np.zeros(len(computing))
    for tick in range(computing.shape[1]):
        starts = neighbours.latest(before)
        sent = senders.latest(starts + sending[:, tick])
        arrived = senders.latest(starts) + arrivals[:, tick]
        before = ends[:, tick] = np.maximum.reduce([starts + computing[:, tick], sent, arrived])
    return ends


def _talking(mapping: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (source, target) of cores, rows of ``Mapping.cores``; each core with itself, too."""
    itself = np.arange(len(mapping.cores))
    routes = [(route.source, route.target) for route in mapping.routes()]
    sources = np.concatenate([itself, *(source for source, _ in routes)])
    targets = np.concatenate([itself, *(target for _, target in routes)])
    return sources, targets


@dataclass(frozen=True, eq=False)
class _Groups:
    """For each core the cores it waits for, one core after another.

    Attributes:
        first: where each core's own begin in ``members``; none is empty.
    """

    first: np.ndarray
    members: np.ndarray

    @classmethod
    def of(cls, waiting: np.ndarray, waited_for: np.ndarray) -> _Groups:
        order = np.argsort(waiting, kind="stable")
        first = np.searchsorted(waiting[order], np.arange(waiting.max() + 1))
        return cls(first, waited_for[order])

    def latest(self, values: np.ndarray) -> np.ndarray:
        """The largest value of each core's group."""
        return np.maximum.reduceat(values[self.members], self.first)
