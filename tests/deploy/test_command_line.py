"""The commands as a person uses them, from an installed package and another folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from installed_command import COMMAND

from deploy.build.folder import BUILD, whole_folder
from sim.exact.engine import run_exact
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.files.checkpoint import load_checkpoint, save_checkpoint
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network.serialize import load_integer_network


def test_train_reports_accuracy_and_no_gap(trained):
    process, model = trained
    assert process.returncode == 0, process.stderr
    assert model.is_file()
    assert "same class on 540 of 540" in process.stdout
    assert "next: qac-deploy compile model.pt --target loihi-sim" in process.stdout
    epochs = [line for line in process.stderr.splitlines() if "quantized, loss " in line]
    assert len(epochs) == 30  # one line per epoch where no bar can be shown
    assert epochs[-1].startswith("training resnet-mini on digits 30/30: quantized, loss 0.")


def test_train_says_when_it_missed_the_timestep_budget_and_what_is_capped(qac_deploy):
    process = qac_deploy("train", "--epochs", "1", "--mean-timesteps", "1", "--max-timesteps", "3")
    assert process.returncode == 0, process.stderr
    assert "above the budget by 2.00: train longer with --epochs" in process.stdout
    assert (
        "T = 3 is the cap, which stem, inner, join, wide reached: raise it with --max-timesteps"
        in process.stdout
    )


def test_a_log_has_a_line_per_epoch_and_per_stage(trained, compiled):
    """Where standard error is no terminal."""
    epochs = [line for line in trained[0].stderr.splitlines() if "epoch" in line or "loss" in line]
    assert len(epochs) >= 30
    stages = compiled[0].stderr.splitlines()
    assert stages[:4] == [
        "compiling", "estimating the size", "reading the model", "lowering to integers",
    ]  # fmt: skip
    assert stages[-1] == "writing build"


def test_compile_writes_a_full_build_and_a_summary(compiled):
    process, build = compiled
    assert process.returncode == 0, process.stderr
    for name in (
        "network.json", "network.safetensors", "mapping.json", "pe_array.json", "report.json",
        "report.html", "pipeline.trace.json", "target.yaml", "array.yaml",
        "manifest.json", "lava/run.py", "lava/weights.npz",
    ):  # fmt: skip
        assert (build / name).stat().st_size > 0, name
    for text in ("stem", "join", "readout", "first result after", "limit:", "energy nJ"):
        assert text in process.stdout


def test_the_integer_network_loses_at_most_three_tenths_of_a_point(compiled):
    _, build = compiled
    fidelity = json.loads((build / "report.json").read_text())["fidelity"]
    assert fidelity["samples"] == 540
    assert fidelity["float_accuracy"] >= 0.97
    assert fidelity["float_accuracy"] - fidelity["integer_accuracy"] <= 0.003


def test_exact_equals_stepped_on_the_trained_network(compiled):
    _, build = compiled
    network = load_integer_network(build)
    pixels = load_dataset("digits").test_pixels
    exact = run_exact(network, pixels, with_trains=True)
    assert first_divergence(run_stepped(network, pixels), exact) is None


def test_every_population_accounts_for_every_tick(compiled):
    _, build = compiled
    pipeline = json.loads((build / "report.json").read_text())["pipeline"]
    for record in pipeline["stages"].values():
        assert sum(record["activity"].values()) == pipeline["num_ticks"]


def test_the_same_input_gives_the_same_bytes(trained, compiled, qac_deploy, tmp_path):
    _, model = trained
    _, build = compiled
    process = qac_deploy("compile", "model.pt", "--out", tmp_path / "again", cwd=model.parent)
    assert process.returncode == 0, process.stderr
    files = sorted(p.relative_to(build) for p in build.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for file in files:
        assert (build / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


@pytest.mark.parametrize("engine", ["exact", "stepped"])
def test_simulate_gives_the_accuracy_that_compile_reported(compiled, qac_deploy, engine):
    _, build = compiled
    process = qac_deploy("simulate", build, "--data", "digits", "--engine", engine, "--json")
    assert process.returncode == 0, process.stderr
    expected = json.loads((build / "report.json").read_text())["fidelity"]["integer_accuracy"]
    assert json.loads(process.stdout)["accuracy"] == expected


@pytest.mark.lava
def test_simulate_in_lava_equals_engine_and_tick_model(compiled, qac_deploy):
    _, build = compiled
    process = qac_deploy("simulate", build, "--data", "digits", "--engine", "lava", "--samples", 16)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("equal") == 3
    assert "DIFFERENT" not in process.stdout


@pytest.mark.lava
@pytest.mark.parametrize("slots", [1, 3])
def test_lava_equals_engine_and_tick_model_at_other_buffer_depths(
    trained, qac_deploy, tmp_path, slots
):
    """With the test above (D = 2): 16 samples at D = 1, 2 and 3 on the trained network."""
    _, model = trained
    assert qac_deploy("compile", model, "--slots", slots).returncode == 0
    process = qac_deploy("simulate", "build", "--engine", "lava", "--samples", 16, "--json")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["equal"]
    assert all(result["equal"].values())


@pytest.mark.parametrize("alignment", ["replicate", "truncate"])
def test_other_alignments_compile_and_say_what_they_cost(trained, qac_deploy, tmp_path, alignment):
    _, model = trained
    process = qac_deploy("compile", model, "--alignment", alignment)
    assert process.returncode == 0, process.stderr
    report = json.loads((tmp_path / "build" / "report.json").read_text())
    trade = {row["method"]: row for row in report["alignment_trade"]}
    assert trade[alignment]["first_latency_ticks"] < trade["average"]["first_latency_ticks"]
    refused = qac_deploy("simulate", "build", "--engine", "exact")
    assert refused.returncode == 2
    assert "use the frame-by-frame or the stepped engine, or Lava" in refused.stderr
    digests = set()
    for engine in ("stepped", "frame-by-frame"):
        process = qac_deploy("simulate", "build", "--engine", engine, "--samples", 20, "--json")
        assert process.returncode == 0, process.stderr
        digests.add(json.loads(process.stdout)["logits_sha256"])
    assert len(digests) == 1


def test_a_latency_ends_with_the_result_whatever_still_fires(trained, qac_deploy, tmp_path):
    """Truncated, twelve of the first window's 14 frames are read by nobody, and fire after the result."""
    checkpoint = load_checkpoint(trained[1])
    steps = {"stem": 14, "inner": 2, "join": 2, "wide": 2}
    graph = checkpoint.graph
    graph = type(graph).build(
        [replace(p, timesteps=steps.get(p.name, p.timesteps)) for p in graph.populations],
        graph.synapses,
    )
    save_checkpoint(tmp_path / "long.pt", replace(checkpoint, graph=graph))
    process = qac_deploy("compile", "long.pt", "--alignment", "truncate", "--samples", 3, "--json")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    pipeline = report["pipeline"]
    ends = {sample: stop for _, stop, what, sample, _ in pipeline["stages"]["readout"]["spans"]
            if what == "busy"}  # fmt: skip
    still_firing = max(
        stop for _, stop, what, sample, _ in pipeline["stages"]["stem"]["spans"]
        if what == "busy" and sample == 0
    )  # fmt: skip
    assert pipeline["first_latency_ticks"] == ends[0] < still_firing
    trade = {row["method"]: row["first_latency_ticks"] for row in report["alignment_trade"]}
    assert trade["truncate"] == ends[0]
    for sample, path in pipeline["critical_paths"].items():
        assert (path[-1]["population"], path[-1]["stop"]) == ("readout", ends[int(sample)])
    assert f"first result after {ends[0]} ticks" in qac_deploy("report", "build").stdout


def test_compare_shows_both_designs_and_equal_integers(compiled, qac_deploy):
    _, build = compiled
    process = qac_deploy("compare", build)
    assert process.returncode == 0, process.stderr
    assert "PE array = stepped engine on every count, spike and logit" in process.stdout
    assert "loihi-sim, davies2018 " in process.stdout
    assert "loihi-sim, sanafe, no barrier" in process.stdout


def test_report_shows_the_summary_again(compiled, qac_deploy):
    process, build = compiled
    again = qac_deploy("report", build)
    assert again.returncode == 0
    assert again.stdout.splitlines()[:20] == process.stdout.splitlines()[:20]


def test_help_shows_brackets_and_flows_with_the_terminal(qac_deploy):
    text = qac_deploy("export", "--help", COLUMNS="80").stdout
    for extra in ("nir", "netx", "sanafe"):
        assert f"'qac-deploy[{extra}]'" in text
    assert (
        " sanafe: architecture and network files of the mapped network for SANA-FE, with \n"
        " two test samples and a script that runs them."
    ) in text


def test_brackets_in_the_name_of_a_folder_are_no_markup(compiled, qac_deploy, tmp_path):
    (tmp_path / "a[").mkdir()
    shutil.copytree(compiled[1], tmp_path / "a[" / "i]")
    process = qac_deploy("report", "a[/i]")
    assert process.returncode == 0, process.stderr
    assert "a[/i]/report.html has the timeline" in process.stdout


def test_doctor_lists_what_is_installed(qac_deploy):
    process = qac_deploy("doctor", "--json")
    assert process.returncode == 0, process.stderr
    rows = {row["name"]: row for row in json.loads(process.stdout)}
    assert rows["torch"]["found"]
    assert all(row["found"] or row["remedy"] for row in rows.values())


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "convert",
        "calibrate",
        "compile",
        "simulate",
        "compare",
        "report",
        "reproduce",
        "doctor",
    ],
)
def test_each_help_shows_an_example(qac_deploy, command):
    process = qac_deploy(command, "--help")
    assert process.returncode == 0
    assert f"Example: qac-deploy {command}" in process.stdout


def test_help_does_not_load_torch(tmp_path):
    code = "import sys, deploy.cli.main; sys.exit('torch' in sys.modules)"
    python = COMMAND.with_name("python")
    assert subprocess.run([python, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path, qac_deploy):
    """The resumed network is the uninterrupted one, bit for bit; other settings are refused."""
    command = ["train", "--epochs", "10", "--float-epochs", "2", "--out"]
    process = subprocess.Popen(
        [COMMAND, *command, "model.pt"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    state = tmp_path / "model.pt.qac.training"
    while not state.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted; run the same command with --resume to continue" in stderr
    assert b"Traceback" not in stderr
    assert not (tmp_path / "model.pt").exists()

    other = qac_deploy(*command, "model.pt", "--resume", "--seed", "7")
    assert other.returncode == 2
    assert "belongs to a run with another seed; use the same, or remove the file" in other.stderr
    assert qac_deploy(*command, "model.pt", "--resume").returncode == 0
    assert qac_deploy(*command, "whole.pt").returncode == 0
    resumed, whole = (load_checkpoint(tmp_path / f"{name}.pt").graph for name in ("model", "whole"))
    pixels = load_dataset("digits").test_pixels
    logits = [run_float_snn(graph, pixels).logits for graph in (resumed, whole)]
    assert np.array_equal(*logits)
    assert {p.name for p in tmp_path.iterdir()} == {"model.pt", "whole.pt"}


def test_an_interrupted_compile_keeps_the_earlier_build(compiled, tmp_path, monkeypatch):
    """The build folder is swapped in at the very end; an interrupt before leaves the old one whole."""
    from deploy.compile import compile_model as module
    from deploy.design.compilation import CompileOptions

    build = tmp_path / "build"
    with whole_folder(build, BUILD) as folder:
        (folder / "network.json").write_text("the earlier build")

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "emit_bundle", interrupt)
    _, compiled_build = compiled
    with pytest.raises(KeyboardInterrupt):
        module.compile_model(compiled_build.parent / "model.pt", build, CompileOptions(samples=2))
    assert [p.name for p in tmp_path.iterdir()] == ["build"]
    assert (build / "network.json").read_text() == "the earlier build"


def test_a_full_disk_keeps_the_earlier_build(compiled, tmp_path, monkeypatch):
    from deploy.compile import compile_model as module
    from deploy.design.compilation import CompileOptions
    from toolchain.errors import ModelFileError

    build = tmp_path / "build"
    with whole_folder(build, BUILD) as folder:
        (folder / "network.json").write_text("the earlier build")

    def fail(path, document):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_json", fail)
    _, compiled_build = compiled
    with pytest.raises(ModelFileError, match=r"build: cannot be written .*nothing was changed"):
        module.compile_model(compiled_build.parent / "model.pt", build, CompileOptions(samples=2))
    assert [p.name for p in tmp_path.iterdir()] == ["build"]
    assert (build / "network.json").read_text() == "the earlier build"


def test_a_full_disk_is_reported_and_keeps_the_earlier_model(tmp_path, monkeypatch):
    """The write itself fails, as it does on a full disk; the file that was there stays."""
    import torch

    from toolchain.errors import ModelFileError
    from toolchain.files.checkpoint import Checkpoint, save_checkpoint
    from toolchain.networks.layer_graph import LayerGraph

    model = tmp_path / "model.pt"
    earlier = b"PK\x03\x04 archive/data.pkl qac-deploy model: the earlier one"
    model.write_bytes(earlier)

    def fail(document, file):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(
        ModelFileError, match=r"model\.pt: cannot be written .*No space left on device"
    ):
        save_checkpoint(model, Checkpoint(LayerGraph.build([], []), {}))
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
    assert model.read_bytes() == earlier


def test_a_simulation_that_starts_anew_says_that_it_replaces_an_interrupted_one(
    qac_deploy, compiled, tmp_path
):
    shutil.copytree(compiled[1], tmp_path / "build")
    state = tmp_path / "build.simulation"
    state.write_text('{"format": "qac-deploy simulation, version 2"}\n')
    process = qac_deploy("simulate", "build", "--samples", 2)
    assert process.returncode == 0, process.stderr
    assert process.stderr.startswith(
        f"starting anew: {state} of an interrupted run is replaced; --resume would continue that run\n"
    )
    assert not state.exists()
    assert "starting anew" not in qac_deploy("simulate", "build", "--samples", 2).stderr
