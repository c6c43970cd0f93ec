"""``compile --optimize``: what each objective keeps, and that the result is still exact."""

from __future__ import annotations

import json

import pytest


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


def test_cores_fall_and_the_table_shows_what_that_costs(qac_deploy, model):
    report = designs(qac_deploy, model, "--optimize", "cores")
    first, last = kept(report)[0], kept(report)[-1]
    assert last["num_cores"] < first["num_cores"]
    assert report["mapping"]["num_cores"] == last["num_cores"]
    assert last["interval_ticks"] >= first["interval_ticks"]


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_an_accuracy_budget_is_kept_and_spent_on_shorter_windows(qac_deploy, model, objective):
    budget = 1.0
    report = designs(qac_deploy, model, "--optimize", objective, "--accuracy-budget", budget)
    first, last = kept(report)[0], kept(report)[-1]
    assert 100 * (first["accuracy"] - last["accuracy"]) <= budget + 1e-9
    over = [p for p in report["design_points"] if "over the budget" in p["verdict"]]
    assert all(100 * (first["accuracy"] - p["accuracy"]) > budget for p in over)
    if objective == "latency":
        assert last["first_latency_ticks"] <= first["first_latency_ticks"]
    else:
        assert sum(last["energy_nj"].values()) <= sum(first["energy_nj"].values())
    verified = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert verified.returncode == 0, verified.stdout


def test_an_unknown_objective_is_refused(qac_deploy, model):
    process = qac_deploy("compile", model, "--optimize", "beauty")
    assert process.returncode == 2
    assert "must be one of stalls, cores, latency, energy, not 'beauty'" in process.stderr


def test_max_timesteps_caps_every_window(qac_deploy, model):
    report = designs(qac_deploy, model, "--max-timesteps", 2)
    assert max(p["timesteps"] for p in report["populations"]) == 2
    assert report["options"]["max_timesteps"] == 2
