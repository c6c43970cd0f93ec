"""The layer graph as a picture: a box per population, with its T, shape and incoming edges.

Boxes stand below each other in the order of the flow; edges that skip a box run in lanes on the left. All
lines and letters have the colour of the text around the picture, so it fits light and dark notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.report.markup import Markup, element, shape_text, shortened
from deploy.report.page.graph_lanes import RowOfLanes, rows_of_lanes

if TYPE_CHECKING:
    from deploy.report.records import Report
    from toolchain.networks.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True)
class EdgeLabel:
    """An incoming edge.

    Attributes:
        operation: its linear maps in words.
        alignment: how the frames of one firing window become those of another.
        timesteps: T of the source and of the target; None of input and readout, which have no window.
        more: what else is known, such as slots.
    """

    source: str
    operation: str
    alignment: str
    timesteps: tuple[int | None, int | None]
    more: str = ""

    @property
    def aligned(self) -> str:
        """The alignment, with T of both ends where they differ."""
        source, target = self.timesteps
        differ = source is not None and target is not None and source != target
        return self.alignment + f" T {source} → {target}" * differ


@dataclass(frozen=True, kw_only=True)
class Box:
    """A population as it is drawn.

    Attributes:
        kind: ``input``, ``spiking``, ``maximum`` (of exact max pooling) or ``readout``.
        more: what else is known, such as cores.
        critical: whether it sets the interval between results.
    """

    name: str
    kind: str
    shape: str
    timesteps: int
    inputs: tuple[EdgeLabel, ...]
    more: str = ""
    critical: bool = False

    @property
    def steps(self) -> str:
        """T of a spiking population."""
        return str(self.timesteps) if self.kind in ("spiking", "maximum") else ""

    @property
    def words(self) -> str:
        """The incoming edges in one line."""
        return "; ".join(f"{e.source}: {e.operation}, {e.alignment}" for e in self.inputs)


def boxes_of_graph(graph: LayerGraph) -> list[Box]:
    """Boxes of a float network."""
    from toolchain.networks.linear_maps import describe

    steps = {p.name: p.timesteps if p.kind == "spiking" else None for p in graph.populations}

    return [
        Box(
            name=p.name,
            kind="maximum" if getattr(p, "role", None) == "maximum" else p.kind,
            shape=shape_text(p.shape),
            timesteps=p.timesteps,
            inputs=tuple(
                EdgeLabel(
                    source=s.source,
                    operation=" > ".join(map(describe, s.maps)) or "identity",
                    alignment=s.alignment,
                    timesteps=(steps[s.source], steps[p.name]),
                )
                for s in graph.incoming(p.name)
            ),
        )
        for p in graph.populations
    ]


def boxes_of_report(report: Report) -> list[Box]:
    """Boxes of a mapped network, with cores and slots."""
    steps = {
        p["name"]: p["timesteps"] if p["kind"] == "spiking" else None for p in report["populations"]
    }
    cost = report["max_pooling"]
    maxima = set() if cost is None else set(cost["populations"])
    critical = set(report["pipeline"]["critical_populations"])
    inputs: dict[str, list[EdgeLabel]] = {}
    for s in report["synapses"]:
        inputs.setdefault(s["target"], []).append(
            EdgeLabel(
                source=s["source"],
                operation=s["operation"],
                alignment=s["alignment"],
                timesteps=(steps[s["source"]], steps[s["target"]]),
                more=f"{s['slots']} slot{'s' * (s['slots'] != 1)}",
            )
        )
    return [
        Box(
            name=p["name"],
            kind="maximum" if p["name"] in maxima else p["kind"],
            shape=shape_text(p["shape"]),
            timesteps=p["timesteps"],
            inputs=tuple(inputs.get(p["name"], ())),
            more=f"{p['cores']:,} core{'s' * (p['cores'] != 1)}" if p["cores"] else "host",
            critical=p["name"] in critical,
        )
        for p in report["populations"]
    ]


_LANE, _BOX, _GAP, _EDGES = 20.0, 330.0, 26.0, 470.0  # widths
_LINE, _BOX_HEIGHT, _SPACE = 17.0, 40.0, 15.0  # heights
_RADIUS = 7.0
_WIDEST_LANES = 180.0
_TALLEST = 1100  # pixels on the screen, above which the picture scrolls
_MOST_SQUARES = 16
_LETTER = 7.8  # width of a bold letter, at most on average
_EDGE_LETTERS = 70
_COLOURS = {"input": "#7a8494", "spiking": "#2f7fd0", "readout": "#2f9e6b", "maximum": "#9b6fd0"}
_CRITICAL = "#d2691e"
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"


def draw_graph(boxes: Sequence[Box]) -> Markup:
    """The picture; a tall one scrolls."""
    row_of = {box.name: row for row, box in enumerate(boxes)}
    edges = [(row_of[e.source], row) for row, box in enumerate(boxes) for e in box.inputs]
    rows, num_lanes = rows_of_lanes(len(boxes), edges)
    drawing = _Drawing(boxes, num_lanes)
    width, height = drawing.width, drawing.height
    picture = element(
        "svg",
        *drawing.lanes(rows),
        *(part for row, box in enumerate(boxes) for part in drawing.box(row, box)),
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        role="img",
        aria_label=f"layer graph of {len(boxes)} populations and {len(edges)} synapses",
        style=f"max-width:100%;height:auto;display:block;font-family:{_FONT};font-size:13px",
    )
    scrolls = f"max-height:{_TALLEST}px;overflow:auto" if height > _TALLEST else None
    return element("div", picture, style=scrolls)


class _Drawing:
    """Coordinates of boxes and lanes."""

    def __init__(self, boxes: Sequence[Box], num_lanes: int) -> None:
        self._step = min(_LANE, _WIDEST_LANES / max(num_lanes, 1))
        self._left = self._step * num_lanes + 14
        self._tops: list[float] = []
        y = 4.0
        for box in boxes:
            height = max(_BOX_HEIGHT, _LINE * len(_lines(box)))
            self._tops.append(y + (height - _BOX_HEIGHT) / 2)
            y += height + _SPACE
        self.height = y - _SPACE + 4
        self.width = self._left + _BOX + _GAP + _EDGES

    def _middle(self, row: int) -> float:
        return self._tops[row] + _BOX_HEIGHT / 2

    def _lane(self, lane: int) -> float:
        return self._left - 14 - self._step * (lane + 0.5)

    def lanes(self, rows: Sequence[RowOfLanes]) -> Iterator[Markup]:
        """Lines of all edges, and their arrow heads."""
        straight, skips, heads = [], [], []
        starts: dict[int, float] = {}  # y of the last piece of each lane
        middle = self._left + _BOX / 2
        for row, lanes in enumerate(rows):
            top, bottom = self._tops[row], self._tops[row] + _BOX_HEIGHT
            if lanes.arrives:
                straight.append(f"M{middle:.1f} {self._tops[row - 1] + _BOX_HEIGHT:.1f}V{top:.1f}")
                heads.append(_head(middle, top, down=True))
            for index, (lane, _) in enumerate(lanes.branches):
                x, y = self._lane(lane), top + min(10 + 7 * index, _BOX_HEIGHT - 10)
                r = min(_RADIUS, self._step / 2)
                skips.append(
                    f"M{x:.1f} {starts[lane]:.1f}V{y - r:.1f}Q{x:.1f} {y:.1f} {x + r:.1f} {y:.1f}"
                    f"H{self._left:.1f}"
                )
                starts[lane] = y - r
                heads.append(_head(self._left, y, down=False))
            if lanes.starts:
                lane = lanes.starts[0]
                x, y = self._lane(lane), bottom - 10
                r = min(_RADIUS, self._step / 2)
                skips.append(
                    f"M{self._left:.1f} {y:.1f}H{x + r:.1f}Q{x:.1f} {y:.1f} {x:.1f} {y + r:.1f}"
                )
                starts[lane] = y + r
        yield element(
            "path", d="".join(straight + skips), fill="none", stroke="currentColor",
            stroke_width=1.4, stroke_opacity=0.6,
        )  # fmt: skip
        yield element("path", d="".join(heads), fill="currentColor", fill_opacity=0.8)

    def box(self, row: int, box: Box) -> Iterator[Markup]:
        """A population with its name, shape and T (a square per timestep), and its incoming edges."""
        x, y = self._left, self._tops[row]
        colour = _COLOURS[box.kind]
        yield element(
            "rect", x=x, y=y, width=_BOX, height=_BOX_HEIGHT, rx=5, fill=colour, fill_opacity=0.16,
            stroke=_CRITICAL if box.critical else colour, stroke_width=2 if box.critical else 1.3,
        )  # fmt: skip
        right, squares = x + _BOX - 10, min(box.timesteps, _MOST_SQUARES) if box.steps else 0
        room = _BOX - 30 - (7 * squares + 50 if squares else 60)
        pooling = "max pooling" if box.kind == "maximum" else ""
        details = " · ".join(part for part in (box.shape, box.more, pooling) if part)
        yield element(
            "text", element("title", f"{box.name}, {box.kind}, {details}"),
            shortened(box.name, int(room / _LETTER)), x=x + 10, y=y + 17, fill="currentColor",
            font_weight=600,
        )  # fmt: skip
        yield element(
            "text", details, x=x + 10, y=y + 32, fill="currentColor", fill_opacity=0.78, font_size=12,
        )  # fmt: skip
        label = {"x": right - 7 * squares - 7 * bool(squares), "y": y + 17}
        yield element(
            "text", f"T = {box.steps}" if squares else box.kind, **label, text_anchor="end",
            fill="currentColor", font_weight=600 if squares else None,
            fill_opacity=None if squares else 0.78, font_size=None if squares else 12,
        )  # fmt: skip
        marks = (f"M{right - 7 * n:.1f} {y + 7.5:.1f}h5v10h-5z" for n in range(squares, 0, -1))
        yield element("path", d="".join(marks), fill=colour)
        lines = _lines(box)
        first = self._middle(row) - _LINE * (len(lines) - 1) / 2 + 4.5
        for index, line in enumerate(lines):
            yield element(
                "text", element("title", line), shortened(line, _EDGE_LETTERS), x=x + _BOX + _GAP,
                y=first + _LINE * index, fill="currentColor", fill_opacity=0.85, font_size=12,
            )  # fmt: skip


def _lines(box: Box) -> list[str]:
    """A line for each incoming edge; its source is named if there are several."""
    several = len(box.inputs) > 1
    lines = []
    for edge in box.inputs:
        words = [edge.operation.replace(" > ", ", then "), edge.aligned]
        source = f"{edge.source}: " * several
        lines.append(source + " · ".join(word for word in (*words, edge.more) if word))
    return lines


def _head(x: float, y: float, *, down: bool) -> str:
    """An arrow head that ends at a point."""
    if down:
        return f"M{x:.1f} {y:.1f}l-4 -7h8z"
    return f"M{x:.1f} {y:.1f}l-7 -4v8z"
