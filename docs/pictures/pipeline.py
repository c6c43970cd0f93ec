"""Pictures of the pipeline: buffers and slots tick by tick, an interval, and what removes stalls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from drawing import (
    BLUE,
    CARD,
    INK,
    LINE,
    ORANGE,
    PALE,
    QUIET,
    SAMPLES,
    YELLOW,
    Markup,
    arrow,
    box,
    group,
    heading,
    join,
    line,
    note,
    picture,
    text,
)

from hw_models.multicore.pipeline.buffer_depths import (
    least_depths,
    steady_stall_share,
    with_depths,
)
from hw_models.multicore.pipeline.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    least_replicas,
)
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, Span, schedule_pipeline
from hw_models.target_description import load_target

LINK_TICKS = load_target("loihi-sim").link_ticks
STALLS = {"starved": (YELLOW, 0.3), "blocked": (ORANGE, 0.55), "drained": ("#c9d0da", 0.08)}
"""Colour of each activity that is not firing, and the height of its bar."""
SECONDS_PER_TICK = 0.9


def pictures() -> dict[str, str]:
    """SVG by file name."""
    return {
        "pipeline-ticks.svg": ticks(),
        "pipeline-interval.svg": interval(),
        "pipeline-remedies.svg": remedies(),
    }


def pipeline_of(windows: Mapping[str, int], slots: Mapping[tuple[str, str], int]) -> Pipeline:
    """Populations with these T, joined by averaging edges with these slots."""
    buffers = tuple(
        AlignmentBuffer(source=source, target=target, slots=depth, frames=None)
        for (source, target), depth in slots.items()
    )
    return Pipeline(windows=windows, buffers=buffers, link_ticks=LINK_TICKS)


CHAIN = pipeline_of(
    {"input": 1, "conv1": 2, "conv2": 4, "readout": 1},
    {("input", "conv1"): 2, ("conv1", "conv2"): 1, ("conv2", "readout"): 2},
)
RESIDUAL = pipeline_of(
    {"input": 1, "stem": 3, "inner": 3, "join": 2, "readout": 1},
    {
        ("input", "stem"): 2,
        ("stem", "inner"): 2,
        ("inner", "join"): 2,
        ("stem", "join"): 2,
        ("join", "readout"): 2,
    },
)


def timeline(
    schedule: Schedule, x: float, y: float, tick: float, row: float, stages: Mapping[str, str]
) -> Iterator[Markup]:
    """Stages over ticks, each span as the tick model gives it.

    Args:
        x, y: upper left corner of the first tick.
        tick, row: width of a tick and height of a stage.
        stages: what is written in front of each stage, by name.
    """
    for index, (name, words) in enumerate(stages.items()):
        top = y + index * row
        yield text(x - 12, top + row * 0.62, words, anchor="end")
        for span in schedule.spans[name]:
            yield _span(span, x, top, tick, row - 6)
    bottom = y + len(stages) * row
    for number in range(schedule.num_ticks + 1):
        yield line(x + number * tick, bottom, x + number * tick, bottom + 4, stroke=LINE)
        if number % 5 == 0:
            yield note(x + number * tick, bottom + 17, number, font_size=11.5)


def _span(span: Span, x: float, y: float, tick: float, full: float) -> Markup:
    left, width = x + span.start * tick, span.num_ticks * tick
    if span.activity == "busy":
        drawn = box(left + 0.75, y, width - 1.5, full, fill=SAMPLES[span.sample], rx=3)
        words = text(left + width / 2, y + full * 0.7, span.sample, fill=CARD, font_weight=600)
        return join([drawn, words])
    colour, share = STALLS[span.activity]
    return box(left + 0.75, y + full * (1 - share), width - 1.5, full * share, fill=colour)


def _legend(x: float, y: float) -> Iterator[Markup]:
    words = {
        "busy": "fires a step for a sample",
        "starved": "waits for spikes",
        "blocked": "waits for a slot",
        "drained": "has no sample",
    }
    for (activity, meaning), wide in zip(words.items(), (232, 196, 192, 0), strict=True):
        colour, share = STALLS.get(activity, (SAMPLES[0], 1))
        yield box(x, y + 12 * (1 - share), 14, 12 * share, fill=colour, rx=2 if share == 1 else 0)
        label = [
            Markup(f'<tspan font-weight="600" fill="{INK}">{activity}</tspan>'),
            Markup(f"<tspan>: {meaning}</tspan>"),
        ]
        yield Markup(
            f'<text x="{x + 21}" y="{y + 11}" font-size="12.5" fill="{QUIET}">{join(label)}</text>'
        )
        x += wide


def ticks() -> str:
    """Two samples in a chain, tick by tick: an animation of the buffers above the whole timeline."""
    schedule = schedule_pipeline(CHAIN, 2)
    x, y, tick, row = 134.0, 182.0, 34.0, 36.0
    stages = {name: f"{name}, T = {steps}" for name, steps in CHAIN.windows.items()}
    parts = [*_legend(34, 366), *timeline(schedule, x, y, tick, row, stages)]
    for index in range(schedule.num_ticks):
        moment = [
            *_moment(schedule, index),
            box(
                x + index * tick, y - 6, tick, len(stages) * row + 8,
                fill="#17202e", fill_opacity=0.07, stroke=INK, stroke_width=1.2, rx=4,
            ),
        ]  # fmt: skip
        delay = f"{index * SECONDS_PER_TICK:.1f}s"
        parts.append(group(*moment, class_="tick", style=f"animation-delay:{delay}"))
    length = schedule.num_ticks * SECONDS_PER_TICK
    shown = 8  # where no animation runs
    style = (
        f".tick{{visibility:hidden;animation:show {length:.1f}s step-end infinite}}"
        f"@keyframes show{{0%{{visibility:visible}}{100 / schedule.num_ticks:.4f}%{{visibility:hidden}}}}"
        f"@media (prefers-reduced-motion:reduce),print{{.tick{{animation:none}}"
        f".tick:nth-of-type({shown}){{visibility:visible}}}}"
    )
    return picture(
        860,
        396,
        "A pipeline of three populations works on two samples, tick by tick",
        *parts,
        style=style,
    )


def _moment(schedule: Schedule, tick: int) -> Iterator[Markup]:
    """Populations and buffers in one tick."""
    names = list(schedule.spans)
    yield heading(34, 36, f"Tick {tick}")
    for index, name in enumerate(names):
        left = 34 + 222 * index
        span = next(s for s in schedule.spans[name] if s.start <= tick < s.stop)
        busy = span.activity == "busy"
        colour = SAMPLES[span.sample] if busy else STALLS[span.activity][0]
        yield box(
            left, 60, 126, 64, rx=8, fill=colour if busy else PALE, stroke=colour, stroke_width=2
        )
        ink = CARD if busy else INK
        yield text(left + 63, 84, name, fill=ink, font_weight=600)
        words = f"sample {span.sample}, step {tick - span.start + 1}" if busy else span.activity
        yield text(left + 63, 108, words, fill=ink, font_size=13)
        if span.cause is not None:
            other = span.cause[0 if span.activity == "starved" else 1]
            wanted = "spikes of" if span.activity == "starved" else "a slot to"
            yield note(left + 63, 144, f"waits for {wanted} {other}")
        for buffer in schedule.pipeline.outgoing(name):
            yield from _buffer(schedule, buffer, left + 126, tick)


def _buffer(schedule: Schedule, buffer: AlignmentBuffer, x: float, tick: int) -> Iterator[Markup]:
    """The slots of a buffer in one tick: the sample in each, and how many of its frames have arrived."""
    source, target = schedule.step_ticks[buffer.source], schedule.step_ticks[buffer.target]
    in_use = [k for k in range(schedule.num_samples) if source[k, 0] <= tick <= target[k, -1]]
    yield arrow(x + 2, 92, x + 17, 92)
    yield arrow(x + 79, 92, x + 94, 92)
    yield note(x + 48, 50, "1 slot" if buffer.slots == 1 else f"{buffer.slots} slots")
    height = 64 / buffer.slots
    for slot in range(buffer.slots):
        top = 60 + slot * height
        held = [k for k in in_use if k % buffer.slots == slot]
        colour = SAMPLES[held[0]] if held else LINE
        yield box(x + 20, top + 1, 56, height - 2, rx=4, fill=CARD, stroke=colour, stroke_width=1.6)
        for sample in held:
            window = source.shape[1]
            arrived = int(np.count_nonzero(source[sample] + 1 + LINK_TICKS <= tick))
            middle = top + height / 2
            yield text(x + 31, middle + 5, sample, font_size=13, fill=colour, font_weight=600)
            for frame in range(window):
                wide = 32 / window
                fill = colour if frame < arrived else "#e4e8ee"
                yield box(x + 40 + frame * wide, middle - 6, wide - 2, 12, rx=2, fill=fill)


def interval() -> str:
    """A residual network with two slots on the skip edge, and with as many as it needs."""
    depths = least_depths(
        RESIDUAL,
        ideal_interval_ticks(RESIDUAL),
        dict.fromkeys((b.edge for b in RESIDUAL.buffers), 1),
    )
    parts: list[Markup] = []
    stages = {n: f"{n}, T = {steps}" for n, steps in RESIDUAL.windows.items() if n != "input"}
    for index, pipeline in enumerate((RESIDUAL, with_depths(RESIDUAL, depths))):
        top = 24 + 232 * index
        limit = initiation_interval(pipeline)
        schedule = schedule_pipeline(pipeline, 5)
        slots = ", ".join(f"{b.source} → {b.target} {b.slots}" for b in pipeline.buffers[1:4])
        parts += [
            heading(
                28,
                top + 14,
                ("Two slots everywhere", "As many slots as the longest window needs")[index],
            ),
            note(832, top + 14, f"slots: {slots}", anchor="end"),
            *timeline(schedule, 134, top + 34, 19.0, 32, stages),
        ]
        done = schedule.completion_ticks
        period = limit.ticks.denominator
        y = top + 196
        first, last = int(done[1]), int(done[1 + period])
        left, right = 134 + 19.0 * first, 134 + 19.0 * last
        parts += [
            line(left, y - 14, left, y + 5, stroke=INK),
            line(right, y - 14, right, y + 5, stroke=INK),
            arrow(left, y, right, y, stroke=INK),
            arrow(right, y, left, y, stroke=INK),
        ]
        results = "2 results" if period == 2 else "1 result"
        words = (
            f"{results} every {limit.ticks * period} ticks: the interval is {float(limit.ticks):g}"
        )
        parts.append(text(left - 12, y + 5, words, anchor="end", font_weight=600, font_size=13))
    parts += _legend(34, 488)
    return picture(
        860, 518, "The same residual network with two slots and with enough slots", *parts
    )


def remedies() -> str:
    """Interval and stall share of the residual network after each kind of change."""
    skip = ("stem", "join")
    one_more = {b.edge: b.slots + (b.edge == skip) for b in RESIDUAL.buffers}
    deep = _deep(RESIDUAL)
    shorter = _deep(replace(RESIDUAL, windows={**RESIDUAL.windows, "stem": 2, "inner": 2}))
    twice = _deep(replace(RESIDUAL, replicas=least_replicas(RESIDUAL, 2)))
    designs = {
        "two slots everywhere": RESIDUAL,
        "one more slot on stem → join": with_depths(RESIDUAL, one_more),
        "slots for the longest window": deep,
        "stem and inner with T = 2": shorter,
        "stem and inner twice": twice,
    }
    costs = ("", "", "", "accuracy, to be measured", "the cores of both, once more")
    parts = [
        heading(28, 36, "Change"),
        heading(262, 36, "Ticks between results"),
        heading(474, 36, "Stalled"),
        heading(558, 36, "Slots"),
        heading(630, 36, "Other cost"),
    ]
    longest = initiation_interval(RESIDUAL).ticks
    for row, (words, pipeline, cost) in enumerate(
        zip(designs, designs.values(), costs, strict=True)
    ):
        y = 62 + 38 * row
        ticks = initiation_interval(pipeline).ticks
        wide = 150 * float(ticks / longest)
        parts += [
            text(28, y + 15, words, anchor="start"),
            box(262, y, wide, 20, rx=3, fill=ORANGE if pipeline is RESIDUAL else BLUE),
            text(270 + wide, y + 15, f"{float(ticks):g}", anchor="start", font_weight=600),
            text(474, y + 15, f"{100 * steady_stall_share(pipeline, ticks):.0f} %", anchor="start"),
            text(558, y + 15, sum(b.slots for b in pipeline.buffers), anchor="start"),
            text(630, y + 15, cost, anchor="start"),
        ]
    return picture(860, 264, "What shortens the interval of the residual network", *parts)


def _deep(pipeline: Pipeline) -> Pipeline:
    """The pipeline with the least slots that let the longest window, shared by its replicas, set the pace."""
    costs = dict.fromkeys((b.edge for b in pipeline.buffers), 1)
    return with_depths(pipeline, least_depths(pipeline, ideal_interval_ticks(pipeline), costs))
