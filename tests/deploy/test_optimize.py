"""``compile --optimize``: what each objective keeps, and that the result is still exact."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from small_targets import write_target

from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def model(trained):
    return trained[1]


def designs(qac_deploy, model, *options):
    process = qac_deploy("compile", model, "--out", "build", "--json", *options)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def kept(report):
    return [p for p in report["design_points"] if p["verdict"] == "kept"]


def test_stalls_fall_to_the_bound_at_the_same_integers(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "stalls")
    first, last = kept(report)[0], kept(report)[-1]
    assert last["accuracy"] == first["accuracy"]
    assert last["stall_share"] < first["stall_share"]
    assert report["pipeline"]["interval_ticks"] == report["pipeline"]["ideal_interval_ticks"]
    assert report["pipeline"]["stall_share"] == report["pipeline"]["least_stall_share"]
    uniform = [p for p in report["design_points"] if p["change"].startswith("uniform T = ")]
    assert all(p["verdict"] == "for comparison" for p in uniform)
    assert len(uniform) in (2, 4)
    sized = [p for p in uniform if "fewest slots" in p["change"]]
    assert all(p["interval_ticks"] == p["mean_timesteps"] for p in sized)
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout


def test_replicas_share_the_longest_windows_until_none_stalls(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "stalls")
    shared = [p for p in kept(report) if p["replicas"]]
    assert [p["interval_ticks"] for p in shared] == [2, 1]  # T = 3, 3, 2, 2
    assert ["one result every 2 ticks" in p["change"] for p in shared] == [True, False]
    assert shared[-1]["stall_share"] == 0
    assert shared[-1]["accuracy"] == kept(report)[0]["accuracy"]
    replicas = {p["name"]: p["replicas"] for p in report["populations"]}
    assert replicas == {p["name"]: p["timesteps"] for p in report["populations"]}
    assert report["mapping"]["num_cores"] == shared[-1]["num_cores"]
    assert report["mapping"]["num_cores"] == len(report["pipeline"]["cores"])
    assert report["pipeline"]["explanation"].startswith("the host sends one image per tick")
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout


def test_an_interval_asked_for_is_where_replication_stops(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "stalls", "--interval", 2)
    assert report["pipeline"]["interval_ticks"] == 2
    replicas = {p["name"]: p["replicas"] for p in report["populations"] if p["replicas"] > 1}
    assert replicas == kept(report)[-1]["replicas"]
    assert all(count == 2 for count in replicas.values())
    report = designs(qac_deploy, model, "--optimize", "stalls", "--interval", 4)
    assert report["pipeline"]["interval_ticks"] == 4  # deep enough for that and no deeper
    assert all(p["replicas"] == 1 for p in report["populations"])


def test_replicas_fill_the_chips_in_use_and_take_more_only_when_asked(qac_deploy, model, tmp_path):
    write_target(tmp_path / "small.yaml", mesh={"width": 3, "height": 2, "cores_per_tile": 4})
    common = ("--target", "small.yaml", "--optimize", "stalls")
    report = designs(qac_deploy, model, *common)
    assert report["mapping"]["num_chips"] == kept(report)[-1]["num_chips"] == 1
    refused = [p for p in report["design_points"] if "chips in place of 1" in p["verdict"]]
    assert [p["verdict"] for p in refused] == [
        f"{p['num_chips']} chips in place of 1: only with --interval {p['interval_ticks']:g}"
        for p in refused
    ]
    assert refused
    asked = refused[0]["interval_ticks"]
    report = designs(qac_deploy, model, *common, "--interval", int(asked))
    assert report["pipeline"]["interval_ticks"] == asked
    assert report["mapping"]["num_cores"] == refused[0]["num_cores"]


@pytest.mark.lava
def test_replicas_chosen_by_hand_are_equal_on_every_rung(qac_deploy, model):
    report = designs(qac_deploy, model, "--replicate", "stem=2", "--replicate", "join=3")
    assert {p["name"]: p["replicas"] for p in report["populations"] if p["replicas"] > 1} == {
        "stem": 2, "join": 3,
    }  # fmt: skip
    stages = report["pipeline"]["stages"]
    assert [name for name in stages if "#" in name] == [
        "stem#0", "stem#1", "join#0", "join#1", "join#2",
    ]  # fmt: skip
    verified = qac_deploy("verify", "build", "--samples", 5, "--json")
    assert verified.returncode == 0, verified.stdout
    rungs = json.loads(verified.stdout)["rungs"]
    assert [rung["status"] for rung in rungs] == ["equal"] * 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--replicate", "stem"], "must be NAME=COUNT, such as conv3=2, not 'stem'"),
        (["--replicate", "input=2"], "'input' cannot be replicated, it is not a population on"),
        (["--replicate", "stem=0"], "must be at least 1, not 'stem=0'"),
        (["--interval", "2"], "aim of --optimize stalls"),
    ],
)
def test_replicas_that_cannot_be_are_refused(qac_deploy, model, options, complaint):
    process = qac_deploy("compile", model, *options)
    assert process.returncode == 2
    assert complaint in process.stderr


def test_cores_fall_and_the_table_shows_what_that_costs(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "cores")
    first, last = kept(report)[0], kept(report)[-1]
    assert last["num_cores"] < first["num_cores"]
    assert report["mapping"]["num_cores"] == last["num_cores"]
    assert last["interval_ticks"] >= first["interval_ticks"]


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_an_accuracy_budget_is_kept_and_spent_on_shorter_windows(qac_deploy, model, objective):
    budget = 1.0
    within = kept(designs(qac_deploy, model, "--optimize", objective))[-1]
    report = designs(qac_deploy, model, "--optimize", objective, "--accuracy-budget", budget)
    first, last = kept(report)[0], kept(report)[-1]
    assert 100 * (first["accuracy"] - last["accuracy"]) <= budget + 1e-9
    over = [p for p in report["design_points"] if "over the budget" in p["verdict"]]
    assert all(100 * (first["accuracy"] - p["accuracy"]) > budget for p in over)
    if objective == "latency":
        assert last["first_latency_ticks"] < within["first_latency_ticks"]
    else:
        assert last["mean_timesteps"] < within["mean_timesteps"]
        assert sum(last["energy_nj"].values()) < sum(within["energy_nj"].values())
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout


def test_an_unknown_objective_is_refused(qac_deploy, model):
    process = qac_deploy("compile", model, "--optimize", "beauty")
    assert process.returncode == 2
    assert (
        "must be one of stalls, cores, latency, energy, time, traffic, not 'beauty'"
        in process.stderr
    )


def test_max_timesteps_caps_every_window(qac_deploy, model):
    report = designs(qac_deploy, model, "--max-timesteps", 2)
    assert max(p["timesteps"] for p in report["populations"]) == 2
    assert report["options"]["max_timesteps"] == 2


def test_thresholds_are_shared_by_channels(qac_deploy, model):
    spiking = {
        most: [
            p for p in designs(qac_deploy, model, *options)["populations"] if p["kind"] == "spiking"
        ]
        for most, options in {"target's": (), 1: ("--thresholds", 1)}.items()
    }
    assert all(low == high for low, high in (p["threshold_range"] for p in spiking[1]))
    assert any(low < high for low, high in (p["threshold_range"] for p in spiking["target's"]))


def test_time_falls_by_finer_tiles_of_those_that_set_the_pace(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "time")
    steps = kept(report)
    assert len(steps) > 3
    for before, after in pairwise(steps):
        assert before["interval_us"].keys() == {"davies2018", "sanafe"}
        assert sum(after["interval_us"].values()) < sum(before["interval_us"].values())
        assert after["num_chips"] == before["num_chips"] == 1
        assert after["accuracy"] == before["accuracy"]
    split = [step for step in steps if step["change"].startswith("tiles: ")]
    assert all(step["interval_ticks"] == split[0]["interval_ticks"] for step in split)
    assert split[-1]["num_cores"] > steps[0]["num_cores"]
    assert report["mapping"]["num_cores"] == steps[-1]["num_cores"]
    refused = [p["verdict"] for p in report["design_points"] if p["verdict"] != "kept"]
    assert {v for v in refused if not v.endswith(" chips in place of 1")} <= {
        "no gain in time",
        "for comparison",
    }
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout


def test_time_without_samples_is_refused(qac_deploy, model, tmp_path):
    checkpoint = load_checkpoint(model)
    save_checkpoint(tmp_path / "bare.pt", Checkpoint(checkpoint.graph, {}))
    process = qac_deploy("compile", "bare.pt", "--optimize", "time")
    assert process.returncode == 2
    assert process.stderr.strip().endswith(
        "error: --optimize time measures time between results, mean over cost profiles, on real samples, but "
        "no data set is known; choose one with --data"
    )


def test_traffic_falls_by_cores_that_change_places(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "traffic")
    first, last = kept(report)[0], kept(report)[-1]
    assert last["change"].startswith("cores that change places: ")
    assert last["traffic_hops"] < first["traffic_hops"]
    assert last["accuracy"] == first["accuracy"]
    assert last["interval_ticks"] <= first["interval_ticks"]
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout
