"""``train --target`` and ``train --from``: what was trained is what ``compile`` builds."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders import WIDTHS

from deploy.train.fine_tune_model import fine_tune_model
from deploy.train.integer_training import IntegerOptions, integer_report, require_same
from sim.exact.engine import run_exact
from toolchain.datasets import load_dataset
from toolchain.errors import ModelFileError, TargetError, UnsupportedNetworkError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network.serialize import load_integer_network
from toolchain.passes import lower_to_integers
from toolchain.passes.trained_integers import uses_trained_integers
from toolchain.rounding.plan import ALL_TRAINED
from toolchain.training import TrainingPlan


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copy(trained[1], tmp_path / "model.pt")


def test_a_finished_model_is_compiled_to_the_integers_it_was_trained_with(
    model, tmp_path, qac_deploy
):
    fine_tuning = qac_deploy(
        *("train", "--from", "model.pt", "--target", "loihi-sim", "--weight-bits", "3"),
        *("--epochs", "1", "--out", "three.pt"),
    )
    assert fine_tuning.returncode == 0, fine_tuning.stderr
    assert "three.pt  from model.pt" in fine_tuning.stdout
    assert "loihi-sim, 3-bit weights; float weights 9" in fine_tuning.stdout
    assert "same class on 540 of 540, 0 spike counts differ" in fine_tuning.stdout
    assert "next: qac-deploy compile three.pt --target loihi-sim" in fine_tuning.stdout
    assert "training the integers of model.pt 1/1: loss 0." in fine_tuning.stderr
    compiling = qac_deploy("compile", "three.pt")
    assert compiling.returncode == 0, compiling.stderr
    network = load_integer_network(tmp_path / "build")
    graph = load_checkpoint(tmp_path / "three.pt").graph
    assert uses_trained_integers(graph, network) == [
        *(p.name for p in network.spiking),
        network.readout.name,
    ]
    assert max(np.abs(s.weighted.weight).max() for s in network.synapses) == 3
    digits = load_dataset("digits")
    floats = run_float_snn(graph, digits.test_pixels, with_counts=True)
    integers = run_exact(network, digits.test_pixels)
    assert np.array_equal(floats.logits, integers.logits * network.readout.unit)
    for name, counts in integers.counts.items():
        assert np.array_equal(counts, floats.counts[name]), name
    report = json.loads((tmp_path / "build" / "report.json").read_text())
    assert report["fidelity"]["same_argmax"] == 540
    assert report["lowering"]["notes"] == [ALL_TRAINED]
    assert ALL_TRAINED in compiling.stdout


def test_training_ends_with_the_integers_of_a_target(tmp_path, qac_deploy):
    process = qac_deploy(
        *("train", "--arch", "lenet", "--width", "0.3", "--epochs", "2", "--target", "loihi2-sim"),
        *("--weight-bits", "4", "--integer-epochs", "1", "--json"),
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)["training"]["integers"]
    assert (report["target"], report["weight_bits"], report["epochs"]) == ("loihi2-sim", 4, 1)
    assert (report["same_class"], report["different_counts"]) == (540, 0)
    checkpoint = load_checkpoint(tmp_path / "model.pt")
    assert checkpoint.training["integers"] == report
    accuracy = run_float_snn(checkpoint.graph, load_dataset("digits").test_pixels).logits.argmax(1)
    assert (accuracy == load_dataset("digits").test_labels).mean() == report["after"]
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_an_interrupted_run_resumes_to_the_same_integers(model, tmp_path):
    plan = TrainingPlan(epochs=2, learning_rate=0.005, budget=None)
    options = IntegerOptions(target="loihi-sim", weight_bits=2)

    def interrupt(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune_model(model, tmp_path / "resumed.pt", options, plan, None, interrupt)
    assert not (tmp_path / "resumed.pt").exists()
    other = replace(options, weight_bits=3)
    with pytest.raises(ModelFileError, match="belongs to a run with another widths"):
        fine_tune_model(model, tmp_path / "resumed.pt", other, plan, None, resume=True)
    fine_tune_model(model, tmp_path / "resumed.pt", options, plan, None, resume=True)
    fine_tune_model(model, tmp_path / "whole.pt", options, plan, None)
    graphs = [load_checkpoint(tmp_path / f"{name}.pt").graph for name in ("resumed", "whole")]
    for resumed, whole in zip(*(g.synapses for g in graphs), strict=True):
        assert np.array_equal(resumed.maps[-1].weight, whole.maps[-1].weight)
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt", "resumed.pt", "whole.pt"}


def test_the_float_model_has_no_trained_integers(model):
    graph = load_checkpoint(model).graph
    assert uses_trained_integers(graph, lower_to_integers(graph, WIDTHS)) == []


def test_a_network_that_compiles_to_other_integers_is_an_error(model):
    """A network in float weights is rounded to 2 bits, which its counts show."""
    graph, digits = load_checkpoint(model).graph, load_dataset("digits")
    options = IntegerOptions(target="loihi-sim", weight_bits=2)
    report = integer_report(graph, graph, digits, options)
    assert report["different_counts"] > 0
    with pytest.raises(UnsupportedNetworkError, match=r"[\d,]+ spike counts differ; no file was"):
        require_same(report)
    same = {**report, "same_class": 540, "different_counts": 0}
    assert require_same(same) is same
    with pytest.raises(UnsupportedNetworkError, match="the same class on 539 of 540"):
        require_same({**same, "same_class": 539})


def test_a_target_that_is_not_there_is_refused_before_training(model, tmp_path):
    options = IntegerOptions(target="loihi-3")
    with pytest.raises(TargetError, match="loihi-3"):
        fine_tune_model(model, tmp_path / "out.pt", options, TrainingPlan(), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "model.pt"), "Invalid value for --from: is about the integers of a target"),
        (("--weight-bits", "4"), "Invalid value for --weight-bits: is about the integers"),
        (("--integer-epochs", "4"), "Invalid value for --integer-epochs: is about the integers"),
        (
            ("--from", "model.pt", "--target", "loihi-sim", "--mean-timesteps", "2"),
            "Invalid value for --mean-timesteps: has no meaning with --from",
        ),
        (
            ("--from", "model.pt", "--target", "loihi-sim", "--arch", "lenet"),
            "Invalid value for --arch: has no meaning with --from",
        ),
        (("--from", "none.pt", "--target", "loihi-sim"), "none.pt: no such file"),
    ],
)
def test_options_without_a_meaning_are_refused(model, qac_deploy, options, message):
    process = qac_deploy("train", *options, "--out", "out.pt", COLUMNS="200")
    assert process.returncode == 2
    assert message in process.stderr
