"""The report's pictures as inline SVG: layer graph, stacked bars, pipeline timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, cast

from deploy.report.array_document import STALLS
from deploy.report.markup import (
    Markup,
    element,
    join,
    number,
    per_cent,
    shape_text,
    shortened,
)
from deploy.report.records import (
    ArrayRecord,
    PopulationRecord,
    Report,
    SpanRecord,
    SynapseRecord,
    TimeRecord,
)
from hw_models.multicore.cost.tick_cost import TIMES
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES

SAMPLE_COLOURS = 8
_BOX = (152, 76)
_COLUMN, _ROW = 222, 104
_EDGE_CHARACTERS = 10  # that fit between two boxes
_LABEL_WIDTH, _BAR_WIDTH = 130, 700


def layer_graph(report: Report) -> Markup:
    """Populations from left to right by depth, with one small square per timestep of T_l.

    Edges of the critical cycle are heavy; an edge that skips columns runs above the boxes.
    """
    populations, synapses = report["populations"], report["synapses"]
    depth = {p["name"]: 0 for p in populations}
    for synapse in synapses:  # populations and synapses come in topological order
        depth[synapse["target"]] = max(depth[synapse["target"]], depth[synapse["source"]] + 1)
    taken: dict[int, int] = {}
    place = {}
    skips = [s for s in synapses if depth[s["target"]] - depth[s["source"]] > 1]
    lane_of = _lanes([(depth[s["source"]], depth[s["target"]]) for s in skips])
    top = 30 + 26 * (max(lane_of, default=-1) + 1)
    for population in populations:
        column = depth[population["name"]]
        place[population["name"]] = (column * _COLUMN + 8, top + taken.get(column, 0) * _ROW)
        taken[column] = taken.get(column, 0) + 1
    critical = {tuple(edge) for edge in report["pipeline"]["critical_buffers"]}
    names = set(report["pipeline"]["critical_populations"])
    lanes = {(s["source"], s["target"]): 18 + 26 * i for s, i in zip(skips, lane_of, strict=True)}
    edges = [_edge(s, place, lanes, critical) for s in synapses]
    boxes = [_box(p, place[p["name"]], p["name"] in names) for p in populations]
    width = (max(depth.values()) + 1) * _COLUMN - (_COLUMN - _BOX[0]) + 16
    height = top + max(taken.values()) * _ROW - (_ROW - _BOX[1]) + 8
    return _picture(width, height, "layer graph", _arrow_head(), *edges, *boxes)


def _picture(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A picture that shrinks by up to a quarter to fit the page, and scrolls if that is not enough."""
    return element(
        "svg", *children, width=width, height=height, viewBox=f"0 0 {width:g} {height:g}",
        role="img", aria_label=label,
    )  # fmt: skip


def _lanes(spans: list[tuple[int, int]]) -> list[int]:
    """The lowest free lane for each span of columns; one may start where another ends."""
    last_column: list[int] = []
    lanes = []
    for start, stop in spans:
        free = [lane for lane, end in enumerate(last_column) if end <= start]
        lane = free[0] if free else len(last_column)
        last_column[lane : lane + 1] = [stop]
        lanes.append(lane)
    return lanes


def _arrow_head() -> Markup:
    head = element("path", d="M0,0 L8,4 L0,8 Z", class_="head")
    return element(
        "defs",
        element(
            "marker", head, id="arrow", markerWidth=8, markerHeight=8, refX=7, refY=4,
            orient="auto", markerUnits="userSpaceOnUse",
        ),
    )  # fmt: skip


def _edge(
    synapse: SynapseRecord,
    place: dict[str, tuple[int, int]],
    lanes: dict[tuple[str, str], int],
    critical: set[tuple[str, ...]],
) -> Markup:
    ends = synapse["source"], synapse["target"]
    (x0, y0), (x1, y1) = place[ends[0]], place[ends[1]]
    start, stop = (x0 + _BOX[0], y0 + _BOX[1] / 2), (x1, y1 + _BOX[1] / 2)
    maps, slots = synapse["operation"].split(" > "), f"D = {synapse['slots']}"
    if synapse["alignment"] != "average":
        slots += f", {synapse['alignment']}"
    if ends in lanes:
        y = lanes[ends]
        left, right = x0 + _BOX[0] * 0.65, x1 + _BOX[0] * 0.35
        path = (
            f"M{left},{y0} V{y + 8} Q{left},{y} {left + 8},{y} "
            f"H{right - 8} Q{right},{y} {right},{y + 8} V{y1}"
        )
        words = element(
            "text", ", ".join([*maps, slots]), x=(left + right) / 2, y=y - 5, class_="edge-label"
        )
    else:
        middle = (start[0] + stop[0]) / 2
        path = f"M{start[0]},{start[1]} C{middle},{start[1]} {middle},{stop[1]} {stop[0]},{stop[1]}"
        level = (start[1] + stop[1]) / 2
        maps = [line for m in maps for line in wrap(m, _EDGE_CHARACTERS, break_long_words=False)]
        lines = [(level - 8 - 14 * (len(maps) - 1 - i), m) for i, m in enumerate(maps)]
        words = join(
            element("text", line, x=middle, y=y, class_="edge-label")
            for y, line in [*lines, (level + 16, slots)]
        )
    kind = "edge critical" if ends in critical else "edge"
    return element("g", element("path", d=path, marker_end="url(#arrow)"), words, class_=kind)


def _box(population: PopulationRecord, place: tuple[int, int], critical: bool) -> Markup:
    x, y = place
    steps = min(population["timesteps"], 10)
    squares = [
        element("rect", x=x + 40 + i * 10, y=y + 30, width=8, height=10, class_="step")
        for i in range(steps)
    ]
    each = population["cores"] // population["replicas"]
    where = {0: "host", 1: "1 core"}.get(each, f"{each} cores")
    where = f"{population['replicas']} × {where}" if population["replicas"] > 1 else where
    return element(
        "g",
        element("title", f"{population['name']}: {population['neurons']} neurons"),
        element("rect", x=x, y=y, width=_BOX[0], height=_BOX[1], rx=8, class_="box"),
        element("text", shortened(population["name"], 16), x=x + 10, y=y + 21, class_="name"),
        element("text", f"T {population['timesteps']}", x=x + 10, y=y + 39),
        *squares,
        element(
            "text",
            f"{shape_text(population['shape'])} · {where}",
            x=x + 10,
            y=y + 62,
            class_="quiet",
        ),
        class_="population critical" if critical else "population",
    )


def stall_bars(report: Report) -> Markup:
    """One stacked bar per stage: its ticks in the run shown, by activity."""
    pipeline = report["pipeline"]
    rows = {stage: record["activity"] for stage, record in pipeline["stages"].items()}
    unit = f"of {pipeline['num_ticks']} ticks"
    return stacked_bars(rows, ACTIVITIES, unit, "ticks of each stage by activity")


def time_bars(times: dict[str, TimeRecord]) -> Markup:
    """One stacked bar per population: the time of its cores, in microseconds."""
    seconds = cast("dict[str, dict[str, float]]", times)
    rows = {
        name: {kind: 1e6 * record[f"{kind}_s"] for kind in TIMES}
        for name, record in seconds.items()
    }
    return stacked_bars(rows, TIMES, "µs", "time of each population's cores")


def cycle_bars(on_array: ArrayRecord) -> Markup:
    """One stacked bar per mode of the PE array, at one scale: the cycles of a sample by cause."""
    kinds = ["iterations", *(f"wait-{name}" for name in STALLS), "edges"]
    rows: dict[str, dict[str, int]] = {
        mode["mode"]: {
            "iterations": mode["cycles"],
            **{f"wait-{name}": mode["stalls"][name] for name in STALLS},
            "edges": mode["fill_and_drain_cycles"],
        }
        for mode in on_array["estimates"]
    }
    label = "cycles of a sample on the PE array by cause"
    return stacked_bars(rows, kinds, "cycles", label, at_one_scale=True)


def stacked_bars(
    rows: Mapping[str, Mapping[Any, float]],
    kinds: Sequence[str],
    unit: str,
    label: str,
    *,
    at_one_scale: bool = False,
) -> Markup:
    """A stacked bar per row; each kind is a class of the style sheet.

    Args:
        rows: amount of each kind, by the name of the row.
        unit: of the amounts.
        label: of the picture, for readers who cannot see it.
        at_one_scale: the bars are as long as their sums, which are written after them; otherwise all
            have the same length.
    """
    longest, drawn = max(sum(amounts.values()) for amounts in rows.values()), []
    for index, (name, amounts) in enumerate(rows.items()):
        y, x, total = index * 30, float(_LABEL_WIDTH), sum(amounts.values())
        scale = _BAR_WIDTH / (longest if at_one_scale else total)
        parts = [element("text", shortened(name, 17), x=0, y=y + 17)]
        for kind in kinds:
            size = amounts[kind] * scale
            if not size:
                continue
            title = element("title", f"{name}: {kind} {number(amounts[kind])} {unit}")
            parts.append(element("rect", title, x=x, y=y + 3, width=size, height=20, class_=kind))
            if size > 38:
                share = per_cent(amounts[kind] / total)
                parts.append(
                    element("text", share, x=x + size / 2, y=y + 17, class_=f"in-bar on-{kind}")
                )
            x += size
        if at_one_scale:
            parts.append(element("text", number(total), x=x + 6, y=y + 17, class_="quiet"))
        drawn.append(join(parts))
    width = _LABEL_WIDTH + _BAR_WIDTH + (110 if at_one_scale else 0)
    return _picture(width, 30 * len(drawn), label, *drawn)


def timeline(report: Report) -> Markup:
    """Stages over ticks: firing windows in the colour of their sample, stalls in that of their kind."""
    pipeline = report["pipeline"]
    ticks = pipeline["num_ticks"]
    scale = max(4.0, min(22.0, 1000 / ticks))
    names = list(pipeline["stages"])
    bottom = 8 + len(names) * 34
    every = next(step for step in (5, 10, 20, 50, 100, 1000, 10**6) if step * scale >= 45)
    rows = []
    for tick in range(0, ticks + 1, every):
        x = _LABEL_WIDTH + tick * scale
        rows.append(element("line", x1=x, x2=x, y1=4, y2=bottom, class_="grid"))
        rows.append(element("text", tick, x=x, y=bottom + 14, class_="axis"))
    for index, name in enumerate(names):
        y = 8 + index * 34
        rows.append(element("text", shortened(name, 17), x=0, y=y + 18))
        rows += [_span(name, span, y, scale) for span in pipeline["stages"][name]["spans"]]
    width = _LABEL_WIDTH + ticks * scale + 20
    return _picture(width, bottom + 22, "pipeline timeline", *rows)


def _span(name: str, span: SpanRecord, y: int, scale: float) -> Markup:
    start, stop, activity, sample, cause = span
    x, width = _LABEL_WIDTH + start * scale, (stop - start) * scale
    words = f"{name}, ticks {start} to {stop - 1}: {activity}"
    words += f", sample {sample}" if sample >= 0 else ""
    words += f", waits for {' -> '.join(cause)}" if cause else ""
    title = element("title", words)
    if activity != "busy":
        return element("rect", title, x=x, y=y + 10, width=width, height=8, class_=activity)
    kind = f"busy sample-{sample % SAMPLE_COLOURS}"
    box = element("rect", title, x=x + 0.5, y=y, width=width - 1, height=26, rx=3, class_=kind)
    if width < 14:
        return box
    label = element("text", sample, x=x + width / 2, y=y + 17, class_="in-bar on-busy")
    return join([box, label])
