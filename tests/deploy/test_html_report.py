"""The HTML page: complete, self-contained, well-formed, and safe against hostile names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.report.html import render_html, render_refusal
from deploy.report.markup import (
    VOID,
    breakable,
    command_box,
    data_block,
    energy_texts,
    number,
    time_texts,
)
from deploy.report.page.frame import page
from deploy.report.page.graph_lanes import rows_of_lanes
from deploy.report.page.view import Tab, View


class Page(HTMLParser):
    """Collects text and attributes, and checks that elements nest."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes, self.tags = [], [], [], []
        self.code = {"script": [], "style": []}

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.code["script"].append([dict(attributes).get("type"), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        match self.open[-1] if self.open else None:
            case "script":
                self.code["script"][-1][1] += data
            case "style":
                self.code["style"].append(data)
            case _:
                self.text.append(data)

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


def parse(html):
    parsed = Page()
    parsed.feed(html)
    parsed.close()
    assert not parsed.open
    return parsed


def words(html):
    """The text of a part of the page as one line."""
    return " ".join("".join(parse(html).text).split())


def section(html, anchor):
    """The section of a view, without what follows it."""
    part = html[html.index(f'<section id="{anchor}"') :]
    depth = 0
    for tag in re.finditer(r"<(/?)section\b", part):
        depth += -1 if tag[1] else 1
        if depth == 0:
            return part[: part.index(">", tag.end()) + 1]
    raise AssertionError(anchor)


@pytest.fixture
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


def test_the_first_screen_answers(report):
    """Fits or not, accuracy, samples per second, microseconds, energy, stalls, and what to change."""
    shown = words(section(render_html(report), "overview"))
    fit, pipeline = report["fit"], report["pipeline"]
    assert f"Does it fit?exactYes {fit['num_cores']} of 128 cores, 1 chip" in shown
    tightest = fit["tightest"]
    assert f"Tightest limit: {tightest['limit']} of {tightest['population']}, " in shown
    assert f"{report['fidelity']['integer_accuracy']:.2%} of samples correct" in shown
    assert "first 540 test samples of digits" in shown
    for cost in report["costs"].values():
        assert f"{1 / cost['interval_s']:,.0f}" in shown
        assert f"{cost['first_latency_s'] * 1e6:.0f}" in shown
        assert f"{cost['energy_per_sample_j'] * 1e6:.1f}" in shown
    assert "samples per second" in shown
    assert "µs from sample to result" in shown
    assert "µJ per sample" in shown
    assert f"the same class on {report['fidelity']['same_argmax']} of 540." in shown
    assert "cost profiledavies2018sanafe" in shown
    assert "steady state, on the last 8 training images" in shown
    assert f"first result after {pipeline['first_latency_ticks']}, then one every 5.5" in shown
    assert f"{pipeline['stall_share']:.0%}".replace("%", " %") in shown
    assert "The buffer stem → join sets the ticks between results: join, stem, inner wait" in shown


def test_the_first_screen_says_what_to_change_and_what_it_would_give(report):
    shown = words(section(render_html(report), "overview"))
    best, *others = report["suggestions"]
    change = f"{best['change'][0].upper()}{best['change'][1:]}"
    assert f"What to change?{change}{best['command']}Copy" in shown
    now, gives = report["measures"], best["gives"]
    for profile, before in now["interval_us"].items():
        assert f"{before:.1f} → {gives['interval_us'][profile]:.1f} {profile}" in shown
    assert shown.count("µJ per sample") == 3  # the card, the best change, and the others
    for profile, before in now["energy_nj"].items():
        assert f"{before / 1e3:.2f}" in shown
        assert f"{before:,.0f}" not in shown
        assert number(gives["energy_nj"][profile] / 1e3) in shown
    for suggestion in others:
        assert suggestion["command"] in shown
    lossy = next(s for s in others if not s["keeps_integers"])
    accuracies = now["accuracy"], lossy["gives"]["accuracy"]
    assert " → ".join(f"{accuracy:.2%}" for accuracy in accuracies) in shown
    report["fidelity"]["accuracy_function"] = "metrics.py:likelihood"  # no share of samples
    shown = words(section(render_html(report), "overview"))
    assert " → ".join(f"{accuracy:.4f}" for accuracy in accuracies) in shown


def test_without_suggestions_the_first_screen_says_why(report):
    report["suggestions"] = []
    shown = words(section(render_html(report), "overview"))
    assert "What to change?Nothing: no single change that was tried is better." in shown
    assert "Other changes" not in shown
    report["suggestions_left_out"] = "changes to its weights are not tried"
    shown = words(section(render_html(report), "overview"))
    assert "Other changesChanges to its weights are not tried." in shown


def test_without_data_the_first_screen_says_how_to_measure(report):
    report |= {"fidelity": None, "alignment_trade": [], "costs": {}, "comparison": [], "data": None}
    report["measures"] |= {"interval_us": {}, "first_latency_us": {}, "energy_nj": {}}
    for suggestion in report["suggestions"]:
        suggestion["gives"] |= {"interval_us": {}, "first_latency_us": {}, "energy_nj": {}}
    report["pe_array"]["estimates"] = []
    html = render_html(report)
    shown = words(section(html, "overview"))
    for what in ("Accuracy", "Energy", "Time"):
        assert f"{what} needs samples: compile again with --data" in shown
    assert "5.5 ticks between results" in shown
    assert 'id="comparison"' not in html
    assert ">PE array</a>" not in html


def test_the_page_shows_what_matters(report):
    html = render_html(report)
    text = words(html)
    for population in report["populations"]:
        assert population["name"] in text
    pipeline = report["pipeline"]
    for shown in (
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


def test_every_view_says_what_its_figures_describe(report):
    """The run shown, the steady state or the mapping; and the samples, if it was measured on any."""
    views = re.findall(
        r'<section id="([\w-]+)" aria-labelledby="\1-title">(.*?)</h2>(.*?)</div>',
        render_html(report),
    )
    basis = {anchor: re.search(r'class="basis">([^<]*)', heading) for anchor, _, heading in views}
    basis = {anchor: found and found[1] for anchor, found in basis.items()}
    assert basis.pop("sources") is None  # no figures but those of the hardware
    pipeline = report["pipeline"]
    run = f"run shown: {pipeline['samples']} samples in {pipeline['num_ticks']} ticks"
    measured = "steady state, on the last 8 training images"
    assert report["cost_samples"] == 8
    expected = {
        "limit": "steady state",
        "graph": "as mapped",
        "times": measured,
        "timeline": run,
        "paths": run,
        "alignment": "steady state; accuracy on the first 256 test samples",
        "comparison": f"pipeline: {measured}; array: one sample at a time",
        "sensitivity": measured,
    }
    assert {anchor: basis[anchor] for anchor in expected} == expected
    assert all(basis.values())


def test_headings_follow_one_another_and_links_lead_to_views(report):
    html = render_html(report)
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    parsed = parse(html)
    anchors = parsed.values("id")
    assert len(anchors) == len(set(anchors))
    links = [link[1:] for link in parsed.values("href") if link.startswith("#")]
    assert {"main", "overview", "graph", "sources"} <= set(links) <= set(anchors)


def test_each_row_of_the_layer_graph_shows_timesteps_and_bits(report):
    graph = section(render_html(report), "graph")
    rows = dict(re.findall(r'<tr[^>]*data-population="([^"]+)"[^>]*>(.*?)</tr>', graph))
    assert list(rows) == [p["name"] for p in report["populations"]]
    for population in report["populations"]:
        row = rows[population["name"]]
        assert row.count('class="step"') == population["timesteps"]
        if population["kind"] != "input":
            bits = population["state_bound"].bit_length() + 1
            assert f"{bits} of 24 bits" in row
    for synapse in report["synapses"]:
        line = f"{synapse['weight_bits']}-bit, D\u00a0=\u00a0{synapse['slots']}"
        assert line in rows[synapse["target"]]
    assert {s["weight_bits"] for s in report["synapses"] if "conv" in s["operation"]} == {8}
    assert rows["join"].count("<path") == 3  # edges, the buffer that sets the interval, the node


def test_equal_inputs_of_a_layer_are_shown_together(report):
    """As in a dense block, where a layer reads every layer before it."""
    join = report["populations"][3]["name"]
    (base,) = (s for s in report["synapses"] if s["operation"] == "identity")
    report["synapses"] = [
        {**base, "source": p["name"], "target": join} for p in report["populations"][:3]
    ]
    row = section(render_html(report), "graph").partition(f'data-population="{join}"')[2]
    bits = f"{base['weight_bits']}-bit"
    assert f"input, stem, inner: identity, {bits}" in words(
        row.partition('class="inputs">')[2].partition("</td>")[0]
    ).replace("inner identity", "inner: identity")


@given(st.data())
def test_every_edge_has_a_line_from_its_source_to_its_target(data):
    """Follow the lanes from row to row; no two sources share a lane at once."""
    num_rows = data.draw(st.integers(2, 12))
    possible = [(a, b) for a in range(num_rows) for b in range(a + 1, num_rows)]
    edges = set(data.draw(st.lists(st.sampled_from(possible), max_size=20)))
    rows, num_lanes = rows_of_lanes(num_rows, edges)
    drawn, running = set(), {}
    for index, row in enumerate(rows):
        if row.arrives:
            assert row.arrives == (index - 1, index) == rows[index - 1].leaves
            drawn.add(row.arrives)
        for lane, edge in row.branches:
            assert edge in running[lane]
            assert edge[1] == index
            drawn.add(edge)
        for lane, carried in row.passing:
            assert carried == [edge for edge in running[lane] if edge[1] > index]
            assert carried
        running = dict(row.passing)
        if row.starts:
            lane, carried = row.starts
            assert lane not in running
            assert {source for source, _ in carried} == {index}
            running[lane] = carried
        assert len(running) <= num_lanes
    assert not running
    assert drawn == edges


def test_nothing_is_loaded_from_elsewhere(report):
    parsed = parse(render_html(report))
    assert not {"img", "iframe", "object", "embed", "form", "base"} & set(parsed.tags)
    for name, value in parsed.attributes:
        assert name not in ("src", "srcset", "action", "style")
        assert not name.startswith("on")
        if name == "href":
            assert value.startswith(("#", "data:image/svg+xml,"))
        elif name != "xmlns":
            assert "http" not in (value or "") or name == "http-equiv"


def test_only_the_scripts_and_styles_of_the_page_may_run(report):
    """The policy lists the digest of each, and nothing else."""
    parsed = parse(render_html(report))
    policy = next(v for v in parsed.values("content") if v.startswith("default-src"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    run = [code for kind, code in parsed.code["script"] if kind in (None, "module")]

    def digests(codes):
        return [
            f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
            for code in codes
        ]

    assert rules["script-src"].split() == digests(run)
    assert rules["style-src"].split() == digests(parsed.code["style"])
    assert "unsafe" not in policy
    assert len(run) > 1


def test_a_hostile_name_stays_text(report):
    hostile = "</script><script>alert(1)</script><!--\"'&"
    renamed = json.loads(json.dumps(report).replace('"stem"', json.dumps(hostile)))
    parsed, before = parse(render_html(renamed)), parse(render_html(report))
    assert parsed.tags.count("script") == before.tags.count("script")
    assert "alert(1)" in "".join(parsed.text)
    for kind, code in parsed.code["script"]:
        if kind == "application/json":
            json.loads(code)
        else:
            assert "alert" not in code


def test_a_block_of_data_reads_back_and_cannot_end_early():
    data = {"</script>": "<!-- & \u2028 \ud800", "values": [1, 2.5, None]}
    shown = {"</script>": "<!-- & \\u2028 \\ud800", "values": [1, 2.5, None]}
    block = data_block("data", data)
    start, end = '<script type="application/json" id="data">', "</script>"
    assert block.startswith(start)
    assert block.endswith(end)
    inner = block[len(start) : -len(end)]
    assert not set("<>&") & set(inner)
    assert json.loads(inner) == shown  # what does not print, as its code


def test_a_tab_without_content_is_left_out():
    def view(name, content):
        return View(id=name, title=name.title(), render=lambda document: content)

    html = page(
        None,
        (
            Tab(title="First", views=(view("one", data_block("d", 1)), view("two", ""))),
            Tab(title="Second", views=(view("three", ""),)),
        ),
        "title",
        breakable("banner"),
    )
    assert "#one" in html
    assert "Second" not in html
    assert '"two"' not in html


def test_a_refusal_of_the_array_is_shown_without_any_design_to_compare(report):
    report["comparison"], report["pe_array"]["refusal"] = [], "a buffer is too small"
    assert "pe-array cannot run this network: a buffer is too small" in words(render_html(report))


@pytest.fixture
def refusal():
    """A network of 806 cores for a target of 640."""
    tried = {"change": "one slot in every buffer", "command": "compile --slots 1", "num_cores": 489}
    worse = {
        "change": "weights of <4> bits",
        "command": "compile --weight-bits 4",
        "num_cores": None,
    }
    return {
        "model": {"file": "model.pt", "path": "a/model.pt", "training": {}},
        "target": {"name": "small", "description": "A small chip."},
        "command": "qac-deploy compile a/model.pt --target small.yaml",
        "reason": "compartments fill the cores of stem. Most cores: stem 800. Use 7 chips",
        "needed_cores": 806,
        "available_cores": 640,
        "available_chips": 5,
        "cores_per_chip": 128,
        "populations": [
            {"name": "stem", "shape": [16, 8, 8], "timesteps": 3, "kind": "spiking", "cores": 800},
            {"name": "readout", "shape": [10], "timesteps": 1, "kind": "readout", "cores": 6},
        ],
        "tried": [
            {**tried, "num_chips": 4, "refusal": None},
            {**worse, "num_chips": None, "refusal": "700 cores, 60 too many"},
        ],
        "not_tried": None,
    }


def test_a_network_that_does_not_fit_says_by_how_much_and_what_would(refusal):
    html = render_refusal(refusal)
    shown = words(section(html, "overview"))
    assert (
        '<h1>model.<wbr>pt on small</h1><span class="verdict refused">does not fit</span>' in html
    )
    assert "Does it fit?exactNo 806 cores of 640" in shown
    assert "It needs 126 % of the target's cores, or 7 chips of 128 cores." in shown
    assert "Why not?Compartments fill the cores of stem. Most cores: stem 800." in shown
    assert "What to change?One slot in every buffer compile --slots 1Copy" in shown.replace(
        "buffercompile", "buffer compile"
    )
    assert "It then fits: 489 cores on 4 chips." in shown
    assert "Weights of <4> bitsno: 700 cores, 60 too many" in shown
    assert refusal["command"] in words(section(html, "command"))
    table = words(section(html, "populations"))
    assert "stemspiking316×8×81,024800" in table


def test_a_refusal_without_a_remedy_says_so(refusal):
    refusal["tried"] = refusal["tried"][1:]
    assert "None of the 1 change that were tried" not in words(render_refusal(refusal))
    assert "The change that was tried does not make it fit." in words(render_refusal(refusal))
    refusal |= {"tried": [], "not_tried": "it is large", "needed_cores": None}
    shown = words(render_refusal(refusal))
    assert "No changes were tried: it is large." in shown
    assert "No not on any number of cores" in shown


def test_the_same_report_gives_the_same_page(report):
    assert render_html(report) == render_html(json.loads(json.dumps(report)))


def test_figures_have_three_digits_and_a_common_unit():
    assert time_texts([0.00064296, 0.0000051]) == (["643", "5.10"], "µs")
    assert time_texts([0.0999, 0.1]) == (["99.9", "100"], "ms")
    assert energy_texts([1.0178e-05, 3e-7]) == (["10.2", "0.30"], "µJ")
    assert energy_texts([5e-10]) == (["0.50"], "nJ")
    assert energy_texts([1.0, 0.5]) == (["1.00", "0.50"], "J")


def test_a_command_is_broken_before_options_and_at_arrows():
    command = "qac-deploy compile 'my model.pt' --slots 'a->b=3' --out next"
    box = command_box(command)
    parts = re.findall(r"<span>(.*?)</span>(?= <span>|</code>)", box)
    assert parts == [
        "qac-deploy compile &#x27;my model.pt&#x27;",
        "--slots &#x27;a<span>-&gt;</span>b=3&#x27;",
        "--out next",
    ]
    assert words(box) == f"{command}Copy"


def test_a_long_name_may_go_on_in_the_next_line_but_not_a_number():
    assert breakable("stages.0.0.inner") == "stages.<wbr>0.0.<wbr>inner"
    assert breakable("99.80% <a_b>") == "99.80% &lt;a_<wbr>b&gt;"
