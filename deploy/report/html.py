"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from deploy.report import html_array, html_hardware, html_pipeline
from deploy.report.markup import Markup, element, join
from deploy.report.records import Report

_STYLE = Path(__file__).with_name("report.css")


def render_html(report: Report) -> str:
    """The page for a ``report.json`` document; the same document gives the same bytes."""
    title = f"{report['model']['file']} on {report['target']['name']}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title}: pipeline report"),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    parts = (
        _header,
        html_pipeline.limit,
        html_pipeline.designs,
        html_pipeline.graph,
        html_pipeline.stalls,
        html_pipeline.times,
        html_pipeline.timeline,
        html_pipeline.paths,
        html_pipeline.alignments,
        html_array.comparison,
        html_hardware.cores,
        html_hardware.sensitivity,
        html_hardware.sources,
    )
    body = element("body", *(part(report) for part in parts))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(report: Report) -> Markup:
    pipeline, mapping, fidelity = report["pipeline"], report["mapping"], report["fidelity"]
    cards = [
        (f"{report['mean_timesteps']:.2f}", "mean timesteps T"),
        (pipeline["first_latency_ticks"], "ticks to first result"),
        (
            pipeline["interval_exact"],
            f"ticks between results (ideal {pipeline['ideal_interval_ticks']:g})",
        ),
        (f"{1 / pipeline['interval_ticks']:.3f}", "results per tick"),
        (f"{mapping['num_cores']} of {mapping['available_cores']}", "cores"),
    ]
    if fidelity:
        both = (fidelity["float_accuracy"], fidelity["integer_accuracy"])
        cards.append(
            (" → ".join(f"{100 * share:.2f}" for share in both), "% correct, float → integer")
        )
    measured = ""
    if fidelity:
        measured = (
            f" Measured on the first {fidelity['samples']} test samples of {report['data']}, the float "
            f"network in single precision; both choose the same class on {fidelity['same_argmax']}."
        )
    if report["data_note"]:
        measured += f" {report['data_note']}."
    return join(
        [
            element("h1", f"{report['model']['file']} on {report['target']['name']}"),
            element("p", report["target"]["description"] + measured, class_="lead"),
            element(
                "div",
                *(
                    element("div", element("b", v), element("span", t), class_="card")
                    for v, t in cards
                ),
                class_="cards",
            ),
        ]
    )
