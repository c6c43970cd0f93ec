"""What a terminal and a notebook show of each object."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import qac_deploy as qd
from toolchain.networks.layer_graph import LayerGraph

HOSTILE = '<script>alert("1")</script>&'


class Tags(HTMLParser):
    """Counts tags, and requires that each is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert not any(name.startswith("on") for name, _ in attributes)
        self.open.append(tag)
        self.found.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def objects(flow):
    run = flow.build.simulate(flow.data.test_pixels[:3])
    return {
        "history": flow.history,
        "model": flow.model,
        "build": flow.build,
        "report": flow.build.report,
        "pipeline": flow.build.pipeline,
        "run": run,
    }


@pytest.mark.parametrize("name", ["history", "model", "build", "report", "pipeline", "run"])
def test_html_is_well_formed_and_carries_no_style_sheet_or_script(flow, name):
    tags = Tags(objects(flow)[name]._repr_html_()).found
    assert not {"script", "style", "link", "iframe"} & set(tags)


def test_the_layer_graph_shows_each_population_and_edge(flow):
    text, html = repr(flow.model), flow.model._repr_html_()
    for population in flow.model.populations:
        assert population.name in text
        assert population.name in html
    assert html.count("<rect") == len(flow.model.populations)
    spiking = flow.model.timesteps
    assert [int(t) for t in re.findall(r">T = (\d+)<", html)] == list(spiking.values())
    for note in flow.model.notes:
        assert note in text
    assert html.count("average") >= len(flow.model.graph.synapses)


def test_the_timesteps_of_both_ends_are_shown_where_they_differ(flow):
    join = list(flow.model.timesteps)[-1]
    graph = flow.model.graph
    longer = [replace(p, timesteps=9) if p.name == join else p for p in graph.populations]
    model = replace(flow.model, graph=LayerGraph.build(longer, graph.synapses))
    steps = model.timesteps
    ends = [(steps.get(s.source), steps.get(s.target)) for s in graph.synapses]
    expected = [(a, b) for a, b in ends if a is not None and b is not None and a != b]
    found = re.findall(r"<title>[^<]*T (\d+) → (\d+)", model._repr_html_())
    assert sorted((int(a), int(b)) for a, b in found) == sorted(expected) != []


def test_a_build_shows_cores_slots_and_what_sets_the_interval(flow):
    html, report = flow.build._repr_html_(), flow.build.report
    critical = report.document["pipeline"]["critical_populations"]
    assert html.count('stroke="#d2691e"') == len(critical) > 0
    assert "2 slots" in html
    for words in (f"{report.accuracy:.2%}", f"{report.latency_ticks} ticks", report.title):
        assert words in html
        assert words in repr(flow.build)


def test_the_timeline_has_each_stage_and_no_ticks_after_its_end(flow):
    from qac_deploy.pictures.timeline import draw_timeline

    record = flow.build.pipeline.record
    html = draw_timeline(record)
    for stage in record["stages"]:
        assert f"<title>{stage}</title>" in html
    assert "report.html has all" not in html
    longer = {**record, "num_ticks": 10_000}
    shown = draw_timeline(longer)
    assert "Ticks 0 to 240 of 10,000" in shown
    assert max(float(x) for x in re.findall(r"M([\d.]+) ", shown)) <= 1000


def test_names_from_files_are_escaped(flow, tmp_path):
    graph = flow.model.graph
    name = next(iter(flow.model.timesteps))

    def renamed(value):
        return HOSTILE if value == name else value

    hostile = LayerGraph.build(
        [replace(p, name=renamed(p.name)) for p in graph.populations],
        [replace(s, source=renamed(s.source), target=renamed(s.target)) for s in graph.synapses],
    )
    model = replace(flow.model, graph=hostile, path=Path(f"{HOSTILE}.pt"))
    assert "script" not in Tags(model._repr_html_()).found
    assert HOSTILE in repr(model)
    document = flow.build.report.document
    stages = {HOSTILE: next(iter(document["pipeline"]["stages"].values()))}
    pipeline = {**document["pipeline"], "stages": stages, "explanation": HOSTILE}
    report = {**document, "pipeline": pipeline, "model": {**document["model"], "file": HOSTILE}}
    for shown in (
        qd.Pipeline(document=report),
        qd.Report(path=Path(HOSTILE), document=report),
    ):
        assert "script" not in Tags(shown._repr_html_()).found


def test_a_large_network_is_cut_in_text_and_whole_in_the_picture(flow):
    graph = flow.model.graph
    name = list(flow.model.timesteps)[-1]
    chain, synapses, last = [], [], name
    for index in range(60):
        chain.append(replace(graph[name], name=f"copy{index}"))
        synapses.append(replace(graph.synapses[0], source=last, target=f"copy{index}", maps=()))
        last = f"copy{index}"
    model = replace(
        flow.model,
        graph=LayerGraph.build([*graph.populations, *chain], [*graph.synapses, *synapses]),
    )
    assert f"... {len(model.populations) - 35} more" in repr(model)
    assert model._repr_html_().count("<rect") == len(model.populations)


def test_a_history_of_one_epoch_has_no_curves(flow):
    one = replace(flow.history, epochs=flow.history.epochs[:1])
    assert "<svg" in flow.history._repr_html_()
    assert "<svg" not in one._repr_html_()
    assert "1 epoch: loss" in repr(one)
    assert "had ended" in repr(replace(flow.history, epochs=()))
