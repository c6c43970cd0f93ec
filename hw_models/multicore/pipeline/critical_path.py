"""The critical path of a sample: the chain of waits that ends in the readout's last step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hw_models.multicore.pipeline.pipeline_ticks import Schedule

Reason: TypeAlias = Literal["first", "window", "previous sample", "frame", "credit"]


@dataclass(frozen=True, kw_only=True)
class PathSegment:
    """Consecutive steps of one population on the path.

    Attributes:
        start, stop: ticks; the next segment starts at ``stop``, links included.
        reason: why the first of these steps had to wait: for its stage's previous sample, for a frame or
            a credit of the segment before, or not at all.
    """

    population: str
    sample: int
    start: int
    stop: int
    reason: Reason


_Step: TypeAlias = tuple[str, int, int]  # population, sample, step


def critical_path(schedule: Schedule, sample: int) -> list[PathSegment]:
    """The steps that determine when a sample's logits are complete, first to last.

    Each step of a self-timed schedule fires as soon as all that it needs has arrived. The path goes back
    from the readout's last step to whatever arrived last, and so on until tick 0.
    """
    name = schedule.pipeline.readout
    step: _Step = (name, sample, schedule.pipeline.windows[name] - 1)
    steps: list[tuple[_Step, Reason]] = []
    while True:
        before, reason = _waited_for(schedule, step)
        steps.append((step, reason))
        if before is None:
            break
        step = before
    segments: list[PathSegment] = []
    stop = _tick(schedule, steps[0][0]) + 1
    for step, reason in steps:
        population, number, _ = step
        if reason == "window":
            continue  # the segment includes the step before
        start = _tick(schedule, step)
        segments.append(
            PathSegment(population=population, sample=number, start=start, stop=stop, reason=reason)
        )
        stop = start
    return segments[::-1]


def _tick(schedule: Schedule, step: _Step) -> int:
    name, sample, index = step
    return int(schedule.step_ticks[name][sample, index])


def _waited_for(schedule: Schedule, step: _Step) -> tuple[_Step | None, Reason]:
    """The step whose end let this one fire, frames before credits before its own past."""
    tick = _tick(schedule, step)
    for before, delay, reason in _needs(schedule, step):
        if _tick(schedule, before) + delay == tick:
            return before, reason
    return None, "first"


def _needs(schedule: Schedule, step: _Step) -> Iterator[tuple[_Step, int, Reason]]:
    """All rules of ``pipeline`` for one step: (step that it needs, ticks between them, reason)."""
    pipeline = schedule.pipeline
    name, sample, index = step
    hop = 1 + pipeline.link_ticks
    for buffer in pipeline.incoming(name):
        if buffer.frames is not None:
            frame = buffer.frames[index]
            if frame is not None:
                yield (buffer.source, sample, frame), hop, "frame"
        elif index == 0:
            yield (buffer.source, sample, pipeline.windows[buffer.source] - 1), hop, "frame"
    if index == 0:
        for buffer in pipeline.outgoing(name):
            if sample >= buffer.slots:
                last = pipeline.windows[buffer.target] - 1
                yield (buffer.target, sample - buffer.slots, last), hop, "credit"
        before = sample - pipeline.num_replicas(name)
        if before >= 0:
            yield (name, before, pipeline.windows[name] - 1), 1, "previous sample"
    else:
        yield (name, sample, index - 1), 1, "window"
