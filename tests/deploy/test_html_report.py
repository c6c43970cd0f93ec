"""The HTML page: complete, self-contained, well-formed, and safe against hostile names."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from deploy.report.html import render_html
from deploy.report.markup import VOID


class Page(HTMLParser):
    """Collects text and attributes, and checks that elements nest."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(report):
    page = Page()
    page.feed(render_html(report))
    page.close()
    assert not page.open
    return page


@pytest.fixture
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


def test_the_page_shows_what_matters(report):
    text = " ".join(parse(report).text)
    for population in report["populations"]:
        assert population["name"] in text
    pipeline = report["pipeline"]
    for shown in (
        pipeline["interval_exact"],
        f"{pipeline['samples']} samples in {pipeline['num_ticks']} ticks",
        pipeline["explanation"],
        pipeline["changes"][0]["description"],
        "loihi-sim, sanafe",
        "loihi-sim, sanafe, no barrier",
        "pe-array (ann_bit_serial)",
        "replicate",
        "Horowitz",
    ):
        assert shown in text


def test_every_section_says_what_its_figures_describe(report):
    """The run shown, the steady state or the mapping; and the samples, if it was measured on any."""
    html = render_html(report)
    sections = html.split("<section ")[1:]
    basis = {
        part.partition('id="')[2].partition('"')[0]: part.partition('class="basis">')[2].partition(
            "<"
        )[0]
        for part in sections
    }
    assert basis.pop("sources") == ""  # no figures but those of the hardware
    pipeline = report["pipeline"]
    run = f"run shown: {pipeline['samples']} samples in {pipeline['num_ticks']} ticks"
    measured = "steady state, on the last 8 training images"
    assert report["cost_samples"] == 8
    assert basis == {
        "limit": "steady state",
        "graph": "as mapped",
        "stalls": run,
        "times": measured,
        "timeline": run,
        "paths": run,
        "alignment": "steady state; accuracy on the first 256 test samples",
        "comparison": f"pipeline: {measured}; array: one sample at a time",
        "mapping": "as mapped",
        "sensitivity": measured,
    }


def test_the_layer_graph_fits_the_page(report):
    """It shrinks to the width of the page, 1184 pixels of a window of 1280, before it scrolls."""
    graph = render_html(report).partition('<section id="graph"')[2].partition("</svg>")[0]
    least = graph.partition('style="min-width:')[2].partition("px")[0]
    assert 0.7 * 1184 < int(least) <= 1184


def test_each_firing_window_is_drawn_once(report):
    page = parse(report)
    classes = [value for name, value in page.attributes if name == "class"]
    windows = sum(value.startswith("busy sample-") for value in classes if value)
    assert windows == report["pipeline"]["samples"] * len(report["populations"])


def test_nothing_is_loaded_from_elsewhere(report):
    page = parse(report)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in ("src", "href", "onclick", "onload")
        assert "http" not in (value or "")


def test_a_hostile_name_stays_text(report):
    hostile = "<script>alert(1)</script>\"'&"
    renamed = json.loads(json.dumps(report).replace('"stem"', json.dumps(hostile)))
    page = parse(renamed)
    assert "script" not in page.tags
    assert any(hostile in text for text in page.text)


def test_a_model_without_data_still_has_a_page(report):
    report |= {"fidelity": None, "alignment_trade": [], "costs": {}, "comparison": [], "data": None}
    report["pe_array"]["estimates"] = []
    text = " ".join(parse(report).text)
    assert "What limits the pipeline" in text
    assert "Pipeline compared with the PE array" not in text


def test_the_same_report_gives_the_same_page(report):
    assert render_html(report) == render_html(json.loads(json.dumps(report)))
