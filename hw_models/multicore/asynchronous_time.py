"""Time of a run without a global barrier: every core keeps in step only with those it talks to.

A core starts its next tick when it and all cores that it exchanges frames or credits with have finished
theirs (the local synchronizer "alpha" of Awerbuch, J. ACM 32(4), 1985). A frame or credit is then there
when its tick begins, so ticks, integers and stalls are those of the barrier; only seconds change::

    end_i(n) = computing_i(n) + max(end_i(n - 1), end_j(n - 1) of every neighbour j)

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
from hw_models.multicore.tick_cost import computing_ns, interval_between
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
    ends_s = _tick_ends(mapping, computing_ns(profile, events)) * 1e-9
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


def _tick_ends(mapping: Mapping, per_core_ns: np.ndarray) -> np.ndarray:
    """When each core ends each tick, ns, shape ``(cores, ticks)``."""
    of, waits_for = _neighbours(mapping)
    first_of_core = np.searchsorted(of, np.arange(len(per_core_ns)))
    ends = np.empty_like(per_core_ns)
    before = np.zeros(len(per_core_ns))
    for tick in range(per_core_ns.shape[1]):
        starts = np.maximum.reduceat(before[waits_for], first_of_core)
        before = ends[:, tick] = starts + per_core_ns[:, tick]
    return ends


def _neighbours(mapping: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (core, core it waits for), rows of ``Mapping.cores`` sorted by the first; itself included."""
    itself = np.arange(len(mapping.cores))
    routes = [(route.source, route.target) for route in mapping.routes()]
    ahead = np.concatenate([itself, *(source for source, _ in routes)])
    behind = np.concatenate([itself, *(target for _, target in routes)])
    of, waits_for = np.concatenate([behind, ahead]), np.concatenate([ahead, behind])
    order = np.argsort(of, kind="stable")
    return of[order], waits_for[order]
