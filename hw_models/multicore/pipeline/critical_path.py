"""Why a sample's logits come when they do: the chain of waits that ends in the readout's last step."""

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
        reason: what the first of these steps waited for: its stage's previous sample, a frame of the
            segment before, a credit from it, or nothing.
    """

    population: str
    sample: int
    start: int
    stop: int
    reason: Reason


_Step: TypeAlias = tuple[str, int, int]  # population, sample, step


def critical_path(schedule: Schedule, sample: int) -> list[PathSegment]:
    """The steps without which the sample's logits would have come earlier, first to last.

    Each step of the self-timed schedule fires as soon as the last of what it needs is there. Going back
    from the readout's last step along whatever came last leads to tick 0.
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
    for index, ((population, number, _), reason) in enumerate(steps):
        if reason == "window":
            continue  # the segment goes on with the step before
        start = _tick(schedule, steps[index][0])
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
    """All rules of ``pipeline`` for one step: (what it needs, ticks from there to here, which rule)."""
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
