"""What every stage does in one tick, and what it waits for, from the tick model."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import assert_never

from hw_models.multicore.pipeline.pipeline_ticks import Activity, Schedule, Span


@dataclass(frozen=True, kw_only=True)
class StageState:
    """A stage in one tick.

    Attributes:
        sample: the sample on which it works or waits to work; None if none is left.
        step: the step that it fires; None unless it is busy.
        reason: what it does or waits for, in words.
        recent: activities of the ticks up to this one, the last of which is this one.
    """

    stage: str
    population: str
    activity: Activity
    sample: int | None
    step: int | None
    reason: str
    recent: tuple[Activity, ...]


def state_at(schedule: Schedule, tick: int, num_recent: int = 1) -> list[StageState]:
    """The state of every stage in a tick ``0 <= tick < schedule.num_ticks``, in order of the pipeline.

    Args:
        num_recent: ticks of history, this one included.
    """
    pipeline = schedule.pipeline
    return [
        _state(schedule, name, stage, tick, num_recent)
        for name in pipeline.windows
        for stage in pipeline.stages(name)
    ]


def _state(schedule: Schedule, name: str, stage: str, tick: int, num_recent: int) -> StageState:
    spans = schedule.spans[stage]
    recent = [
        span.activity
        for span in spans
        for _ in range(max(span.start, tick - num_recent + 1), min(span.stop, tick + 1))
    ]
    (span,) = (span for span in spans if span.start <= tick < span.stop)
    ticks = schedule.step_ticks[name]
    step = None
    if span.activity == "busy":
        step = ticks[span.sample].tolist().index(tick)
    return StageState(
        stage=stage,
        population=name,
        activity=span.activity,
        sample=None if span.sample < 0 else span.sample,
        step=step,
        reason=_reason(schedule, name, span, step, tick),
        recent=tuple(recent),
    )


def _reason(schedule: Schedule, name: str, span: Span, step: int | None, tick: int) -> str:
    match span.activity:
        case "busy":
            return f"fires step {step} of sample {span.sample}"
        case "drained":
            return "no sample is left" if span.sample < 0 else "no input has come yet"
        case "starved":
            return f"sample {span.sample} needs {_missing_frame(schedule, name, span, tick)}"
        case "blocked":
            return f"sample {span.sample} needs {_missing_slot(schedule, span, tick)}"
        case _:
            assert_never(span.activity)


def _missing_frame(schedule: Schedule, name: str, span: Span, tick: int) -> str:
    """The step of a source whose frame arrives last, and when it fires."""
    assert span.cause is not None
    source, _ = span.cause
    (buffer,) = (b for b in schedule.pipeline.incoming(name) if b.edge == span.cause)
    sent = schedule.step_ticks[source][span.sample]
    step = int((schedule.step_ticks[name][span.sample] < tick).sum())  # the next one to fire
    frame = len(sent) - 1 if buffer.frames is None else buffer.frames[step]
    assert frame is not None
    when = "in" if sent[frame] >= tick else "on its way since"
    return f"step {frame} of {source}, {when} tick {sent[frame]}"


def _missing_slot(schedule: Schedule, span: Span, tick: int) -> str:
    """The slot of a target that is free last, and the sample in it."""
    assert span.cause is not None
    source, target = span.cause
    (buffer,) = (b for b in schedule.pipeline.outgoing(source) if b.edge == span.cause)
    holder = span.sample - buffer.slots
    last = int(schedule.step_ticks[target][holder, -1])
    if last >= tick:
        return f"a slot of {target}, where sample {holder} has it up to tick {last}"
    return f"a slot of {target}, which sample {holder} left in tick {last}"
