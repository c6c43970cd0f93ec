"""Time between results once the pipeline is full, and whose cores set it.

A run begins with an empty pipeline and ends with one that empties. Where as many samples as the pipeline can
hold come before and after, the middle of a run is the steady state, but for what is left of the transient.
It is an estimate like all seconds; the closed-form interval in ticks is exact.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass

import numpy as np

from hw_models.multicore.event_counts import Events
from hw_models.multicore.mapping import Mapping
from hw_models.multicore.pipeline import Pipeline
from hw_models.multicore.pipeline_ticks import Schedule, schedule_pipeline
from hw_models.multicore.tick_cost import core_ticks_ns
from hw_models.target_description import CostProfile


@dataclass(frozen=True, kw_only=True)
class SteadyPace:
    """The steady state under one cost profile.

    Attributes:
        interval_s: seconds between results.
        shares: by population, part of the time, barriers apart, that one of its cores is the slowest.
    """

    interval_s: float
    shares: ReadOnlyDict[str, float]


def steady_schedule(pipeline: Pipeline, num_results: int) -> Schedule:
    """A run whose middle has so many intervals in the steady state."""
    return schedule_pipeline(pipeline, 2 * _in_flight(pipeline) + num_results + 1)


def steady_pace(
    mapping: Mapping, profile: CostProfile, schedule: Schedule, events: Events
) -> SteadyPace:
    """Of the middle of a run that ``steady_schedule`` made."""
    fill = _in_flight(schedule.pipeline)
    done = schedule.completion_ticks
    middle = slice(int(done[fill]), int(done[-1 - fill]))
    per_core_ns = core_ticks_ns(profile, events)[:, middle]
    tick_ns, slowest = per_core_ns.max(axis=0), per_core_ns.argmax(axis=0)
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    firsts = np.array([mapping.first_core[name] for name in mapping.grids])
    owner = np.searchsorted(firsts, slowest, side="right") - 1
    time_ns = np.bincount(owner, weights=tick_ns, minlength=len(firsts))
    return SteadyPace(
        interval_s=float(tick_ns.sum() + barrier_ns * len(tick_ns))
        * 1e-9
        / (len(done) - 1 - 2 * fill),
        shares=dict(zip(mapping.grids, (time_ns / tick_ns.sum()).tolist(), strict=True)),
    )


def _in_flight(pipeline: Pipeline) -> int:
    """Most samples that a full pipeline holds: each takes a slot of every buffer on a way it is on."""
    held: dict[str, int] = {}
    for name in pipeline.windows:  # in topological order
        held[name] = max((held[b.source] + b.slots for b in pipeline.incoming(name)), default=0)
    return max(held.values())
