"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from deploy.report import html_array, html_hardware, html_pipeline
from deploy.report.markup import Markup, element, join
from deploy.report.records import Report

_STYLE = Path(__file__).with_name("report.css")


def render_html(report: Report) -> str:
    """The page for a ``report.json`` document; equal documents give equal bytes."""
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
        *html_pipeline.SECTIONS,
        *html_array.SECTIONS,
        *html_hardware.SECTIONS,
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
            f"ticks between results (longest window: {pipeline['ideal_interval_ticks']:g})",
        ),
        (f"{mapping['num_cores']:,} of {mapping['available_cores']:,}", "cores"),
    ]
    measured = ""
    if fidelity:
        both = (fidelity["float_accuracy"], fidelity["integer_accuracy"])
        shares = " → ".join(f"{100 * share:.2f}" for share in both)
        cards.append((shares, f"% correct of {fidelity['samples']:,}, float → integer"))
        measured = (
            f" Accuracy is measured on the first {fidelity['samples']:,} test samples of {report['data']}, "
            f"with the float network in single precision; both networks choose the same class on "
            f"{fidelity['same_argmax']:,}."
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
