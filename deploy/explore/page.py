"""The page of an exploration: the best designs, a plot of all, the front as a table, and what was varied."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from deploy.explore.array_page import array_section
from deploy.explore.records import DesignRecord, ExplorationRecord, MeasureRecord, front_of, mean
from deploy.report.markup import NOTHING, Markup, element, join, number
from deploy.report.pareto import AXES, Axis, pareto_plot, pareto_script, pareto_style

_MOST_PLOTTED = 5_000
"""Most designs off the front in the plot; all of them are in ``designs.csv``."""

_HERE = Path(__file__)


def render_exploration(record: ExplorationRecord) -> str:
    """The page for ``explore.json``; equal records give equal bytes."""
    style = Markup(_HERE.with_name("page.css").read_text(encoding="utf-8") + pareto_style())
    script = Markup(pareto_script() + _HERE.with_name("page.js").read_text(encoding="utf-8"))
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        f"base-uri 'none'; form-action 'none'"
    )
    title = f"{Path(record['model']).name}: {len(record['designs']):,} designs explored"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    plotted = _plotted(record)
    index = {design["number"]: place for place, design in enumerate(plotted)}
    body = element(
        "body",
        element(
            "main",
            element("h1", title),
            _basis(record),
            _best(record, index),
            _plot(plotted, record),
            _table(record, index),
            array_section(record["array"]),
            _varied(record),
            _refused(record),
        ),
        element("script", script),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _source(text: str) -> str:
    """The hash by which the page's policy allows its own style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _basis(record: ExplorationRecord) -> Markup:
    tried = f"All {len(record['designs']):,} designs of the space were tried"
    if not record["tried_all"]:
        tried = (
            f"{len(record['designs']):,} of {record['space_size']:,} combinations were tried, as NSGA-II "
            f"proposed them (seed {record['seed']})"
        )
    measured = ""
    if record["data"] is not None:
        measured = (
            f"Accuracy is that on the last {record['tuning_samples']:,} training images of "
            f"{record['data']}; the designs below were then measured on test images, too. Times and energies "
            f"are estimates; where a target has several cost profiles, their mean is compared."
        )
    if record["accuracy_budget"] is not None:
        measured += (
            f" Designs that lose more than {record['accuracy_budget']:g} points of accuracy against the "
            f"default are off the front."
        )
    targets = ", ".join(record["targets"])
    note = record["data_note"]
    return join(
        [
            element("p", f"{tried}, on {targets}. {measured}", class_="quiet"),
            NOTHING if note is None else element("p", note, class_="note"),
        ]
    )


def _best(record: ExplorationRecord, index: dict[int, int]) -> Markup:
    default, *_ = record["designs"]
    marked = [design for design in front_of(record) if design["mark"]]
    if default["measures"] is not None:
        marked = [default, *(design for design in marked if design is not default)]
    cards = []
    for design in marked:
        values = [
            join(
                [
                    element("dt", measure["title"]),
                    element(
                        "dd",
                        shown(measure, design),
                        _compared(measure, design, default),
                        class_="own" if measure["best"] in design["mark"].split(", ") else None,
                    ),
                ]
            )
            for measure in record["compared_by"]
        ]
        if design["test_accuracy"] is not None:
            value, own = design["test_accuracy"], record["accuracy_function"]
            on_test = f"{100 * value:.2f} %" if own is None else number(value)
            padding = NOTHING if design is default else element("small")
            values.append(join([element("dt", "on test images"), element("dd", on_test, padding)]))
        heading = design["mark"]
        if design is default:
            heading = ", ".join(filter(None, ["the default", design["mark"]]))
        cards.append(
            element(
                "li",
                element("h3", heading),
                element("dl", *values),
                element("p", design["change"], class_="change"),
                _show(design, index, "show its command"),
            )
        )
    return element("ul", *cards, class_="best") if cards else NOTHING


def _compared(measure: MeasureRecord, design: DesignRecord, default: DesignRecord) -> Markup:
    """The difference from the default design: points of accuracy, else per cent."""
    if design is default or default["measures"] is None:
        return NOTHING
    before, after = value_of(measure, default), value_of(measure, design)
    if measure["is_share"]:
        difference, unit, digits = 100 * (after - before), "pts", 1
    elif before:
        difference, unit, digits = 100 * (after / before - 1), "%", 0
    else:
        return NOTHING
    if round(difference, digits) == 0:
        return element("small", "same")
    return element("small", f"{difference:+.{digits}f} {unit}".replace("-", "−"))


def _show(design: DesignRecord, index: dict[int, int], text: str) -> Markup:
    return element(
        "button",
        text,
        type="button",
        class_="scripted-only",
        data_figure="pareto",
        data_design=index[design["number"]],
        aria_label=f"show design {design['number']} in the plot, with its command",
    )


def _plotted(record: ExplorationRecord) -> list[DesignRecord]:
    """The designs in the plot: the front, and the others up to a number."""
    built = [design for design in record["designs"] if design["measures"] is not None]
    others = [d for d in built if not d["on_front"] and d["number"]]
    left_out = {design["number"] for design in others[_MOST_PLOTTED:]}
    return [design for design in built if design["number"] not in left_out]


def _plot(plotted: list[DesignRecord], record: ExplorationRecord) -> Markup:
    keys = [measure["key"] for measure in record["compared_by"]]
    plot = pareto_plot(
        [
            {
                "label": f"{d['number']}: {d['change']}",
                "command": d["command"],
                "measures": {**(d["measures"] or {})},
                "on_front": d["on_front"],
                "mark": d["mark"],
            }
            for d in plotted
        ],
        axes=AXES if record["accuracy_function"] is None else _with_own_accuracy(record),
        x="energy_nj" if "energy_nj" in keys else "num_cores",
        y="accuracy" if "accuracy" in keys else "interval_ticks",
    )
    built = sum(design["measures"] is not None for design in record["designs"])
    less = ""
    if built > len(plotted):
        less = f" {built - len(plotted):,} designs off the front are in designs.csv only."
    return join(
        [
            element("h2", "Designs by two measures"),
            element(
                "p",
                "Choose the two measures, then a design: click on it, or use the arrow keys."
                + less,
                class_="quiet scripted-only",
            ),
            plot or element("p", "All designs have the same measures."),
        ]
    )


def _with_own_accuracy(record: ExplorationRecord) -> list[Axis]:
    """The axes with the user's accuracy, which need not be a share."""
    (title,) = (m["title"] for m in record["compared_by"] if m["key"] == "accuracy")
    own = Axis(key="accuracy", label=title, higher_is_better=True)
    return [own if axis.key == "accuracy" else axis for axis in AXES]


def _table(record: ExplorationRecord, index: dict[int, int]) -> Markup:
    front = front_of(record)
    if not front:
        return NOTHING
    headings = ["design", "best in", "difference from the default"]
    head = [
        *(element("th", element("button", h, type="button"), scope="col") for h in headings),
        *(
            element("th", element("button", m["title"], type="button"), scope="col", class_="n")
            for m in record["compared_by"]
        ),
    ]
    rows = [
        element(
            "tr",
            element(
                "td",
                element("span", design["number"]),
                _show(design, index, "show"),
                class_="number",
                data_value=design["number"],
            ),
            element("td", design["mark"]),
            element("td", design["change"], class_="change"),
            *(
                element("td", shown(m, design), class_="n", data_value=repr(value_of(m, design)))
                for m in record["compared_by"]
            ),
        )
        for design in front
    ]
    return join(
        [
            element("h2", f"The Pareto front: {len(front):,} designs"),
            element(
                "p",
                "No other design that was tried is at least as good in all of these measures and better in "
                "one. Of designs with equal measures, the first is listed.",
                class_="quiet",
            ),
            element(
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
                aria_label="The Pareto front",
            ),
        ]
    )


def _varied(record: ExplorationRecord) -> Markup:
    rows = [
        element(
            "tr",
            element("td", parameter["name"]),
            element(
                "td",
                ", ".join("as the rest" if c is None else str(c) for c in parameter["choices"]),
            ),
        )
        for parameter in record["space"]
    ]
    head = element("tr", element("th", "parameter"), element("th", "values, the default first"))
    return element(
        "details",
        element("summary", f"What was varied: {len(rows)} parameters"),
        element(
            "div",
            element("table", element("thead", head), element("tbody", *rows)),
            class_="scroll",
            tabindex="0",
        ),
    )


def _refused(record: ExplorationRecord) -> Markup:
    """Designs that cannot be built, by reason."""
    reasons = Counter(d["refused"] for d in record["designs"] if d["refused"] is not None)
    if not reasons:
        return NOTHING
    rows = [
        element("tr", element("td", f"{count:,}", class_="n"), element("td", reason))
        for reason, count in reasons.most_common(20)
    ]
    return element(
        "details",
        element("summary", f"{reasons.total():,} designs cannot be built"),
        element(
            "div",
            element("table", element("tbody", *rows)),
            class_="scroll",
            tabindex="0",
        ),
    )


def value_of(measure: MeasureRecord, design: DesignRecord) -> float:
    """A measure of a design that was built."""
    measures: Any = design["measures"]
    found = mean(measures[measure["key"]])
    assert found is not None
    return found


def shown(measure: MeasureRecord, design: DesignRecord) -> str:
    """A measure as text."""
    value = value_of(measure, design)
    return f"{100 * value:.2f} %" if measure["is_share"] else number(value)
