"""What each reproduced experiment reports, recomputed from the networks that it trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from deploy.cli.reproduce import NAMES
from deploy.reproduce.experiment import Experiment, Plot, save_experiment
from deploy.reproduce.experiments import EXPERIMENTS
from deploy.reproduce.study import Study
from toolchain.datasets import load_dataset
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantizers import quantizers
from toolchain.passes.align_edges import align_edges
from toolchain.training import accuracy, ann_logits

SAMPLES = 60


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A few epochs on a few digits; experiments share the networks that they train."""
    digits = load_dataset("digits")
    few = replace(
        digits, train_pixels=digits.train_pixels[:256], train_labels=digits.train_labels[:256]
    )
    folder = tmp_path_factory.mktemp("networks")
    return Study(
        architecture="resnet-mini",
        width=0.5,
        dataset=few,
        folder=folder,
        epochs=10,
        further_epochs=5,
        batch_size=16,
    )


def share_right(study, logits):
    return accuracy(logits, study.dataset.test_labels[:SAMPLES])


def quantized_accuracy(study, module):
    pixels = study.dataset.test_pixels[:SAMPLES]
    return share_right(study, ann_logits(module, pixels, study.dataset.max_value))


def rows_of(study, name):
    experiment = EXPERIMENTS[name].run(study, SAMPLES)
    assert all(len(row) == len(experiment.columns) for row in experiment.rows)
    return [dict(zip(experiment.columns, row, strict=True)) for row in experiment.rows]


def timesteps_of(module):
    return [float(quantizer.timesteps.detach()) for quantizer in quantizers(module).values()]


def test_averaging_both_ways_is_the_quantized_ann(study):
    rows = {row["expansion + reduction"]: row["ours %"] for row in rows_of(study, "table4")}
    assert list(rows) == ["Repl + Aver", "Repl + Trunc", "Aver + Trunc", "Aver + Aver"]
    assert rows["Aver + Aver"] == quantized_accuracy(study, study.qac_network())


def test_scaling_multiplies_every_t_and_1t_is_the_quantized_ann(study):
    rows, module = rows_of(study, "table5"), study.qac_network()
    mean = np.mean(timesteps_of(module))
    assert [row["mean T"] for row in rows] == pytest.approx([f * mean for f in range(1, 7)])
    assert rows[0]["ours %"] == quantized_accuracy(study, module)


def test_each_parametrization_reports_the_t_that_it_learned(study):
    rows = rows_of(study, "fig11")
    for case, row in zip((1, 2, 3, 4), rows, strict=True):
        module = study.unbudgeted_network(case)
        steps = timesteps_of(module)
        assert row["parametrization"] == f"case {case}"
        assert row["mean T"] == pytest.approx(np.mean(steps))
        assert row["mean bit width"] == pytest.approx(np.mean(np.log2(steps)))


def test_qcfs_has_nothing_to_average_in_one_step_and_is_its_ann_at_t_equal_l(study):
    rows = {row["method"]: row for row in rows_of(study, "baselines")}
    assert len(rows) == 12
    assert rows["QCFS"]["T=1 %"] == rows["QCFS + averaging"]["T=1 %"]
    assert rows["QCFS + averaging"]["T=4 %"] == quantized_accuracy(study, study.qcfs_network(4))


def test_calibration_starts_from_the_converted_network(study):
    rows = {row["alignment"]: row for row in rows_of(study, "calibration")}
    pixels = study.dataset.test_pixels[:SAMPLES]
    graph = convert(study.qac_network(), study.dataset.input_shape, study.dataset.max_value)
    for method in ("truncate", "replicate"):
        aligned = align_edges(graph, method)
        row, logits = rows[method], run_float_snn(aligned, pixels, dtype=torch.float32).logits
        assert row["before %"] == share_right(study, logits)
        assert row["gain %"] == row["after %"] - row["before %"]
        assert row["integer network after %"] is None
    assert rows["average, all T = 1"]["integer network after %"] is not None


def test_a_budget_reports_the_t_and_the_interval_of_its_own_network(study):
    rows = {row["budget"]: row for row in rows_of(study, "budget")}
    assert len(rows) == 5
    for row in rows.values():
        assert row["interval, ticks"] >= row["largest T"] >= row["mean T"]
        assert 0 < row["not busy %"] < 1
    unlimited = timesteps_of(study.unbudgeted_network(4))
    assert rows["none (paper)"]["mean T"] == pytest.approx(np.mean(unlimited))
    assert rows["none (paper)"]["largest T"] == max(unlimited)
    assert rows["mean T <= 2"]["mean T"] < rows["none (paper)"]["mean T"]


def test_the_command_names_every_experiment():
    def spelled(words):
        first, _, last = words.partition(" to ")
        kind = first.rstrip("0123456789")
        numbers = range(int(first.removeprefix(kind)), int(last.removeprefix(kind)) + 1)
        return [f"{kind}{number}" for number in numbers]

    listed = NAMES.replace(" or ", ", ").split(", ")
    names = [name for words in listed for name in (spelled(words) if " to " in words else [words])]
    assert set(names) == set(EXPERIMENTS)


@pytest.mark.parametrize("kind", ["lines", "bars"])
def test_a_plot_shows_its_values_and_leaves_gaps(tmp_path, kind):
    def coloured(values):
        plot = Plot(kind=kind, x_label="T", y_label="%", x=[1, 2, 3], series={"ours": values})
        experiment = Experiment(name="drawn", title="", columns=(), rows=(), plot=plot)
        *_, picture = save_experiment(experiment, tmp_path)
        pixels = imread(picture)[..., :3]
        return int((pixels.max(axis=-1) - pixels.min(axis=-1) > 0.3).sum())  # all else is grey

    full, gap, empty = (coloured(values) for values in ([9, 9, 9], [9, None, 9], [None] * 3))
    assert 100 < gap < full
    assert empty == 0
