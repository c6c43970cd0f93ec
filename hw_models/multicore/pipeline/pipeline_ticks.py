"""The tick of every step of every sample, and the activity of each stage in all other ticks.

Event-driven: the rules of ``pipeline`` are a max-plus recurrence, which is evaluated once per window, never
tick by tick. What a stage waits for follows from the ticks, and is found when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
    """

    pipeline: Pipeline
    num_samples: int
    num_ticks: int
    step_ticks: Mapping[str, np.ndarray]

    @cached_property
    def spans(self) -> Mapping[str, tuple[Span, ...]]:
        """Per stage its whole run, ``0 .. num_ticks`` without gaps; see ``Pipeline.stages``."""
        return _spans(self, range(self.num_ticks))

    def spans_in(self, ticks: range) -> Mapping[str, tuple[Span, ...]]:
        """Per stage the spans that have some of these ticks, and perhaps the ones around them."""
        return _spans(self, ticks)

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
    hop = 1 + pipeline.link_ticks
    first: dict[str, list[int]] = {name: [] for name in pipeline.windows}  # steps, by sample
    last: dict[str, list[int]] = {name: [] for name in pipeline.windows}
    ticks = {  # of the populations for which a single step may wait
        name: np.zeros((num_samples, window), np.int64)
        for name, window in pipeline.windows.items()
        if _selects(pipeline, name)
    }
    populations = [
        (
            name,
            window,
            pipeline.num_replicas(name),
            [last[b.source] for b in pipeline.incoming(name) if b.frames is None],
            [_Selected.of(b) for b in pipeline.incoming(name) if b.frames is not None],
            [(last[b.target], b.slots) for b in pipeline.outgoing(name)],
        )
        for name, window in pipeline.windows.items()
    ]
    for sample in range(num_samples):
        for name, window, replicas, averaged, selected, targets in populations:
            at = last[name][sample - replicas] + 1 if sample >= replicas else 0
            for target, slots in targets:
                if sample >= slots and target[sample - slots] + hop > at:
                    at = target[sample - slots] + hop
            arrived = 0
            for source in averaged:
                if source[sample] + hop > arrived:
                    arrived = source[sample] + hop
            if arrived > at:
                at = arrived
            if selected:
                needed = np.full(window, arrived)
                for buffer in selected:
                    buffer.raise_to_arrivals(needed, ticks, first, sample, hop)
                needed[0] = max(at, int(needed[0]))
                steps = _one_per_tick(needed)
                ticks[name][sample] = steps
                at, end = int(steps[0]), int(steps[-1])
            else:
                end = at + window - 1
            first[name].append(at)
            last[name].append(end)
    for name, window in pipeline.windows.items():
        if name not in ticks:
            ticks[name] = np.array(first[name], np.int64)[:, None] + np.arange(window)
    return Schedule(
        pipeline=pipeline,
        num_samples=num_samples,
        num_ticks=max((steps[-1] + 1 for steps in last.values() if steps), default=0),
        step_ticks={name: ticks[name] for name in pipeline.windows},
    )


def _selects(pipeline: Pipeline, name: str) -> bool:
    """Whether an edge selects frames; if none does, all steps after the first follow without a wait."""
    return any(b.frames is not None for b in pipeline.incoming(name))


def _one_per_tick(earliest: np.ndarray) -> np.ndarray:
    """Ticks of steps in order, one per tick, none before its earliest tick."""
    steps = np.arange(len(earliest))
    return np.maximum.accumulate(earliest - steps) + steps


@dataclass(frozen=True)
class _Selected:
    """The frames that an edge selects, without the steps that need none."""

    source: str
    steps: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, buffer: AlignmentBuffer) -> _Selected:
        pairs = [(s, f) for s, f in enumerate(buffer.frames or ()) if f is not None]
        steps, frames = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(buffer.source, steps, frames)

    def raise_to_arrivals(
        self,
        needed: np.ndarray,
        ticks: Mapping[str, np.ndarray],
        first: Mapping[str, list[int]],
        sample: int,
        hop: int,
    ) -> None:
        """Raise the first tick of each step, shape ``(T,)``, to that in which its frame has arrived."""
        if self.source in ticks:
            sent = ticks[self.source][sample, self.frames]
        else:
            sent = first[self.source][sample] + self.frames
        needed[self.steps] = np.maximum(needed[self.steps], sent + hop)


def _spans(schedule: Schedule, ticks: range) -> dict[str, tuple[Span, ...]]:
    """What each stage does, from the ticks of all steps; at least the spans with some of these ticks."""
    spans: dict[str, tuple[Span, ...]] = {}
    for name in schedule.pipeline.windows:
        stages = schedule.pipeline.stages(name)
        for replica, stage in enumerate(stages):
            samples = range(replica, schedule.num_samples, len(stages))
            ends = schedule.step_ticks[name][replica :: len(stages), -1]
            begin = int(np.searchsorted(ends, ticks.start))
            end = int(np.searchsorted(ends, ticks.stop)) + 1
            log: list[Span] = []
            for sample in samples[begin:end]:
                _append_window(log, schedule, name, sample)
            if end >= len(samples):
                free = int(ends[-1]) + 1 if len(ends) else 0
                _append(log, free, schedule.num_ticks, "drained", -1, None)
            spans[stage] = tuple(log)
    return spans


def _append_window(log: list[Span], schedule: Schedule, name: str, sample: int) -> None:
    """Append what a stage does from the end of its window before to that of a sample's window."""
    pipeline = schedule.pipeline
    steps = schedule.step_ticks[name][sample]
    replicas = pipeline.num_replicas(name)
    is_first, tick, at = sample < replicas, 0, int(steps[0])
    if not is_first:
        tick = int(schedule.step_ticks[name][sample - replicas, -1]) + 1
    incoming = pipeline.incoming(name)

    def append_wait(tick: int, arrived: int, source: tuple[str, str] | None) -> None:
        waits_from = tick
        if is_first:
            firsts = (int(schedule.step_ticks[b.source][sample, 0]) for b in incoming)
            # a stage without sources can start at tick 0
            first_frame = min(firsts, default=-1 - pipeline.link_ticks) + 1 + pipeline.link_ticks
            waits_from = min(max(first_frame, tick), arrived)
        _append(log, tick, waits_from, "drained", sample, None)
        _append(log, waits_from, arrived, "starved", sample, source)

    ready, source = _latest_frame(schedule, incoming, sample, 0)
    arrived = min(max(ready, tick), at)
    append_wait(tick, arrived, source)
    if arrived < at:
        creditor = _latest_credit(schedule, pipeline.outgoing(name), sample)
        _append(log, arrived, at, "blocked", sample, creditor)
    if int(steps[-1]) - at >= len(steps):
        for step in (np.flatnonzero(np.diff(steps) > 1) + 1).tolist():
            before, after = int(steps[step - 1]) + 1, int(steps[step])
            _append(log, at, before, "busy", sample, None)
            append_wait(before, after, _latest_frame(schedule, incoming, sample, step)[1])
            at = after
    _append(log, at, int(steps[-1]) + 1, "busy", sample, None)


def _latest_frame(
    schedule: Schedule,
    incoming: tuple[AlignmentBuffer, ...],
    sample: int,
    step: int,
) -> tuple[int, tuple[str, str] | None]:
    """First tick in which every frame that a step needs has arrived, and the edge of the last one."""
    latest, edge = 0, None
    for buffer in incoming:
        frame = -1 if buffer.frames is None else buffer.frames[step]
        if frame is None:
            continue
        sent = int(schedule.step_ticks[buffer.source][sample, frame])
        arrival = sent + 1 + schedule.pipeline.link_ticks
        if arrival > latest:
            latest, edge = arrival, buffer.edge
    return latest, edge


def _latest_credit(
    schedule: Schedule, outgoing: tuple[AlignmentBuffer, ...], sample: int
) -> tuple[str, str] | None:
    """The edge whose slot for a sample gets free last."""
    latest, edge = -1, None
    for buffer in outgoing:
        if sample >= buffer.slots:
            freed = int(schedule.step_ticks[buffer.target][sample - buffer.slots, -1])
            if freed > latest:
                latest, edge = freed, buffer.edge
    return edge


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
