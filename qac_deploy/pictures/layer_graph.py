"""The layer graph as a picture: a box per population, with its T, shape and incoming edges.

Boxes stand below each other in the order of the flow; edges that skip a box run in lanes on the left. All
lines and letters have the colour of the text around the picture, so it fits light and dark notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.report.markup import Markup, element, shape_text
from deploy.report.page.graph_lanes import rows_of_lanes

if TYPE_CHECKING:
    from deploy.report.records import Report
    from toolchain.networks.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True)
class EdgeLabel:
    """An incoming edge.

    Attributes:
        operation: its linear maps in words.
        alignment: how counts of one firing window become those of another.
        more: what else is known, such as slots.
    """

    source: str
    operation: str
    alignment: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A population as it is drawn."""

    name: str
    kind: str
    shape: str
    timesteps: int
    inputs: tuple[EdgeLabel, ...]
    more: str = ""

    @property
    def steps(self) -> str:
        """T of a spiking population."""
        return str(self.timesteps) if self.kind == "spiking" else ""

    @property
    def words(self) -> str:
        """The incoming edges in one line."""
        return "; ".join(f"{e.source}: {e.operation}, {e.alignment}" for e in self.inputs)


def boxes_of_graph(graph: LayerGraph) -> list[Box]:
    """Boxes of a float network."""
    from toolchain.networks.linear_maps import describe

    return [
        Box(
            name=p.name,
            kind=p.kind,
            shape=shape_text(p.shape),
            timesteps=p.timesteps,
            inputs=tuple(
                EdgeLabel(
                    source=s.source,
                    operation=" > ".join(map(describe, s.maps)) or "identity",
                    alignment=s.alignment,
                )
                for s in graph.incoming(p.name)
            ),
        )
        for p in graph.populations
    ]


def boxes_of_report(report: Report) -> list[Box]:
    """Boxes of a mapped network, with cores and slots."""
    inputs: dict[str, list[EdgeLabel]] = {}
    for s in report["synapses"]:
        inputs.setdefault(s["target"], []).append(
            EdgeLabel(
                source=s["source"],
                operation=s["operation"],
                alignment=s["alignment"],
                more=f"{s['slots']} slot{'s' * (s['slots'] != 1)}",
            )
        )
    return [
        Box(
            name=p["name"],
            kind=p["kind"],
            shape=shape_text(p["shape"]),
            timesteps=p["timesteps"],
            inputs=tuple(inputs.get(p["name"], ())),
            more=f"{p['cores']:,} core{'s' * (p['cores'] != 1)}" if p["cores"] else "host",
        )
        for p in report["populations"]
    ]


def draw_graph(boxes: Sequence[Box]) -> Markup:
    """The picture; tall ones scroll."""
    return element("div", *_parts(boxes))


def _parts(boxes: Sequence[Box]) -> Iterator[Markup]:
    row_of = {box.name: row for row, box in enumerate(boxes)}
    edges = [(row_of[e.source], row) for row, box in enumerate(boxes) for e in box.inputs]
    rows_of_lanes(len(boxes), edges)
    yield element("pre", "\n".join(f"{b.name} {b.shape} {b.steps} {b.words}" for b in boxes))
