"""The paper's numbers, several seeds, and all of the paper in one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.reproduce.experiment import Experiment, Plot, save_experiment
from deploy.reproduce.experiments import EXPERIMENTS
from deploy.reproduce.methods import QAC, TIMESTEPS
from deploy.reproduce.paper import PAPER_DATA, nearest_network, paper_data, paper_figures
from deploy.reproduce.results_page import read_result, write_results_page
from deploy.reproduce.runs import Run, studies_of
from deploy.reproduce.seeds import over_seeds
from deploy.reproduce.settings import Settings
from deploy.reproduce.study import Study
from deploy.reproduce.whole_paper import (
    Pace,
    estimated_seconds,
    experiments_for,
    measure_pace,
    networks_for,
    trainings_left,
)
from toolchain.datasets import load_dataset
from toolchain.errors import ModelFileError

SAMPLES = 40


def a_study(folder, **changes):
    digits = load_dataset("digits")
    few = replace(
        digits, train_pixels=digits.train_pixels[:128], train_labels=digits.train_labels[:128]
    )
    settings = {"epochs": 2, "further_epochs": 2, "batch_size": 32, "width": 0.25}
    study = {"architecture": "resnet-mini", "dataset": few, "folder": folder, **settings, **changes}
    return Study(**study)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return a_study(tmp_path_factory.mktemp("networks"))


def of_size(study, name, channels, size):
    shape = (2, channels, size, size)
    images = np.zeros(shape, np.uint8)
    return replace(
        study,
        dataset=replace(study.dataset, name=name, train_pixels=images, train_labels=np.zeros(2, int),
                        test_pixels=images, test_labels=np.zeros(2, int)),
    )  # fmt: skip


# the paper's numbers


@pytest.mark.parametrize("table", ["table1", "table2", "table7"])
def test_the_paper_has_an_accuracy_for_each_t_of_each_method(table):
    for network, methods in paper_figures()[table].items():
        assert network in EXPERIMENTS[table].networks
        assert "QAC" in methods
        for found in methods.values():
            assert len(found["timesteps"]) == len(found["snn"]) >= 1
            assert all(30 < share < 100 for share in (found["ann"], *found["snn"]))


def test_other_tables_of_the_paper_have_a_number_in_every_place():
    paper = paper_figures()
    networks = {"resnet-18", "resnet-20", "vgg-16"}
    assert all(
        row.keys() == networks for row in (*paper["table3"].values(), *paper["table4"].values())
    )
    assert all(len(of_data) == 3 for row in paper["table3"].values() for of_data in row.values())
    assert {len(row) for of_data in paper["table5"].values() for row in of_data.values()} == {6}
    for data in ("cifar-10", "cifar-100"):
        for levels in paper["table8"][data].values():
            assert list(levels) == [2, 4, 8, 16]
            assert all(len(row) == 8 for rows in levels.values() for row in rows.values())
    for methods in paper["table6"].values():
        for _, steps, accuracies in (row for rows in methods.values() for row in rows):
            assert len(steps) == len(accuracies)


def test_the_paper_s_tables_agree_where_they_show_the_same():
    """Table 3 ends where Tables 1, 2 and 7 have QAC; before calibration it is Table 5 at T; and so on."""
    paper = paper_figures()
    tables = dict(zip(PAPER_DATA, ("table1", "table7", "table2"), strict=True))
    for network, after in paper["table3"]["after"].items():
        for data, accuracy in zip(PAPER_DATA, after, strict=True):
            if accuracy is not None:
                qac = paper[tables[data]][network]["QAC"]
                assert qac["snn"] == [accuracy]
                assert qac["timesteps"] == [paper["mean_timesteps"][network][data]]
    for data, column in (("cifar-10", 0), ("cifar-100", 1)):
        for network, row in paper["table5"][data].items():
            assert row[0] == paper["table3"]["before"][network][column]
            assert row[1] == paper["table4"]["Aver + Aver"][network][column]


def test_each_study_is_compared_with_the_nearest_network_and_data(study):
    assert (paper_data(study), nearest_network(study)) == ("cifar-10", "resnet-20")
    assert nearest_network(replace(study, architecture="vgg-9")) == "vgg-16"
    assert nearest_network(replace(study, architecture="resnet-34")) == "resnet-18"
    assert nearest_network(replace(study, architecture="resnet-34"), ("vgg-16",)) == "vgg-16"
    assert paper_data(of_size(study, "cifar-100", 3, 32)) == "cifar-100"
    assert paper_data(of_size(study, "photos", 3, 224)) == "imagenet"


# the experiments


def test_table1_has_the_methods_of_the_paper_beside_its_numbers(study):
    experiment = EXPERIMENTS["table1"].run(study, SAMPLES)
    rows = {row[0]: row[1:] for row in experiment.rows}
    paper = paper_figures()["table1"]
    assert {m for network in paper.values() for m in network} - {"QAC"} < set(rows)
    assert rows["OPI"][-3:] == ["92.74", "16, 32", "87.22, 91.88"]
    assert rows["RMP"][-3:] == [None] * 3  # the paper has none for ResNet-20
    assert rows[QAC][: len(TIMESTEPS)] == [None] * len(TIMESTEPS)
    same = EXPERIMENTS["baselines"].run(study, SAMPLES)
    assert [row[: len(TIMESTEPS) + 2] for row in experiment.rows] == [
        list(row) for row in same.rows
    ]


def test_methods_are_measured_once_for_all_tables(study, monkeypatch):
    EXPERIMENTS["table1"].run(study, SAMPLES)
    monkeypatch.setattr("deploy.reproduce.methods._conversion_accuracies", None)
    table7 = EXPERIMENTS["table7"].run(study, SAMPLES)
    assert "* The paper has this of another form of the network." in table7.notes
    assert {row[0]: row[-3] for row in table7.rows}["SNM"] == "78.26*"


def test_table3_compares_a_lossless_and_a_lossy_alignment_with_the_paper(study):
    rows = {row[0]: row[1:] for row in EXPERIMENTS["table3"].run(study, SAMPLES).rows}
    assert rows["paper, resnet-20 on CIFAR-10"] == pytest.approx([0.9029, 0.9113, 0.0084])
    assert len(rows) == 4  # the paper has no ResNet-20 on ImageNet
    before, after, gain = rows["average"]
    assert gain == after - before


@pytest.mark.parametrize(
    ("figure", "theirs"),
    [
        ("fig5", "resnet-18 on CIFAR-10, with a mean T of 2.76"),
        ("fig10", "vgg-16 on ImageNet, with a mean T of 3.47"),
    ],
)
def test_figures_of_layers_say_what_was_run_and_what_the_paper_s_is_of(study, figure, theirs):
    experiment = EXPERIMENTS[figure].run(study, SAMPLES)
    assert (
        experiment.title == f"Figure {figure[3:]}, timesteps per layer: resnet-mini:0.25 on digits"
    )
    assert theirs in experiment.notes[1]
    graph = study.qac_graph()
    assert [row[:2] for row in experiment.rows] == [(p.name, p.timesteps) for p in graph.spiking]


def test_networks_are_trained_once_and_copied(study, monkeypatch):
    first = study.float_ann()
    monkeypatch.setattr("deploy.reproduce.study.train", None)
    second = study.float_ann()
    assert first is not second
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


# seeds


def test_each_seed_has_its_own_networks(tmp_path):
    for seed in (0, 1):
        a_study(tmp_path, seed=seed, epochs=1).float_ann()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "digits.resnet-minix0.25.float.training",
        "digits.resnet-minix0.25.seed1.float.training",
    ]
    for seed in (0, 1):
        own = a_study(tmp_path, seed=seed)
        assert list(own.training_seconds()) == ["float"]
        assert (own.trained_epochs("float"), own.trained_epochs("qac-case4")) == (1, 0)


def table(*rows, columns=("method", "T=4 %", "gain %"), notes=(), **more):
    return Experiment(name="t", title="T", columns=columns, rows=rows, notes=notes, **more)


def test_means_and_spreads_over_seeds_say_what_is_equal():
    """A and B differ by 0.5 points, less than B's spread of 1; C is below by more; only A's gain is one."""
    results = [
        table(("A", 0.90, 0.05), ("B", 0.89, 0.01), ("C", 0.5, 0.02), notes=["shared", "mean 2"]),
        table(("A", 0.90, 0.05), ("B", 0.90, -0.01), ("C", 0.5, 0.02), notes=["shared", "mean 3"]),
    ]
    combined = over_seeds(results)
    assert combined.rows[1] == pytest.approx(["B", 0.895, 0.0])
    assert combined.spreads[1] == [None, pytest.approx(0.01), pytest.approx(0.02)]
    assert combined.shown()[1] == ["B", "89.50 ± 1.00", "0.00 ± 2.00"]
    assert combined.shown()[0] == ["A", "90.00", "5.00"]
    assert combined.notes == [
        "shared",
        "Means of 2 trainings of each network, with seeds 0 to 1; ± is the spread, the largest value minus "
        "the smallest.",
        "Smaller than the spread, and so no differences: T=4: A = B; no gain of B.",
        "Seed 0: mean 2",
        "Seed 1: mean 3",
    ]
    assert [seed["rows"] for seed in combined.values["seeds"]] == [r.rows for r in results]


def test_methods_group_with_the_best_they_do_not_differ_from():
    """C is within the spread of B but not of A, the best; D is the same as E in every seed."""
    columns = ("method", "T=4 %")
    results = [
        table(("A", 0.95), ("B", 0.92), ("C", 0.885), ("D", 0.5), ("E", 0.5), columns=columns),
        table(("A", 0.95), ("B", 0.96), ("C", 0.925), ("D", 0.5), ("E", 0.5), columns=columns),
    ]
    assert over_seeds(results).notes[-1].endswith("no differences: T=4: A = B, D = E.")


def test_a_table_with_one_row_is_compared_along_it():
    columns = ("network", "float %", "quantized %", "QCFS %")
    results = [
        table(("n", 0.93, 0.929, 0.80), columns=columns),
        table(("n", 0.931, 0.931, 0.81), columns=columns),
    ]
    assert over_seeds(results).notes[-1].endswith("no differences: float = quantized.")


def test_one_seed_says_that_no_spread_is_known():
    combined = over_seeds([table(("A", 0.9, 0.1))])
    assert combined.rows == (("A", 0.9, 0.1),)
    assert combined.notes == ["One training of each network, with seed 0: no spread is known."]


def test_spreads_are_drawn_written_and_read(tmp_path):
    plots = [
        Plot(kind="lines", x_label="T", y_label="%", x=[1, 2], series={"A": [height, None]})
        for height in (1.0, 3.0)
    ]
    results = [table(("A", h, None), plot=plot) for h, plot in zip((0.1, 0.3), plots, strict=True)]
    combined = over_seeds(results)
    assert combined.plot.series == {"A": [2.0, None]}
    assert combined.plot.spreads == {"A": [2.0, None]}
    folder = tmp_path / "results"
    files = save_experiment(replace(combined, name="table1-n"), folder)
    assert read_result(files[1]).spreads == [[None, pytest.approx(0.2), None]]
    assert "| A | 20.00 ± 20.00 | — |" in write_results_page(folder).read_text()
    document = json.loads(files[1].read_text())
    files[1].write_text(json.dumps({**document, "spreads": [[None]]}))
    with pytest.raises(ModelFileError, match="spreads"):
        write_results_page(folder)


# all of the paper


def test_the_networks_suit_the_images(study):
    assert networks_for(of_size(study, "cifar-10", 3, 32).dataset) == (
        "resnet-18",
        "resnet-20",
        "vgg-16",
    )
    assert networks_for(of_size(study, "photos", 3, 224).dataset) == ("vgg-16", "resnet-34")
    assert networks_for(study.dataset) == ("resnet-20", "vgg-9:0.25")


def test_all_is_what_the_paper_shows_of_a_network_on_its_data(study):
    def of(architecture, *data):
        return experiments_for(replace(of_size(study, *data), architecture=architecture))

    assert of("vgg-16", "photos", 3, 224) == ["summary", "table2", "table3", "fig10"]
    assert of("resnet-18", "cifar-100", 3, 32) == [
        "summary", "table3", "table4", "table5", "table7", "fig3", "fig6",
    ]  # fmt: skip
    assert of("resnet-20", "grey", 1, 28) == [
        "summary", "table1", "table3", "table4", "table5", "table6", "table8", "fig3", "fig7", "fig11",
    ]  # fmt: skip


def test_the_estimate_counts_shared_networks_once_and_trained_epochs_not(study, tmp_path):
    fresh = a_study(tmp_path)
    pace = Pace(float_training=1.0, quantized_training=10.0, inference=0.0)
    trainings = estimated_seconds(fresh, ["table4", "fig7"], SAMPLES, pace)
    assert trainings == 128 * (
        2 + 2 + 2 * 10
    )  # float, float-continued and quantized, 2 epochs each
    fresh.float_ann()
    assert trainings - estimated_seconds(fresh, ["table4"], SAMPLES, pace) == 128 * 2
    assert trainings_left(fresh, ["table4"]) == ["float-continued", "qac-case4"]
    measuring = Pace(float_training=0.0, quantized_training=0.0, inference=1.0)
    assert (
        estimated_seconds(fresh, ["table4"], SAMPLES, measuring)
        == SAMPLES * EXPERIMENTS["table4"].passes
    )


def test_a_pace_is_measured_without_a_trace_in_the_study(tmp_path):
    pace = measure_pace(a_study(tmp_path))
    assert min(pace.inference, pace.float_training, pace.quantized_training) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_kinds_of_networks_that_an_experiment_names_are_those_it_trains(tmp_path):
    """The estimate depends on it."""
    for name in ("table8", "fig7", "bits"):
        study = a_study(tmp_path / name, epochs=1, further_epochs=1)
        EXPERIMENTS[name].run(study, 4)
        assert set(study.training_seconds()) == set(EXPERIMENTS[name].trains)


def test_a_result_is_made_again_for_another_command_alone(study, tmp_path):
    settings = Settings(data="digits", out=tmp_path, epochs=2, further_epochs=2, samples=SAMPLES)
    run = Run(settings=settings, experiment="fig7", studies=[study])
    assert run.command == (
        "qac-deploy reproduce fig7 --data digits --network resnet-mini:0.25 --epochs 2 --further-epochs 2 "
        "--samples 40"
    )
    assert not run.is_made
    _, files = run.make()
    assert run.is_made
    assert json.loads(Path(files[1]).read_text())["command"] == run.command
    assert not replace(run, settings=replace(settings, seeds=3)).is_made
    assert not replace(run, experiment="fig8").is_made
    record = json.loads(files[1].read_text())
    files[1].write_text(json.dumps({**record, "version": "0.1.0"}))
    assert not run.is_made


def test_the_studies_of_several_seeds_differ_in_the_seed(study, tmp_path):
    settings = Settings(data="digits", out=tmp_path, seeds=3)
    studies = studies_of(settings, study.dataset, "lenet", 0.5, lambda name, report: None)
    assert [s.seed for s in studies] == [0, 1, 2]
    assert {s.folder for s in studies} == {tmp_path / "networks"}


def test_the_page_names_what_needs_data_of_the_paper(study, tmp_path):
    settings = Settings(data="digits", out=tmp_path / "results")
    Run(settings=settings, experiment="fig7", studies=[study]).make()
    page = write_results_page(settings.out).read_text()
    assert "## Figure 7, timesteps per layer: resnet-mini:0.25 on digits" in page
    assert (
        "## Table 2, conversion methods\n\nNot measured here; the paper's is on ImageNet. With that data "
        "set, `qac-deploy reproduce table2 --data path/to/imagenet --network vgg-16` makes it.\n"
    ) in page
    assert page.count("Not measured here") == sum(bool(e.data) for e in EXPERIMENTS.values()) - 1
    assert "Timestep budgets" not in page  # no table of the paper
