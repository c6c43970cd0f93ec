"""A model remembers its data set: compile, simulate and calibrate find it again, or say why not."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from installed_command import run_command

from deploy.dataset_run.journal import Journal, describe_run
from deploy.dataset_run.simulate_dataset import CHUNK_SAMPLES, ChunkSimulator
from toolchain.datasets import load_dataset
from toolchain.files.checkpoint import (
    Checkpoint,
    content_digests,
    load_checkpoint,
    save_checkpoint,
)
from toolchain.networks.integer_network.serialize import load_integer_network
from toolchain.networks.layer_graph import LayerGraph

CONTENTS = (
    "80 training and 40 test images of 1 x 8 x 8, pixels 0..255, 4 classes; SHA-256 of the test"
)
CHANNELS_LAST = (
    "train_images of shape (80, 8, 8, 1) is read as 8 x 8 pixels with 1 channel(s), the last axis"
)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder with ``own.npz``, and ``models/model.pt`` that was trained on it."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "models").mkdir()
    write_data(folder / "own.npz", seed=0)
    process = run_command(
        "train", "--data", "own.npz", "--epochs", 1, "--out", "models/model.pt", cwd=folder
    )
    assert process.returncode == 0, process.stderr
    (said,) = [line for line in process.stderr.splitlines() if line.startswith("data set")]
    assert said.startswith(f"data set own.npz: {CONTENTS} ")
    assert f"\n  {CHANNELS_LAST}" in process.stderr
    return folder


def write_data(path, seed, classes=4):
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % classes
    images = rng.integers(0, 60, (120, 8, 8, 1)) + 45 * labels[:, None, None, None]
    arrays = {"images": images.astype(np.uint8), "labels": labels}
    parts = {"train": slice(80), "test": slice(80, None)}
    np.savez(path, **{f"{p}_{a}": arrays[a][s] for p, s in parts.items() for a in arrays})


@pytest.fixture
def place(workplace, tmp_path):
    """A copy of the workplace, elsewhere."""
    shutil.copytree(workplace, tmp_path / "moved")
    return tmp_path / "moved"


def record(model, **training):
    """Rewrite what a model file says of its training."""
    document = torch.load(model, weights_only=True)
    document["training"] = training
    torch.save(document | {"digests": content_digests(document)}, model)


def report_of(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_compile_measures_on_the_models_own_file_wherever_both_lie(place):
    for cwd, model in ((place, "models/model.pt"), (place / "models", "model.pt")):
        report = report_of(run_command("compile", model, "--samples", 2, "--json", cwd=cwd))
        assert report["fidelity"]["samples"] == 40
        assert report["costs"]
        assert report["data_note"] is None
    assert report["data"] == "../own.npz"
    found = run_command("simulate", place / "models" / "build", "--json", cwd=place.parent)
    assert report_of(found)["samples"] == 40
    assert report_of(found)["accuracy"] == report["fidelity"]["integer_accuracy"]


def test_the_command_that_compile_suggests_works(place):
    process = run_command("compile", "models/model.pt", "--out", "builds/first", cwd=place)
    assert process.returncode == 0, process.stderr
    assert "accuracy on 40 test samples of ../own.npz" in process.stdout
    assert f"  data: {CONTENTS} " in process.stdout
    assert f"  data: {CHANNELS_LAST}" in process.stdout
    suggested = process.stdout.split("next: qac-deploy ")[1].split()
    assert suggested[:2] == ["simulate", "builds/first"]
    suggested[suggested.index("lava")] = "stepped"
    assert run_command(*suggested, cwd=place).returncode == 0


def test_a_name_alone_is_looked_for_beside_the_model_file_then_here(place):
    """What ``Checkpoint(graph, {"data": "own.npz"})`` writes."""
    record(place / "models" / "model.pt", data="own.npz")
    here = report_of(run_command("compile", "models/model.pt", "--json", cwd=place))
    assert here["fidelity"]["samples"] == 40
    write_data(place / "models" / "own.npz", seed=1)
    there = report_of(run_command("compile", "models/model.pt", "--json", cwd=place))
    assert there["data_sha256"] != here["data_sha256"]


def test_a_data_set_that_has_changed_is_measured_and_said(place):
    assert run_command("compile", "models/model.pt", cwd=place).returncode == 0
    write_data(place / "own.npz", seed=1)
    note = (
        "data set own.npz has changed since models/model.pt was made: SHA-256 of its test samples"
    )
    process = run_command("compile", "models/model.pt", "--out", "again", cwd=place, COLUMNS="400")
    assert note in process.stdout
    assert "accuracy on 40 test samples of own.npz" in process.stdout
    report = json.loads((place / "again" / "report.json").read_text())
    assert report["data_note"].startswith(note)
    assert note in (place / "again" / "report.html").read_text()
    process = run_command("simulate", "build", cwd=place, COLUMNS="400")
    assert note.replace("models/model.pt", "build") in process.stdout
    calibrate = ("calibrate", "models/model.pt", "--epochs", 1, "--samples", 16)
    process = run_command(*calibrate, cwd=place, COLUMNS="400")
    assert note in process.stdout


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({}, "models/model.pt: names no data set; choose one with --data"),
        (
            {"data": "gone.npz"},
            "data set 'gone.npz', which models/model.pt names, is not in models nor .; choose one",
        ),
        ({"data": "../pickle.npz"}, "pickle.npz: cannot be read as .npz without pickles"),
        (
            {"data": "../three.npz"},
            "the network has 4 classes, but data set 'three.npz' has 3; choose the data set",
        ),
    ],
)
def test_why_nothing_is_measured_is_said_in_one_line(place, training, reason):
    class Payload:
        def __reduce__(self):
            return (open, (str(place / "pwned"), "w"))

    (place / "pickle.npz").write_bytes(pickle.dumps(Payload()))
    write_data(place / "three.npz", seed=0, classes=3)
    record(place / "models" / "model.pt", **training)
    process = run_command("compile", "models/model.pt", cwd=place, COLUMNS="400")
    assert process.returncode == 0, process.stderr
    (line,) = [line for line in process.stdout.splitlines() if "not measured" in line]
    assert line.startswith("accuracy, energy and time are not measured: ")
    assert reason in line
    report = json.loads((place / "build" / "report.json").read_text())
    assert report["fidelity"] is None
    assert report["data"] is None
    assert report["data_note"].startswith(line[:60])
    assert not (place / "pwned").exists()


def test_verify_says_that_random_pixels_take_the_place_of_a_missing_data_set(place):
    assert run_command("compile", "models/model.pt", "--samples", 2, cwd=place).returncode == 0
    (place / "own.npz").unlink()
    command = ("verify", "build", "--samples", 1, "--lava-python", "no")
    process = run_command(*command, cwd=place, COLUMNS="400")
    assert process.returncode == 0, process.stderr
    said = process.stdout.splitlines()
    (line,) = [line for line in said if line.startswith("random pixels take the place of test")]
    assert "own.npz" in line
    for rung in ("stepped engine -> exact engine", "integer network -> PE array"):
        (line,) = [line for line in said if rung in line]
        assert "counts, trains and logits of 1 samples of random pixels" in line
    report = json.loads(run_command(*command, "--json", cwd=place).stdout)
    assert report["data_note"].startswith("random pixels take the place of test samples: ")


def test_a_simulation_does_not_go_on_with_other_pixels(place):
    """The labels are the same; what was finished before is of the images before."""
    assert run_command("compile", "models/model.pt", "--samples", 2, cwd=place).returncode == 0
    network, dataset = load_integer_network(place / "build"), load_dataset(str(place / "own.npz"))
    run = describe_run(network, "exact", dataset.test_pixels, dataset.test_labels, CHUNK_SAMPLES)
    journal = Journal(place / "build.simulation", run, resume=False)
    journal.write(0, ChunkSimulator(network=network)(dataset.test_pixels))
    journal.close(finished=False)
    state = (place / "build.simulation").read_bytes()
    resume = ("simulate", "build", "--resume")
    assert run_command(*resume, cwd=place).returncode == 0
    (place / "build.simulation").write_bytes(state)
    write_data(place / "own.npz", seed=1)
    process = run_command(*resume, cwd=place)
    assert process.returncode == 2
    assert (
        "is of another run: its data differs; run without --resume to start over" in process.stderr
    )


COMMANDS_ON_DATA = {
    "compile": ("compile", "models/model.pt"),
    "simulate": ("simulate", "build"),
    "calibrate": ("calibrate", "models/model.pt"),
}


@pytest.mark.parametrize("command", COMMANDS_ON_DATA)
def test_a_data_set_of_other_classes_is_refused(place, command):
    """Its labels mean something else, whatever share of them the network hits."""
    write_data(place / "other.npz", seed=0, classes=5)
    if command == "simulate":
        assert run_command("compile", "models/model.pt", cwd=place).returncode == 0
    process = run_command(*COMMANDS_ON_DATA[command], "--data", "other.npz", cwd=place)
    assert process.returncode == 2
    assert "the network has 4 classes, but data set 'other.npz' has 5" in process.stderr


@pytest.mark.parametrize("max_value", [16, 1_000])
def test_pixels_of_another_range_are_refused(place, max_value):
    """The largest pixel would be another share of the input's range than in training."""
    model = place / "models" / "model.pt"
    graph = load_checkpoint(model).graph
    source = replace(graph.input, max_value=max_value, unit=1 / max_value)
    changed = LayerGraph.build([source, *graph.populations[1:]], graph.synapses)
    save_checkpoint(model, Checkpoint(changed, {}))
    process = run_command("compile", model, "--data", "own.npz", cwd=place)
    assert process.returncode == 2
    assert (
        f"pixels are 0..255, but the network's input population 'input' takes 0..{max_value}"
        in (process.stderr)
    )


def test_names_that_look_like_markup_are_printed_as_they_are(place):
    """Every command that names a path on the terminal, of a build whose data set has such a name, too."""
    odd = place / "a[/b] [red]c"
    for folder in ("own[", "["):
        (odd / folder).mkdir(parents=True)
    (place / "own.npz").rename(odd / "own[/x].npz")
    for arguments in (
        ("train", "--data", "own[/x].npz", "--epochs", 1, "--out", "[/m].pt"),
        ("calibrate", "[/m].pt", "--epochs", 1, "--samples", 16, "--out", "[/n].pt"),
        ("compile", "[/m].pt", "--out", "build[/y]"),
        ("simulate", "build[/y]"),
        ("report", "build[/y]"),
        ("compare", "build[/y]"),
        ("verify", odd / "build[/y]", "--samples", 1),
        ("export", "build[/y]", "--format", "sanafe", "--out", "san[afe]"),
    ):
        process = run_command(*arguments, cwd=odd)
        assert process.returncode == 0, process.stderr
        if arguments[0] in ("train", "simulate"):
            assert "own[/x].npz" in process.stdout
        if arguments[0] in ("compile", "report"):
            assert "build[/y]/report.html" in process.stdout
