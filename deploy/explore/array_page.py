"""The part of an exploration's page that shows the shapes of a PE array."""

from __future__ import annotations

from deploy.explore.array_shapes import ArrayDesignRecord, ArrayExplorationRecord
from deploy.report.markup import NOTHING, Markup, element, join, number
from deploy.report.pareto import Axis, pareto_plot

_FIGURE = "shapes"
_AXES = (
    Axis(key="accuracy", label="accuracy on training images, %", higher_is_better=True, factor=100),
    Axis(key="array_us", label="time per sample, µs"),
    Axis(key="array_nj", label="energy per sample, nJ"),
    Axis(key="port_bytes", label="traffic through the ports, kB", factor=1e-3),
    Axis(key="utilisation", label="elements used, %", higher_is_better=True, factor=100),
    Axis(key="cycles", label="cycles per sample"),
)
_MOST_PLOTTED = 3_000
"""Most shapes off the front in the plot; all of them are in ``array.csv``."""


def array_section(record: ArrayExplorationRecord | None) -> Markup:
    """The plot and the front of an array's shapes; nothing if none was explored."""
    if record is None or not record["designs"]:
        return NOTHING
    off_front = [design for design in record["designs"] if not design["on_front"]]
    front = [design for design in record["designs"] if design["on_front"]]
    plotted = [*front, *off_front[:_MOST_PLOTTED]]
    plot = pareto_plot(
        [
            {
                "label": _label(design),
                "command": design["command"],
                "measures": design["measures"],
                "on_front": design["on_front"],
            }
            for design in plotted
        ],
        identifier=_FIGURE,
        axes=_AXES,
        x="array_us",
        y="array_nj",
    )
    less = ""
    if len(plotted) < len(record["designs"]):
        hidden = len(record["designs"]) - len(plotted)
        less = f" {hidden:,} designs off the front are in array.csv only."
    return join(
        [
            element("h2", f"Shapes of the PE array: {len(record['designs']):,} designs"),
            element(
                "p",
                f"{record['elements']:,} elements of {record['array']}, unrolled in every way over M output "
                f"channels, N columns, S timesteps and V input channels, for {record['networks']} integer "
                f"networks of the designs above. The front compares accuracy, time and energy.{less}",
                class_="quiet",
            ),
            plot,
            _table(front),
        ]
    )


def _label(design: ArrayDesignRecord) -> str:
    shape = " x ".join(map(str, design["unrolling"]))
    return f"{shape}, {design['mode']}, network of design {design['design']}"


def _table(front: list[ArrayDesignRecord]) -> Markup:
    headings = ["M x N x S x V", "mode", "network of design"]
    shown = [axis for axis in _AXES if axis.key != "cycles"]
    head = [
        *(element("th", element("button", h, type="button"), scope="col") for h in headings),
        *(
            element("th", element("button", axis.label, type="button"), scope="col", class_="n")
            for axis in shown
        ),
    ]
    rows = []
    for place, design in enumerate(front):
        values = [(axis, design["measures"][axis.key]) for axis in shown]
        rows.append(
            element(
                "tr",
                element(
                    "td",
                    element("span", " x ".join(map(str, design["unrolling"]))),
                    element(
                        "button",
                        "show",
                        type="button",
                        class_="scripted-only",
                        data_figure=_FIGURE,
                        data_design=place,
                        aria_label=f"show {_label(design)} in the plot, with its command",
                    ),
                    class_="number",
                ),
                element("td", design["mode"]),
                element("td", design["design"]),
                *(
                    element(
                        "td",
                        "" if value is None else number(value * axis.factor),
                        class_="n",
                        data_value=repr(value),
                    )
                    for axis, value in values
                ),
            )
        )
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *head)),
            element("tbody", *rows),
            class_="front",
        ),
        class_="scroll tall",
        tabindex="0",
        role="region",
        aria_label="The Pareto front of the array's shapes",
    )
