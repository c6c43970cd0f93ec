"""calibrate, convert and reproduce, as a person uses them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from builders import WIDTHS

from deploy.cli.convert import convert_command
from sim.exact.engine import run_exact
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.errors import DataError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.model_zoo import build_model
from toolchain.passes import lower_to_integers


def test_a_calibrated_model_compiles_with_the_alignment_it_was_calibrated_for(trained, qac_deploy):
    model = trained[1]
    process = qac_deploy(
        "calibrate", model, "--timesteps", 1, "--alignment", "average", "--epochs", 8, "--json"
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["held_out_error_after"] < 0.9 * report["held_out_error_before"]
    assert report["test_samples"] == 540
    process = qac_deploy("compile", "calibrated.pt", "--samples", 4, "--json")
    assert process.returncode == 0, process.stderr
    fidelity = json.loads(process.stdout)["fidelity"]
    assert fidelity["float_accuracy"] == pytest.approx(report["accuracy_after"], abs=0.005)
    assert abs(fidelity["integer_accuracy"] - fidelity["float_accuracy"]) < 0.02


def test_calibrated_for_truncation_it_runs_on_the_stepped_engine(trained, qac_deploy):
    assert qac_deploy("calibrate", trained[1], "--epochs", 2, "--samples", 64).returncode == 0
    assert qac_deploy("compile", "calibrated.pt", "--samples", 2).returncode == 0
    process = qac_deploy("simulate", "build", "--engine", "stepped", "--samples", 8)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alignment", "mean"), "must be one of average, replicate, truncate, not 'mean'"),
        (("--granularity", "neuron"), "must be one of layer, channel, not 'neuron'"),
        (("--data", "mnist"), "no data set is named 'mnist'"),
    ],
)
def test_calibrate_refuses_what_it_does_not_know(trained, qac_deploy, arguments, message):
    process = qac_deploy("calibrate", trained[1], *arguments)
    assert process.returncode == 2
    assert message in " ".join(process.stderr.replace("│", " ").split())


def test_train_refuses_an_unknown_treatment_of_max_pooling(qac_deploy):
    process = qac_deploy("train", "--arch", "lenet", "--max-pool", "mean")
    assert process.returncode == 2
    message = " ".join(process.stderr.replace("│", " ").split())
    assert "must be one of exact, average, not 'mean'" in message


def test_two_processes_train_one_network(qac_deploy, tmp_path):
    process = qac_deploy("train", "--epochs", 2, "--devices", 2, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("same class on 540 of 540") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def public_names(own):
    """A ResNet-20 state_dict under the names of the public QCFS code."""
    stem = {"stem_conv": "conv1.0", "stem_norm": "conv1.1"}
    inside = {"inner_conv": "0", "inner_norm": "1", "join_conv": "3", "join_norm": "4"}
    renamed = {}
    for name, tensor in own.items():
        first, *rest = name.split(".")
        if first in stem:
            renamed[".".join([stem[first], *rest])] = tensor
        elif first == "head":
            renamed[".".join(["fc", *rest])] = tensor
        else:
            stage, block, part, *field = rest
            inner = f"residual_function.{inside[part]}" if part in inside else part
            renamed[".".join([f"conv{int(stage) + 2}_x.{block}", inner, *field])] = tensor
    for stage in range(2, 5):
        for block in range(3):
            renamed[f"conv{stage}_x.{block}.residual_function.2.thresh"] = torch.tensor([1.0])
            renamed[f"conv{stage}_x.{block}.act.thresh"] = torch.tensor([2.0])
    return {**renamed, "conv1.2.thresh": torch.tensor([1.5])}


def test_an_imported_qcfs_network_is_exact_in_integers(qac_deploy, tmp_path):
    torch.manual_seed(0)
    state = build_model("resnet-20", (3, 32, 32), 10).state_dict()
    torch.save(public_names(state), tmp_path / "qcfs.pth")
    images = np.zeros((10, 32, 32, 3), np.uint8)
    parts = {f"{p}_images": images for p in ("train", "test")}
    np.savez(tmp_path / "own.npz", **parts, train_labels=np.arange(10), test_labels=np.arange(10))
    convert = ("convert", "qcfs.pth", "--arch", "resnet-20", "--levels", 3, "--data", "own.npz")
    process = qac_deploy(*convert)
    assert process.returncode == 0, process.stderr
    assert "19 spiking populations, T = 3" in process.stdout
    assert "accuracy 10.00% on the first 10 test images" in process.stdout
    checkpoint = load_checkpoint(tmp_path / "model.pt")
    assert checkpoint.training["data"] == "own.npz"
    assert len(checkpoint.training["data_sha256"]) == 64
    network = lower_to_integers(checkpoint.graph, WIDTHS)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32))
    exact = run_exact(network, pixels, with_trains=True)
    assert first_divergence(run_stepped(network, pixels), exact) is None


def test_convert_refuses_another_file(qac_deploy, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    process = qac_deploy("convert", "other.pth", "--arch", "resnet-20")
    assert process.returncode == 2
    assert "other.pth: tensor 'weight' is not part of resnet-20; check --arch" in process.stderr


def test_convert_records_a_named_data_set_that_is_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QAC_DEPLOY_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(public_names(build_model("resnet-20", (3, 8, 8), 10).state_dict()), tmp_path / "a")
    out = tmp_path / "model.pt"
    options = {"arch": "resnet-20", "levels": 4, "image": 8, "data": "cifar-10"}
    convert_command(tmp_path / "a", **options, out=out, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["data_note"].startswith(
        "cifar-10 is recorded without a digest of its samples: data set 'cifar-10' is not on this machine"
    )
    assert load_checkpoint(out).training["data"] == "cifar-10"
    with pytest.raises(DataError, match="no data set is named 'gone'"):
        convert_command(tmp_path / "a", arch="resnet-20", data="gone", out=out)


def test_reproduce_shares_its_networks_and_writes_table_plot_and_page(qac_deploy, tmp_path):
    common = ("--data", "digits", "--network", "resnet-mini:0.5", "--epochs", 2)
    common += ("--further-epochs", 2, "--samples", 100)
    process = qac_deploy("reproduce", "table8", *common)
    assert process.returncode == 0, process.stderr
    assert "ours on digits, so only orders and trends compare" in process.stdout
    folder = tmp_path / "results"
    with (folder / "table8-resnet-minix0.5.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["T"] for row in rows] == ["1", "2", "3", "4", "8", "16"]
    assert rows[0]["QCFS %"] == rows[0]["QCFS + averaging %"]  # one step has nothing to average
    assert rows[3]["paper QCFS %"] == "0.825"
    assert (folder / "table8-resnet-minix0.5.png").stat().st_size > 5_000
    trained = {p: p.stat().st_mtime_ns for p in (folder / "networks").iterdir()}
    for experiment in ("summary", "fig1"):
        assert qac_deploy("reproduce", experiment, *common).returncode == 0
    assert all(p.stat().st_mtime_ns == before for p, before in trained.items())
    assert qac_deploy("reproduce", "page").returncode == 0
    page = (tmp_path / "results.md").read_text()
    assert page.index("## resnet-mini:0.5 on digits") < page.index("## Table 8")
    assert "same class on 100 of 100 images" in page


def test_an_unknown_experiment_lists_those_there_are(qac_deploy):
    process = qac_deploy("reproduce", "table9")
    assert process.returncode == 2
    said = " ".join(process.stderr.replace("│", " ").split())
    assert (
        "must be one of summary, table1, table2, table3, table4, table5, table6, table7, table8, fig1"
        in said
    )


def test_only_all_takes_several_networks(qac_deploy):
    process = qac_deploy("reproduce", "fig1", "--network", "lenet", "--network", "vgg-9")
    assert process.returncode == 2
    said = " ".join(process.stderr.replace("│", " ").split())
    assert "only `all` takes several networks; run this experiment once for each" in said


@pytest.mark.slow
def test_reproduce_all_makes_what_is_missing_and_the_page(qac_deploy, tmp_path):
    arguments = ("reproduce", "all", "--data", "digits", "--network", "lenet:0.1", "--epochs", 1)
    arguments += ("--further-epochs", 1, "--samples", 50)
    process = qac_deploy(*arguments)
    assert process.returncode == 0, process.stderr
    assert "to do: 9 results with 10 trainings; about" in process.stdout
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*.json")}
    assert len(written) == 9
    (tmp_path / "results" / "table4-lenetx0.1.json").unlink()
    process = qac_deploy(*arguments, "--json")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    assert document["kept"] == 8
    assert document["estimated_seconds"] > 0
    assert "results/table4-lenetx0.1.json" in document["files"]
    changed = [p.name for p, before in written.items() if p.stat().st_mtime_ns != before]
    assert changed == ["table4-lenetx0.1.json"]
    assert (
        "## Table 4, temporal alignment: lenet:0.1 on digits"
        in (tmp_path / "results.md").read_text()
    )
