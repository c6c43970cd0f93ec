"""Accuracy over the bits of the weights: what each row and each line of the plot is."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.reproduce.bits import WEIGHT_BITS, bits
from deploy.reproduce.study import Study
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import load_dataset
from toolchain.passes import lower_to_integers

SAMPLES = 60


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    digits = load_dataset("digits")
    few = replace(
        digits, train_pixels=digits.train_pixels[:256], train_labels=digits.train_labels[:256]
    )
    study = Study(
        architecture="resnet-mini",
        width=0.25,
        dataset=few,
        folder=tmp_path_factory.mktemp("networks"),
        epochs=2,
        further_epochs=2,
        batch_size=32,
    )
    return study, bits(study, SAMPLES)


def test_each_network_has_a_row_per_number_of_bits(result):
    study, experiment = result
    rows = [dict(zip(experiment.columns, row, strict=True)) for row in experiment.rows]
    assert [row["weight bits"] for row in rows] == 2 * list(WEIGHT_BITS)
    graph, widths = study.qac_graph(), load_target("loihi-sim").widths
    assert [row["mean T"] for row in rows[:5]] == [graph.mean_timesteps] * 5
    assert rows[5]["mean T"] <= rows[0]["mean T"]  # two epochs are too few for the budget
    assert study.trained_epochs("qac-mean1.5") == 2
    pixels, labels = study.test_images(SAMPLES)
    rounded = run_exact(lower_to_integers(graph, widths), pixels).predictions
    assert rows[0]["rounded to nearest %"] == (rounded == labels).mean()
    kib = [row["weights, KiB"] for row in rows]
    assert kib[:5] == sorted(kib[:5], reverse=True)
    assert all(row["cores"] > 0 for row in rows)


def test_the_trained_integers_are_those_of_the_bits(result):
    study, experiment = result
    pixels, labels = study.test_images(SAMPLES)
    for row in experiment.rows[:5]:
        num_bits, accuracy = row[1], row[5]
        widths = replace(load_target("loihi-sim").widths, weight_bits=num_bits)
        network = study.integer_network(study.qac_graph(), widths, f"qac-case4-integers{num_bits}")
        largest = max(np.abs(s.weighted.weight.astype(int)).max() for s in network.synapses)
        assert largest <= widths.max_weight
        assert (run_exact(network, pixels).predictions == labels).mean() == accuracy


def test_the_plot_has_a_line_for_each_network_and_treatment(result):
    _, experiment = result
    assert list(experiment.plot.x) == list(WEIGHT_BITS)
    fitted, trained = list(experiment.plot.series.items())[:2]
    assert fitted[0].startswith("rounded on images, mean T ")
    assert trained[0].startswith("trained, mean T ")
    assert trained[1] == [100 * row[5] for row in experiment.rows[:5]]
