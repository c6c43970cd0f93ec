"""Time of a run without a global barrier: every core waits only for those with which it communicates.

A core starts its next tick when it and all cores with which it exchanges frames or credits have finished
theirs (the local synchronizer "alpha" of Awerbuch, J. ACM 32(4), 1985), and ends it when its sources have
sent their spikes of the same tick and these have come through the mesh. Ticks, integers and stalls are the
same as with the barrier; only seconds change::

    start_i(n) = max(end_i(n - 1), end_j(n - 1) of every neighbour j)
    end_i(n)   = max(start_i(n) + max(computing_i(n), arrivals_i(n)),
                     start_j(n) + max(sending_j(n), arrivals_i(n)) of every source j)

where sending is the part of computing up to the last spike: other cores look up its synapses at the same
time, as with the barrier. We assume that queues in the mesh are as long as with the barrier.

A slow core delays its neighbours, one tick later their neighbours, and so on, instead of the whole chip at
once. We assume that handshakes cost nothing compared with messages, so this is the most that a chip without a
barrier can gain. It cannot lose: after the last core has ended a tick, every core ends the next one within
the time of the slowest core, so the last end advances by at most the duration of a tick with a barrier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.cost.event_counts import Events
from hw_models.multicore.cost.steady_pace import SteadyState
from hw_models.multicore.cost.tick_cost import arrivals_ns, computing_ns, neurons_ns
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.target_description import CostProfile

_MOST_PERIODS = 64
"""Most repetitions of the steady state's window until the cores advance at a common pace."""


@dataclass(frozen=True, kw_only=True)
class AsynchronousTime:
    """The times of a ``SteadyCost`` without the barrier.

    Attributes:
        first_latency_s, interval_s: as in ``SteadyCost``.
    """

    first_latency_s: float
    interval_s: float


def asynchronous_time(
    mapping: CoreMapping, profile: CostProfile, steady: SteadyState, events: Events
) -> AsynchronousTime:
    """Seconds of a steady state whose events were counted."""
    first = steady.schedule.first_latency_ticks
    readout = mapping.core_slots_of(mapping.network.readout.name, 0)  # has the first sample
    latency_ns = tick_ends_ns(mapping, profile, events[:first])[readout, -1].max()
    period_ns = steady_pace_ns(mapping, profile, events[first:])
    return AsynchronousTime(
        first_latency_s=float(latency_ns) * 1e-9,
        interval_s=period_ns * 1e-9 / steady.num_samples,
    )


def steady_pace_ns(mapping: CoreMapping, profile: CostProfile, events: Events) -> float:
    """Duration of some ticks that are repeated for ever.

    The rules are linear in the max-plus sense, so all cores advance by the same duration per repetition
    in the end. If they do not after ``_MOST_PERIODS``, the result is the last core's mean over the second
    half of these, which is at most the duration with a barrier.
    """
    durations = _Durations.of(profile, events)
    rules = _Rules.of(mapping)
    ends = np.zeros(len(mapping.cores))
    last: list[float] = [0.0]
    for _ in range(_MOST_PERIODS):
        before = ends
        ends = rules.ends(before, durations)[:, -1]
        last.append(float(ends.max()))
        advanced = ends - before
        if np.ptp(advanced) <= 1e-9 * advanced.max():
            return last[-1] - last[-2]
    return (last[-1] - last[_MOST_PERIODS // 2]) / (_MOST_PERIODS - _MOST_PERIODS // 2)


def tick_ends_ns(mapping: CoreMapping, profile: CostProfile, events: Events) -> np.ndarray:
    """Time at which each core ends each tick, if all start together, shape ``(cores, ticks)``."""
    start = np.zeros(len(mapping.cores))
    return _Rules.of(mapping).ends(start, _Durations.of(profile, events))


@dataclass(frozen=True, eq=False)
class _Durations:
    """Durations of each core in each tick in ns, each of shape ``(cores, ticks)``."""

    computing: np.ndarray
    sending: np.ndarray
    arrivals: np.ndarray

    @classmethod
    def of(cls, profile: CostProfile, events: Events) -> _Durations:
        parts = computing_ns, neurons_ns, arrivals_ns
        return cls(*(part(profile, events) for part in parts))


@dataclass(frozen=True, eq=False)
class _Rules:
    """The cores for which each core waits, to start a tick and to end it."""

    neighbours: _Groups
    senders: _Groups

    @classmethod
    def of(cls, mapping: CoreMapping) -> _Rules:
        sources, targets = _talking(mapping)
        both = np.concatenate([targets, sources]), np.concatenate([sources, targets])
        return cls(_Groups.of(*both), _Groups.of(targets, sources))

    def ends(self, before: np.ndarray, durations: _Durations) -> np.ndarray:
        """Time at which each core ends each tick, shape ``(cores, ticks)``.

        Args:
            before: when each core ended the tick before the first, shape ``(cores,)``.
        """
        ends = np.empty_like(durations.computing)
        for tick in range(ends.shape[1]):
            starts = self.neighbours.latest(before)
            computed = starts + durations.computing[:, tick]
            sent = self.senders.latest(starts + durations.sending[:, tick])
            arrived = self.senders.latest(starts) + durations.arrivals[:, tick]
            before = ends[:, tick] = np.maximum.reduce([computed, sent, arrived])
        return ends


def _talking(mapping: CoreMapping) -> tuple[np.ndarray, np.ndarray]:
    """Core slots of all pairs (source, target) that communicate; each core is paired with itself, too."""
    itself = np.arange(len(mapping.cores))
    routes = [(route.source, route.target) for route in mapping.routes()]
    sources = np.concatenate([itself, *(source for source, _ in routes)])
    targets = np.concatenate([itself, *(target for _, target in routes)])
    return sources, targets


@dataclass(frozen=True, eq=False)
class _Groups:
    """For each core, a group of cores for which it waits.

    Attributes:
        first: start of each core's group in ``members``; no group is empty.
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
