"""The steady state of a pipeline that is shown the same few samples again and again, and its cost.

A self-timed schedule repeats itself after a transient: from some sample on, every step of sample k + c comes
exactly p ticks after the same step of sample k (Baccelli et al., "Synchronization and Linearity", 1992,
section 3.7). p / c is the initiation interval, which may be a fraction. Figures are means over a whole number
of periods of the schedule, of the samples shown and of the replicas. So they are exact for the schedule, and
do not depend on the length of any run.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass
from functools import cached_property
from math import lcm

import numpy as np

from hw_models.multicore.cost.event_counts import Events, count_events
from hw_models.multicore.cost.tick_cost import Cost, tick_durations_ns, ticks_cost
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import (
    ACTIVITIES,
    Activity,
    Schedule,
    Span,
    schedule_pipeline,
)
from hw_models.multicore.pipeline.repetition import repeats_from
from hw_models.target_description import CostProfile

MOST_SAMPLES = 1_024
"""Longest window, in samples. If the period is longer, figures are right to one tick per window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SteadyState:
    """A whole number of periods of a pipeline's steady state.

    Attributes:
        schedule: a run that begins with an empty pipeline and continues after ``ticks``.
        ticks: the ticks of these periods.
        num_samples: samples whose results come in these ticks.
    """

    schedule: Schedule
    ticks: range
    num_samples: int

    @property
    def counted_ticks(self) -> np.ndarray:
        """The ticks whose events are counted: all up to the first result, then ``ticks``."""
        return np.concatenate([np.arange(self.schedule.first_latency_ticks), self.ticks])

    @cached_property
    def _spans(self) -> ReadOnlyDict[str, tuple[Span, ...]]:
        return self.schedule.spans_in(self.ticks)

    def activity_shares(self, stage: str) -> dict[Activity, float]:
        """Shares of the steady state in which a stage is busy, starved and blocked; they sum to 1."""
        ticks = dict.fromkeys(ACTIVITIES, 0)
        for span in self._spans[stage]:
            inside = min(span.stop, self.ticks.stop) - max(span.start, self.ticks.start)
            ticks[span.activity] += max(inside, 0)
        return {a: count / len(self.ticks) for a, count in ticks.items() if a != "drained"}

    def count_events(
        self, mapping: CoreMapping, pixels: np.ndarray, trains: ReadOnlyDict[str, np.ndarray]
    ) -> Events:
        """Events of ``counted_ticks``; the samples are shown in turn."""
        return count_events(mapping, self.schedule, pixels, trains, self.counted_ticks)


@dataclass(frozen=True, kw_only=True)
class SteadyCost(Cost):
    """Cost per sample in the steady state, and of the first sample of all.

    Attributes:
        first_latency_s: from the start with an empty pipeline to the first sample's logits.
    """

    first_latency_s: float


def steady_state(pipeline: Pipeline, num_shown: int) -> SteadyState:
    """The steady state in which ``num_shown`` samples are shown in turn, each equally often."""
    first, period, _ = repeats_from(pipeline)
    replicas = [pipeline.num_replicas(name) for name in pipeline.windows]
    num_samples = _window(num_shown, period, lcm(*replicas))
    settled = max(first + period, *replicas)  # each replica has had a sample
    after = _in_flight(pipeline) + max(replicas) + 1  # so that no stage runs dry in the window
    schedule = schedule_pipeline(pipeline, settled + num_samples + after)
    # after all events of the samples before: their last sums are integrated in the next tick
    start = max(int(steps[:settled].max()) for steps in schedule.step_ticks.values()) + 2
    ticks = num_samples * initiation_interval(pipeline).ticks
    return SteadyState(
        schedule=schedule, ticks=range(start, start + round(ticks)), num_samples=num_samples
    )


def steady_cost(
    mapping: CoreMapping, profile: CostProfile, steady: SteadyState, events: Events
) -> SteadyCost:
    """Cost of a steady state whose events were counted."""
    first = steady.schedule.first_latency_ticks
    cost = ticks_cost(
        mapping, profile, steady.schedule, events[first:], steady.ticks, steady.num_samples
    )
    latency_ns = tick_durations_ns(mapping, profile, events[:first]).sum()
    return SteadyCost(**vars(cost), first_latency_s=float(latency_ns) * 1e-9)


def _window(num_shown: int, period: int, replica_period: int) -> int:
    """Samples in which samples shown, schedule and replicas repeat; the last are dropped if too many."""
    for whole in (lcm(num_shown, period, replica_period), lcm(num_shown, period)):
        if whole <= MOST_SAMPLES:
            return whole
    return max(MOST_SAMPLES // num_shown, 1) * num_shown


def _in_flight(pipeline: Pipeline) -> int:
    """Most samples that a full pipeline holds: the most slots on a path through its buffers."""
    upstream: dict[str, int] = {}
    for name in pipeline.windows:  # in topological order
        paths = (upstream[b.source] + b.slots for b in pipeline.incoming(name))
        upstream[name] = max(paths, default=0)
    return max(upstream.values())
