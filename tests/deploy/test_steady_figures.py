"""Rates and figures per sample: of the steady state, whatever the run shows, and equal wherever shown."""

from __future__ import annotations

import json

import pytest
from installed_command import run_command

RUN = ("num_ticks", "samples", "critical_paths", "stages", "cores")
"""What the pipeline's part of the report says of the run that it shows."""


def compiled_with(qac_deploy, model, *options):
    process = qac_deploy("compile", model, "--json", *options)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def optimized(trained, tmp_path_factory):
    """A design whose interval is a single tick, with replicas, and a pipeline longer than its run."""
    folder = tmp_path_factory.mktemp("optimized")
    process = run_command(
        "compile", trained[1], "--optimize", "stalls", "--samples", 5, "--json", cwd=folder
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("samples", [1, 61])
def test_no_figure_but_those_of_the_run_depends_on_its_length(trained, report, qac_deploy, samples):
    other = compiled_with(qac_deploy, trained[1], "--samples", samples)
    pipelines = other.pop("pipeline"), dict(report["pipeline"])
    assert pipelines[0]["num_ticks"] != pipelines[1]["num_ticks"]
    for name in RUN:
        for pipeline in pipelines:
            del pipeline[name]
    assert pipelines[0] == pipelines[1]
    assert other["options"].pop("samples") == samples
    expected = {**report, "options": {k: v for k, v in report["options"].items() if k != "samples"}}
    del expected["pipeline"]
    assert other == expected


def test_the_search_and_the_report_give_one_time_and_energy(optimized, report):
    kept = [point for point in optimized["design_points"] if point["verdict"] == "kept"]
    assert len(kept) > 2
    for point, costs in ((kept[0], report["costs"]), (kept[-1], optimized["costs"])):
        for profile, cost in costs.items():
            assert point["interval_us"][profile] == 1e6 * cost["interval_s"]
            assert point["energy_nj"][profile] == 1e9 * cost["energy_per_sample_j"]


def test_no_design_is_slower_without_a_barrier(optimized, report):
    for document in (optimized, report):
        for profile, cost in document["costs"].items():
            without = document["asynchronous"][profile]
            assert (
                without["interval_s"] < cost["interval_s"] * (1 - cost["barrier_share"]) * 1.000001
            )
            assert without["first_latency_s"] < cost["first_latency_s"]


def test_the_parts_of_time_and_energy_add_up(optimized, report):
    for document in (optimized, report):
        for cost in document["costs"].values():
            assert sum(cost["energy_by_event_j"].values()) == pytest.approx(
                cost["energy_per_sample_j"]
            )
            for core in cost["core_times"]:
                assert sum(core) == pytest.approx(cost["interval_s"])
            paces = sum(time["pace_s"] for time in cost["times"].values())
            assert paces == pytest.approx(cost["interval_s"] * (1 - cost["barrier_share"]))
            assert {time["drained_s"] for time in cost["times"].values()} == {0}
