"""The tick of every step of every sample, and the activity of each stage in all other ticks.

Event-driven: the rules of ``pipeline`` are a max-plus recurrence, which is evaluated once per window (once
per step if the alignment selects frames), never tick by tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline

Activity: TypeAlias = Literal["busy", "starved", "blocked", "drained"]
ACTIVITIES: tuple[Activity, ...] = ("busy", "starved", "blocked", "drained")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive ticks ``start <= tick < stop`` of one activity of a stage.

    Attributes:
        sample: the sample on which it works or waits to work; -1 if no sample is left.
        cause: the edge for which it waits, if it is starved or blocked.
    """

    start: int
    stop: int
    activity: Activity
    sample: int
    cause: tuple[str, str] | None = None

    @property
    def num_ticks(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """A run of K samples.

    Attributes:
        num_ticks: length R of the run, the tick after the last step of the last population.
        step_ticks: per population the tick of each step, int64 of shape ``(K, T_l)``.
        spans: per stage its whole run, ``0 .. num_ticks`` without gaps; see ``Pipeline.stages``.
    """

    pipeline: Pipeline
    num_samples: int
    num_ticks: int
    step_ticks: Mapping[str, np.ndarray]
    spans: Mapping[str, tuple[Span, ...]]

    @property
    def completion_ticks(self) -> np.ndarray:
        """Ticks after which each sample's logits are complete, shape ``(K,)``.

        Other populations may still fire: no step needs their last frames if alignments truncate.
        """
        return self.step_ticks[self.pipeline.readout][:, -1] + 1

    @property
    def first_latency_ticks(self) -> int:
        return int(self.completion_ticks[0])

    def activity_ticks(self, stage: str) -> dict[Activity, int]:
        """Busy, starved, blocked and drained ticks of a stage; they sum to ``num_ticks``."""
        totals = dict.fromkeys(ACTIVITIES, 0)
        for span in self.spans[stage]:
            totals[span.activity] += span.num_ticks
        return totals

    def stall_causes(self, stage: str) -> dict[tuple[Activity, tuple[str, str]], int]:
        """Stalled ticks of a stage by activity and by the edge it waited for, largest first."""
        totals: dict[tuple[Activity, tuple[str, str]], int] = {}
        for span in self.spans[stage]:
            if span.cause is not None:
                key = (span.activity, span.cause)
                totals[key] = totals.get(key, 0) + span.num_ticks
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def schedule_pipeline(pipeline: Pipeline, num_samples: int) -> Schedule:
    """Run the self-timed pipeline over K samples that are all available at tick 0."""
    ticks = {n: np.zeros((num_samples, w), np.int64) for n, w in pipeline.windows.items()}
    incoming = {name: pipeline.incoming(name) for name in pipeline.windows}
    outgoing = {name: pipeline.outgoing(name) for name in pipeline.windows}
    stages = {name: pipeline.stages(name) for name in pipeline.windows}
    spans: dict[str, list[Span]] = {stage: [] for name in stages for stage in stages[name]}
    free_from = dict.fromkeys(spans, 0)
    for sample in range(num_samples):
        for name, window in pipeline.windows.items():
            stage = stages[name][sample % len(stages[name])]
            is_first = sample < len(stages[name])
            first_frame = min(  # a stage without sources can start at tick 0
                (int(ticks[b.source][sample, 0]) + 1 + pipeline.link_ticks for b in incoming[name]),
                default=0,
            )
            credit, creditor = _latest_credit(pipeline, outgoing[name], ticks, sample)
            log = spans[stage]
            # if no edge selects frames, all steps after the first follow without a wait
            selects = any(b.frames is not None for b in incoming[name])
            step, tick = 0, free_from[stage]
            while step < window:
                ready, source = _latest_frame(pipeline, incoming[name], ticks, sample, step)
                at = max(tick, ready, credit if step == 0 else 0)
                arrived = min(max(ready, tick), at)
                waiting_from = min(max(first_frame, tick), arrived) if is_first else tick
                _append(log, tick, waiting_from, "drained", sample, None)
                _append(log, waiting_from, arrived, "starved", sample, source)
                _append(log, arrived, at, "blocked", sample, creditor)
                steps = 1 if selects else window
                ticks[name][sample, step : step + steps] = np.arange(at, at + steps)
                _append(log, at, at + steps, "busy", sample, None)
                step, tick = step + steps, at + steps
            free_from[stage] = tick
    num_ticks = max(free_from.values(), default=0)
    for stage, log in spans.items():
        _append(log, free_from[stage], num_ticks, "drained", -1, None)
    return Schedule(
        pipeline=pipeline,
        num_samples=num_samples,
        num_ticks=num_ticks,
        step_ticks=ticks,
        spans={stage: tuple(log) for stage, log in spans.items()},
    )


def _latest_frame(
    pipeline: Pipeline,
    incoming: tuple[AlignmentBuffer, ...],
    ticks: Mapping[str, np.ndarray],
    sample: int,
    step: int,
) -> tuple[int, tuple[str, str] | None]:
    """First tick in which every frame that a step needs has arrived, and the edge of the last one."""
    latest, edge = 0, None
    for buffer in incoming:
        frame = -1 if buffer.frames is None else buffer.frames[step]
        if frame is None:
            continue
        arrival = int(ticks[buffer.source][sample, frame]) + 1 + pipeline.link_ticks
        if arrival > latest:
            latest, edge = arrival, buffer.edge
    return latest, edge


def _latest_credit(
    pipeline: Pipeline,
    outgoing: tuple[AlignmentBuffer, ...],
    ticks: Mapping[str, np.ndarray],
    sample: int,
) -> tuple[int, tuple[str, str] | None]:
    """First tick in which every target has a free slot for a sample, and the edge of the last one."""
    latest, edge = 0, None
    for buffer in outgoing:
        if sample >= buffer.slots:
            freed = ticks[buffer.target][sample - buffer.slots, -1] + 1 + pipeline.link_ticks
            if freed > latest:
                latest, edge = int(freed), buffer.edge
    return latest, edge


def _append(
    log: list[Span],
    start: int,
    stop: int,
    activity: Activity,
    sample: int,
    cause: tuple[str, str] | None,
) -> None:
    if stop > start:
        log.append(Span(start=start, stop=stop, activity=activity, sample=sample, cause=cause))
