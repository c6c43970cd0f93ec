"""An alignment for each population: sooner results within the accuracy asked for, measured exactly."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design, lower_graph
from deploy.optimize.measurements import Measurements
from deploy.optimize.realign import realign
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.target_description import load_target
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.datasets import Dataset
from toolchain.files.checkpoint import load_checkpoint
from toolchain.passes import chosen_graph

LOIHI = load_target("loihi-sim")


@pytest.fixture(scope="module")
def model(trained):
    """Trained on digits, T_l of 2 to 4."""
    graph = load_checkpoint(trained[1]).graph
    steps = {"stem": 3, "inner": 4, "join": 2, "wide": 3}
    populations = [replace(p, timesteps=steps.get(p.name, p.timesteps)) for p in graph.populations]
    return type(graph).build(populations, graph.synapses)


@pytest.fixture(scope="module")
def images(model):
    """Noise, with the classes that the averaging network chooses: all correct, and easily lost."""
    pixels = np.random.default_rng(0).integers(0, 17, (96, 1, 8, 8))
    labels = run_stepped(build_design(model, LOIHI, CompileOptions()).network, pixels).predictions
    assert len(set(labels)) > 2
    return pixels, labels


def realigned(model, images, lowest):
    """The first design, and each change with its design and accuracy."""
    pixels, labels = images
    dataset = Dataset(
        name="noise", max_value=16, num_classes=10, train_pixels=pixels, train_labels=labels,
        test_pixels=pixels, test_labels=labels,
    )  # fmt: skip
    first = build_design(model, LOIHI, CompileOptions())
    known = Measurements(model=model, target=LOIHI, dataset=dataset, on_stage=lambda stage: None)
    changes = realign(first, known, lowest)
    return first, [(change, found, known.accuracies[found.network]) for change, found in changes]


def latency(design):
    return schedule_pipeline(design.pipeline, 1).first_latency_ticks


def test_each_change_is_sooner_and_as_accurate_as_the_stepped_engine_says(model, images):
    first, changes = realigned(model, images, lowest=0.7)
    assert changes
    latencies = [latency(first), *(latency(design) for _, design, _ in changes)]
    assert all(after < before for before, after in pairwise(latencies))
    for change, design, accuracy in changes:
        predictions = run_stepped(design.network, images[0]).predictions
        assert accuracy == (predictions == images[1]).mean() >= 0.7, change
        assert design.mapping.network is design.network


def test_the_options_of_a_change_make_the_same_integers_again(model, images):
    _, changes = realigned(model, images, lowest=0.7)
    change, last, _ = changes[-1]
    assert change in [f"{method} into {name}" for name, method in last.options.alignments.items()]
    again = lower_graph(chosen_graph(model, last.options), LOIHI, last.options).network
    pixels = images[0][:4]
    same = first_divergence(run_stepped(last.network, pixels), run_stepped(again, pixels))
    assert same is None
    for population in again.spiking:
        methods = {s.alignment for s in again.incoming(population.name)}
        assert methods == {last.options.alignments.get(population.name, "average")}


def test_the_more_accuracy_may_go_the_sooner_is_the_result(model, images):
    latencies = []
    for lowest in (1.0, 0.9, 0.0):
        first, changes = realigned(model, images, lowest)
        assert all(accuracy >= lowest for _, _, accuracy in changes)
        latencies.append(latency(changes[-1][1] if changes else first))
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[-1] < latency(first)
