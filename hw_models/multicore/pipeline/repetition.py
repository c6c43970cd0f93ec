"""From which sample on a self-timed schedule repeats itself, and how many frames its buffers hold by then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, schedule_pipeline

_MOST_SCHEDULED = 4_096
"""Samples after which we assume that a schedule has settled."""


class Repetition(NamedTuple):
    """From sample ``first`` on, steps of sample k + ``period`` come a fixed time after those of sample k.

    Attributes:
        schedule: a run with at least ``first + period`` samples; None if no repetition was found.
    """

    first: int
    period: int
    schedule: Schedule | None


def repeats_from(pipeline: Pipeline) -> Repetition:
    """The first sample from which the schedule repeats itself.

    Each step looks back by at most as many samples as a buffer has slots, or a population replicas. A
    schedule that has repeated itself for that many samples continues to do so.
    """
    ticks = initiation_interval(pipeline).ticks
    replicas = [pipeline.num_replicas(name) for name in pipeline.windows]
    looks_back = max([*replicas, *(b.slots for b in pipeline.buffers)])
    count = 2 * (looks_back + ticks.denominator)
    while True:
        schedule = schedule_pipeline(pipeline, count)
        steps = np.concatenate(list(schedule.step_ticks.values()), axis=1)
        for period in range(ticks.denominator, count - looks_back + 1, ticks.denominator):
            repeats = (steps[period:] - steps[:-period] == int(period * ticks)).all(axis=1)
            first = 0 if repeats.all() else len(repeats) - int(np.argmin(repeats[::-1]))
            if len(repeats) - first >= looks_back:
                return Repetition(first, period, schedule)
        if count >= _MOST_SCHEDULED:
            return Repetition(count, ticks.denominator, None)
        count *= 2


def frames_held(pipeline: Pipeline) -> dict[tuple[str, str], int]:
    """Most frames of one sample that each alignment buffer holds at once, by edge.

    A buffer that averages adds all frames up in one place. With ``replicate`` and ``truncate``, a frame is
    held from the tick in which it is integrated to the last step that reads it, and frames arrive while the
    target still waits. Frames that no step reads are dropped. The number is exact for images that the host
    shows without a pause. Where the schedule does not repeat itself, it is the number of frames read.
    """
    if all(buffer.frames is None for buffer in pipeline.buffers):
        return {buffer.edge: 1 for buffer in pipeline.buffers}
    schedule = repeats_from(pipeline).schedule
    return {buffer.edge: _held(buffer, schedule) for buffer in pipeline.buffers}


def _held(buffer: AlignmentBuffer, schedule: Schedule | None) -> int:
    if buffer.frames is None:
        return 1
    last_step = {frame: step for step, frame in enumerate(buffer.frames) if frame is not None}
    if schedule is None or len(last_step) <= 1:
        return max(len(last_step), 1)
    integrated = schedule.step_ticks[buffer.source][:, list(last_step)] + 1
    read = schedule.step_ticks[buffer.target][:, list(last_step.values())]
    # in order of the frames; when one arrives, those up to it that have not been read before are held
    arrived = np.arange(1, len(last_step) + 1)
    return max(
        int((arrived - np.searchsorted(reads, ticks)).max())
        for ticks, reads in zip(integrated, read, strict=True)
    )
