"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from deploy.report import html_array, html_hardware, html_pipeline
from deploy.report.markup import Markup, element, join
from deploy.report.outputs import NO_ACCURACY, accuracy_text, output_sentences
from deploy.report.records import FidelityRecord, Report

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
    cards: list[tuple[object, str]] = [
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
        cards += _accuracy_card(fidelity)
        measured = f" {_measured(report, fidelity)}"
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


def _accuracy_card(fidelity: FidelityRecord) -> list[tuple[str, str]]:
    """The accuracies, or the agreement of an output whose logits are not those of classes."""
    samples = f"{fidelity['samples']:,}"
    if fidelity["float_accuracy"] is not None:
        both = " → ".join(
            accuracy_text(fidelity, field) for field in ("float_accuracy", "integer_accuracy")
        )
        function = fidelity["accuracy_function"]
        if function is None:
            return [(both.replace("%", ""), f"% correct of {samples}, float → integer")]
        return [(both, f"{function} of {samples} samples, float → integer")]
    return [
        (
            f"{output['same_argmax_share']:.2%}",
            f"pixels of {output['name']} with the same largest channel",
        )
        for output in fidelity["outputs"]
        if output["same_argmax_share"] is not None
    ]


def _measured(report: Report, fidelity: FidelityRecord) -> str:
    """What was compared, on which samples."""
    on = (
        f"measured on the first {fidelity['samples']:,} test samples of {report['data']}, with the float "
        f"network in single precision"
    )
    outputs = " ".join(
        f"{sentence[0].upper()}{sentence[1:]}." for sentence in output_sentences(fidelity)
    )
    if fidelity["same_argmax"] is not None:
        both = f"both networks choose the same class on {fidelity['same_argmax']:,}"
        return f"Accuracy is {on}; {both}."
    if fidelity["float_accuracy"] is not None:
        return f"{fidelity['accuracy_function']} is {on}. {outputs}"
    return f"Logits are {on}. {outputs} No accuracy is defined: {NO_ACCURACY}."
