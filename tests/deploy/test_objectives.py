"""No objective of ``compile --optimize`` is beaten in its own measure by another objective's design."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from residual_designs import own_dataset, random_residual_network
from small_targets import small_target

from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design
from deploy.optimize import search
from deploy.optimize.measurements import Measurements
from deploy.optimize.objectives import OBJECTIVES, Step
from deploy.optimize.search import optimize_design
from deploy.optimize.steps import STEP_RULES
from hw_models.target_description import describe_target, load_target
from toolchain.datasets import load_dataset
from toolchain.files.checkpoint import load_checkpoint


def found_by(model, target, dataset, budget):
    """The first point of a search, and the last one kept by the search for each objective."""
    points = {}
    for name in OBJECTIVES:
        options = CompileOptions(optimize=name, accuracy_budget=budget)
        first = build_design(model, target, options)
        known = Measurements(
            model=model, target=target, dataset=dataset, on_stage=lambda stage: None
        )
        _, tried = optimize_design(first, known)
        points[name] = [point for point in tried if point.verdict == "kept"][-1]
    return tried[0], points


def beaten(first, points):
    """Each (objective, other) whose other's design is lower in the objective's measure and allowed."""
    return [
        (name, other)
        for name, other in permutations(points, 2)
        if not OBJECTIVES[name].keeps_interval
        or points[other].interval_ticks <= first.interval_ticks
        if OBJECTIVES[name].measure(points[other])
        < OBJECTIVES[name].measure(points[name]) * (1 - 1e-9)
    ]


def target_of(profile):
    """One mesh row of 8 cores on each chip, few compartments on a core; one cost profile, or both."""
    target = small_target(
        core={"compartments": 160},
        mesh={"width": 8, "height": 2, "cores_per_tile": 1},
        chips={"count": 20},
    )
    if profile is None:
        return target
    other = ({"davies2018", "sanafe"} - {profile}).pop()
    figures = {n: f for n, f in target.figures.items() if f".{other}." not in n}
    return describe_target(replace(target.file, figures=figures))


@pytest.mark.parametrize(
    ("seed", "profile", "budget"),
    [(0, None, 0), (1, "davies2018", 0), (2, "sanafe", 0), (14, None, 4), (4, "sanafe", 4)],
)
def test_no_objective_is_beaten_in_its_own_measure(seed, profile, budget):
    model, target = random_residual_network(seed), target_of(profile)
    first, points = found_by(model, target, own_dataset(model, target, seed), budget)
    assert beaten(first, points) == []
    if budget == 0:
        assert {point.accuracy for point in points.values()} == {first.accuracy}
    else:
        assert all(100 * (1 - point.accuracy) <= budget + 1e-6 for point in points.values())


def test_no_objective_is_beaten_on_digits(trained):
    model, target = load_checkpoint(trained[1]).graph, load_target("loihi-sim")
    first, points = found_by(model, target, load_dataset("digits"), 0)
    assert beaten(first, points) == []
    energy, traffic = (OBJECTIVES[name].measure for name in ("energy", "traffic"))
    assert energy(points["energy"]) < 0.95 * energy(first)  # by the buffers alone
    assert traffic(points["cores"]) < traffic(points["traffic"])  # which keeps the interval
    assert points["cores"].interval_ticks > points["traffic"].interval_ticks
    assert points["traffic"].interval_ticks <= first.interval_ticks


def test_an_objective_that_tries_nothing_is_beaten(monkeypatch):
    """The comparison above reports a difference where there is one."""
    monkeypatch.setattr(search, "take_from_others", lambda found, first: None)
    for name in set(OBJECTIVES) - {"energy", "stalls"}:
        monkeypatch.delitem(OBJECTIVES, name)
    monkeypatch.setitem(OBJECTIVES, "energy", replace(OBJECTIVES["energy"], steps=()))
    model, target = random_residual_network(0), target_of(None)
    first, points = found_by(model, target, own_dataset(model, target, 0), 0)
    assert beaten(first, points) == [("energy", "stalls")]


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_each_step_is_tried_or_said_not_to_lower_the_measure(objective):
    """Realignment looks for changes that bring the first result sooner, so only latency tries it itself."""
    assert not set(objective.steps) & objective.cannot_lower
    left = set(Step) - set(objective.steps) - objective.cannot_lower
    assert left == (set() if objective.name == "latency" else {Step.REALIGNMENT})
    assert set(STEP_RULES) == set(Step)
