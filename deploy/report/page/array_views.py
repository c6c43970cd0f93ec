"""View that compares the pipeline with the PE array."""

from __future__ import annotations

from deploy.report.array_findings import findings, headline, refusal_line, silicon
from deploy.report.array_records import ArrayRecord
from deploy.report.array_tables import (
    energy_table,
    layers_table,
    mode_table,
    skipping_table,
    stalls_shown,
    waits_table,
)
from deploy.report.markup import NOTHING, Markup, details, element, fragment, join, scrolling
from deploy.report.page import bars
from deploy.report.page.pipeline_views import measured
from deploy.report.page.view import View
from deploy.report.pipeline_tables import comparison_table
from deploy.report.records import Report


def comparison(report: Report) -> Markup:
    rows, refusal = report["comparison"], refusal_line(report["pe_array"])
    if not rows and refusal is None:
        return NOTHING
    return fragment(
        element(
            "p",
            "Both compute the same integers, logits included. Cycles, stalls and traffic of "
            "the array are exact counts. Seconds and joules are these counts times coefficients of different "
            "processes and scopes: the array's leave out control and leakage.",
            class_="quiet",
        ),
        scrolling(comparison_table(rows).for_page()) if rows else NOTHING,
        *(_array(report) if refusal is None else [element("p", refusal, class_="callout")]),
    )


def _array(report: Report) -> list[Markup]:
    on_array = report["pe_array"]
    legend = element(
        "div",
        element("span", element("i", class_="iterations"), "iterations of the loop"),
        *(
            element("span", element("i", class_=f"wait-{n}"), f"waits for {n}")
            for n in stalls_shown(on_array)
        ),
        element("span", element("i", class_="edges"), "fill and drain"),
        class_="legend",
    )
    return [
        element("p", headline(on_array), class_="quiet"),
        *(element("p", sentence) for sentence in findings(on_array)),
        element("h3", "Cycles per sample"),
        legend,
        bars.cycle_bars(on_array),
        *([_skipping(on_array)] if on_array["skipping_samples"] else []),
        element("p", silicon(on_array), class_="quiet"),
        details("Cycles of each mode by cause", waits_table(on_array).for_page()),
        details("Energy of each mode, nJ per sample", energy_table(on_array).for_page()),
        details(
            "Layer by layer: cycles (share of elements in use)", layers_table(report).for_page()
        ),
        *(
            details(f"{mode['mode']}: layer by layer", mode_table(mode).for_page())
            for mode in on_array["estimates"]
        ),
    ]


def _skipping(on_array: ArrayRecord) -> Markup:
    return join(
        [
            element(
                "p",
                f"Cycles with zero operands skipped, the mean of exact counts on the first "
                f"{on_array['skipping_samples']} test samples: with all lanes in lockstep, each lane on its "
                f"own, or only non-zero operands packed. In brackets: share of cycles, share of energy. "
                f"Lanes out of step read their own weights, which can cost more than the zeros save.",
            ),
            scrolling(skipping_table(on_array).for_page()),
        ]
    )


COMPARISON = View(
    id="comparison",
    title="Pipeline compared with the PE array",
    standing="estimate",
    basis=lambda report: f"pipeline: {measured(report)}; array: one sample at a time",
    render=comparison,
)
