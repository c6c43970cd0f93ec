"""The report's pictures as inline SVG: layer graph, stacked bars, pipeline timeline."""

from __future__ import annotations

from deploy.report.markup import (
    Markup,
    element,
    join,
    shortened,
)
from deploy.report.records import (
    Report,
    SpanRecord,
)

SAMPLE_COLOURS = 8
_BOX = (152, 76)
_COLUMN, _ROW = 222, 104
_EDGE_CHARACTERS = 10  # that fit between two boxes
_LABEL_WIDTH, _BAR_WIDTH = 130, 700


def _picture(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A picture that shrinks by up to a quarter to fit the page, and scrolls if that is not enough."""
    return element(
        "svg", *children, width=width, height=height, viewBox=f"0 0 {width:g} {height:g}",
        role="img", aria_label=label,
    )  # fmt: skip


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
