"""The layer graph: a population per row, its edges in lanes on the left, with T and bits of each.

It fits every width, since rows need no more than their text, and any number of populations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from deploy.report.markup import (
    NOTHING,
    Markup,
    breakable,
    element,
    fragment,
    join,
    shape_text,
    text,
)
from deploy.report.max_pooling import max_pooling_sentence
from deploy.report.page.graph_lanes import Edge, RowOfLanes, rows_of_lanes
from deploy.report.page.view import View
from deploy.report.records import PopulationRecord, Report, SynapseRecord

_COMPACT_FROM = 32  # populations
_MOST_SQUARES = 16
_WIDEST_LANES, _LANE = 220.0, 22.0  # pixels
_MOST_SOURCES = 3  # of inputs that are alike; of more, the first is named


def graph(report: Report) -> Markup:
    cost = max_pooling_sentence(report)
    return fragment(
        element(
            "p",
            "Samples flow from top to bottom. Each square is one timestep T. Each input shows its linear "
            "map, the bits of its weights and the slots D of its alignment buffer. A state needs the bits of "
            "its proved bound. ",
            element("span", "Orange", class_="sets-interval"),
            " marks the populations that set the interval between results, and the buffers they wait for.",
            element(
                "span", " Click a population to follow it in every tab.", class_="scripted-only"
            ),
            class_="quiet",
        ),
        layer_table(report),
        NOTHING if cost is None else element("p", f"{cost[0].upper()}{cost[1:]}."),
    )


def layer_table(report: Report) -> Markup:
    """The graph as a table, which screen readers can read."""
    populations, synapses = report["populations"], report["synapses"]
    row_of = {population["name"]: row for row, population in enumerate(populations)}
    edges = [(row_of[s["source"]], row_of[s["target"]]) for s in synapses]
    rows, num_lanes = rows_of_lanes(len(populations), edges)
    critical = {
        (row_of[source], row_of[target])
        for source, target in report["pipeline"]["critical_buffers"]
    }
    sets_interval = set(report["pipeline"]["critical_populations"])
    lanes = _Lanes(num_lanes, critical)
    incoming: dict[str, list[SynapseRecord]] = defaultdict(list)
    for synapse in synapses:
        incoming[synapse["target"]].append(synapse)
    body = [
        element(
            "tr",
            element("td", lanes.picture(row, population["name"] in sets_interval), class_="lanes"),
            *_cells(population, incoming[population["name"]]),
            class_="critical" if population["name"] in sets_interval else None,
            data_population=population["name"],
            data_sources=" ".join(str(row_of[s["source"]]) for s in incoming[population["name"]]),
        )
        for population, row in zip(populations, rows, strict=True)
    ]
    head = (
        "Graph",
        "Population",
        "Timesteps T",
        "Shape",
        "Inputs: map, weights, slots",
        "State",
        "Cores",
    )
    kind = "layers compact" if len(populations) >= _COMPACT_FROM else "layers"
    return element(
        "table",
        element("thead", element("tr", *(element("th", words, scope="col") for words in head))),
        element("tbody", *body),
        class_=kind,
    )


def _cells(population: PopulationRecord, inputs: Sequence[SynapseRecord]) -> list[Markup]:
    name = element("button", breakable(population["name"]), type="button", class_="pick")
    return [
        element("th", name, scope="row"),
        element("td", _timesteps(population["timesteps"]), class_="timesteps"),
        element("td", shape_text(population["shape"]), class_="shape"),
        element("td", *map(_input, _alike(inputs)), class_="inputs"),
        element("td", _state_bits(population), class_="state"),
        element("td", _cores(population), class_="cores"),
    ]


def _timesteps(timesteps: int) -> Markup:
    squares = [
        element("rect", x=10 * i, y=0, width=8, height=11, rx=1.5, class_="step")
        for i in range(min(timesteps, _MOST_SQUARES))
    ]
    width = 10 * len(squares)
    picture = element("svg", *squares, width=width, height=11, aria_hidden="true")
    return join([element("b", timesteps), picture])


def _alike(inputs: Sequence[SynapseRecord]) -> list[list[SynapseRecord]]:
    """Inputs in groups that differ in their source alone."""
    groups = defaultdict(list)
    for s in inputs:
        groups[s["operation"], s["weight_bits"], s["slots"], s["alignment"]].append(s)
    return list(groups.values())


def _input(group: Sequence[SynapseRecord]) -> Markup:
    first, sources = group[0], [s["source"] for s in group]
    alignment = "" if first["alignment"] == "average" else f", {first['alignment']}"
    each = " each" if len(group) > 1 else ""
    shown = sources if len(sources) <= _MOST_SOURCES else sources[:1]
    left = len(sources) - len(shown)
    more = f" and {left} more" if left else ""
    return element(
        "div",
        element("span", join(map(breakable, shown), ", "), more, class_="source"),
        " ",
        element("span", first["operation"].replace(" > ", ", then "), class_="map"),
        f", {first['weight_bits']}-bit, D\u00a0=\u00a0{first['slots']}{each}{alignment}",
        title=", ".join(sources) if left else None,
    )


def _state_bits(population: PopulationRecord) -> str:
    if "state_bound" not in population or "state_limit" not in population:
        return ""
    used, available = (population[key].bit_length() + 1 for key in ("state_bound", "state_limit"))
    return f"{used} of {available} bits"


def _cores(population: PopulationRecord) -> str:
    if not population["cores"]:
        return "host"
    replicas = population["replicas"]
    each = population["cores"] // replicas
    words = f"{each:,} core{'s' * (each > 1)}"
    return f"{replicas} × {words}" if replicas > 1 else words


class _Lanes:
    """Draws the lanes of a row: as wide as all lanes, and stretched to the height of the row."""

    def __init__(self, num_lanes: int, critical: set[Edge]) -> None:
        self._critical = critical
        self._step = min(_LANE, _WIDEST_LANES / (num_lanes + 1))
        self._width = self._step * num_lanes + _LANE
        self._node = self._width - _LANE / 2

    def _x(self, lane: int) -> float:
        return self._node - self._step * (lane + 1)

    def picture(self, row: RowOfLanes, is_critical: bool) -> Markup:
        lines: dict[bool, list[str]] = {False: [], True: []}

        def draw(edges: Sequence[Edge], path: str) -> None:
            lines[any(edge in self._critical for edge in edges)].append(path)

        node = f"{self._node:g}"
        if row.arrives:
            draw([row.arrives], f"M{node} 0V50")
        if row.leaves:
            draw([row.leaves], f"M{node} 50V100")
        for lane, edges in row.passing:
            draw(edges, f"M{self._x(lane):g} 0V100")
        for lane, edge in row.branches:
            x = f"{self._x(lane):g}"
            draw([edge], f"M{x} 0C{x} 40 {x} 50 {node} 50")
        if row.starts:
            x = f"{self._x(row.starts[0]):g}"
            draw(row.starts[1], f"M{node} 50C{x} 50 {x} 60 {x} 100")
        kind = "node critical" if is_critical else "node"
        drawn = [
            element("path", d="".join(paths), class_="edge critical" if heavy else "edge")
            for heavy, paths in lines.items()
            if paths
        ]
        dot = element("path", d=f"M{node} 50h0", class_=kind)
        return join(
            [
                element("svg", width=self._width, height=1, aria_hidden="true"),  # gives the cell its width
                element(
                    "svg", *drawn, dot, viewBox=f"0 0 {text(f'{self._width:g}')} 100",
                    preserveAspectRatio="none", class_="drawn", aria_hidden="true",
                ),
            ]
        )  # fmt: skip


GRAPH = View(
    id="graph",
    title="Layer graph",
    standing="exact",
    basis=lambda report: "as mapped",
    render=graph,
    scripts=("layer_graph.js",),
)
