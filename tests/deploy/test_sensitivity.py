"""Assumed figures varied: what moves is what they decide."""

from __future__ import annotations

import json

import pytest
import yaml

from hw_models.figures import BUILT_IN


@pytest.fixture(scope="module")
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


def tried(report, figure):
    return {r["tried"]: r for r in report["sensitivity"] if r["figure"] == figure}


def test_every_assumed_figure_is_halved_and_doubled(report):
    assert {r["figure"] for r in report["sensitivity"]} == {
        "population_axons.atoms", "pipeline.link_ticks", "pipeline.default_buffer_slots",
    }  # fmt: skip
    assert set(tried(report, "pipeline.default_buffer_slots")) == {1, 4}


def test_faster_links_and_more_slots_shorten_the_interval(report):
    today = report["pipeline"]["interval_ticks"]
    links = tried(report, "pipeline.link_ticks")
    assert links[0]["interval_ticks"] < today < links[2]["interval_ticks"]
    slots = tried(report, "pipeline.default_buffer_slots")
    assert slots[4]["interval_ticks"] <= today <= slots[1]["interval_ticks"]
    assert slots[1]["num_cores"] < slots[4]["num_cores"]


def test_an_assumed_coefficient_moves_energy_by_its_share(qac_deploy, trained, tmp_path):
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    figure = document["figures"]["cost_profiles"]["davies2018"]["synaptic_event_pj"]
    figure |= {"kind": "assumed", "source": "test"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document | {"name": "mine"}))
    process = qac_deploy("compile", trained[1], "--target", "mine.yaml", "--json")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    doubled = tried(report, "cost_profiles.davies2018.synaptic_event_pj")[47.2]
    cost = report["costs"]["davies2018"]
    expected = cost["energy_per_sample_j"] + cost["energy_by_event_j"]["synaptic event"]
    assert doubled["energy_nj"]["davies2018"] == pytest.approx(1e9 * expected)
    assert doubled["num_cores"] == report["mapping"]["num_cores"]
