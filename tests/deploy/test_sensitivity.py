"""Assumed figures varied: what moves is what they decide."""

from __future__ import annotations

import json

import pytest
import yaml
from installed_command import run_command

from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design
from deploy.design.steady_costs import shown_samples, steady_run
from hw_models.figures import BUILT_IN
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.target_description import load_target
from toolchain.datasets import load_dataset
from toolchain.errors import IntegerWidthError, MappingError, TargetError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.rounding.plan import lowering_images


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


def edited(folder, target, figure, value):
    """A target file with one figure changed."""
    document = yaml.safe_load((BUILT_IN / f"{target}.yaml").read_text())
    *sections, name = figure.split(".")
    node = document["figures"]
    for section in sections:
        node = node[section]
    node[name]["value"] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document | {"name": "mine"}))
    return path


@pytest.fixture(scope="module")
def on_loihi2(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loihi2")
    process = run_command("compile", trained[1], "--target", "loihi2-sim", "--json", cwd=folder)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_row_is_what_the_changed_target_gives(trained, on_loihi2, tmp_path):
    graph, dataset = load_checkpoint(trained[1]).graph, load_dataset("digits")
    images = lowering_images(graph, dataset)
    kinds = {}  # of each section, one row that fits and one that does not
    for row in on_loihi2["sensitivity"]:
        kinds[row["figure"].partition(".")[0], row["num_cores"] is None] = row
    sections = set()
    for row in (*kinds.values(), *tried(on_loihi2, "core.threshold_profiles").values()):
        path = edited(tmp_path, "loihi2-sim", row["figure"], row["tried"])
        options = CompileOptions(target=str(path))
        try:
            target = load_target(str(path))
            design = build_design(graph, target, options, images=images)
        except (IntegerWidthError, MappingError, TargetError):
            assert row["num_cores"] is None, row
            assert row["interval_ticks"] is None, row
            assert not row["interval_us"], row
            assert not row["energy_nj"], row
            continue
        sections.add(row["figure"].partition(".")[0])
        assert row["num_cores"] == len(design.mapping.cores), row
        assert row["interval_ticks"] == initiation_interval(design.pipeline).ticks, row
        shown = shown_samples(design.network, dataset)
        costs = steady_run(design.mapping, design.pipeline, shown).costs(target)
        assert row["interval_us"] == {n: 1e6 * c.interval_s for n, c in costs.items()}, row
        assert row["energy_nj"] == {n: 1e9 * c.energy_per_sample_j for n, c in costs.items()}, row
    assert sections == {
        "integers", "core", "population_axons", "synapse_memory", "mesh", "pipeline", "cost_profiles",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("figure", "value"),
    [("core.threshold_profiles", 4), ("pipeline.default_buffer_slots", 1)],
)
def test_a_row_is_what_compile_says_of_an_edited_target(
    trained, on_loihi2, qac_deploy, tmp_path, figure, value
):
    row = tried(on_loihi2, figure)[value]
    edited(tmp_path, "loihi2-sim", figure, value)
    process = qac_deploy("compile", trained[1], "--target", "mine.yaml", "--json")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert row["num_cores"] == report["mapping"]["num_cores"]
    assert row["interval_ticks"] == report["pipeline"]["interval_ticks"]
    for profile, cost in report["costs"].items():
        assert row["interval_us"][profile] == 1e6 * cost["interval_s"]
        assert row["energy_nj"][profile] == 1e9 * cost["energy_per_sample_j"]


def test_slots_and_links_move_seconds_and_energy(report):
    for profile, cost in report["costs"].items():
        for figure in ("pipeline.link_ticks", "pipeline.default_buffer_slots"):
            for row in tried(report, figure).values():
                slower = row["interval_ticks"] > report["pipeline"]["interval_ticks"]
                assert (row["interval_us"][profile] > 1e6 * cost["interval_s"]) == slower
                assert row["energy_nj"][profile] != 1e9 * cost["energy_per_sample_j"]


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
