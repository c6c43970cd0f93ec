"""``qac-deploy convert`` with files of other tools, as a person uses it."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from installed_command import run_command
from torch import nn

from toolchain.files.checkpoint import load_checkpoint

pytest.importorskip("onnx")
MEAN, STD = 0.25, 0.5


def relu_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 6), nn.ReLU(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images whose labels a float network gives, and the network in two formats."""
    path = tmp_path_factory.mktemp("convert")
    network = relu_network()
    images = np.random.default_rng(0).integers(0, 256, (160, 1, 8, 8), np.uint8)
    with torch.no_grad():
        logits = network((torch.from_numpy(images) / 255 - MEAN) / STD)
    labels = (logits[:, 0] - logits[:, 1] > (logits[:, 0] - logits[:, 1]).median()).long().numpy()
    head = network[-1]
    with torch.no_grad():
        head.bias[0] -= (logits[:, 0] - logits[:, 1]).median()
    np.savez(
        path / "own.npz",
        train_images=images[:128],
        train_labels=1 - labels[:128],
        test_images=images[128:],
        test_labels=1 - labels[128:],
    )
    example = (torch.zeros(1, 1, 8, 8),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter, which is fast
        torch.onnx.export(network, example, str(path / "relu.onnx"), dynamo=False)
    torch.export.save(torch.export.export(network, example), path / "relu.pt2")
    return path


def quantized_onnx(path):
    """A dense network of one quantizer with T = 5, from one vector."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    tensors = {
        "weight": rng.normal(size=(64, 8)).astype(np.float32),
        "out": rng.normal(size=(8, 2)).astype(np.float32),
        "step": np.float32(0.5),
        "zero": np.uint8(0),
        "five": np.uint8(5),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["current"]),
        helper.make_node("QuantizeLinear", ["current", "step", "zero"], ["fired"], name="hidden"),
        helper.make_node("Clip", ["fired", "zero", "five"], ["clipped"]),
        helper.make_node("DequantizeLinear", ["clipped", "step", "zero"], ["value"]),
        helper.make_node("MatMul", ["value", "out"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    save(model, path)


PLAIN = ("--data", "own.npz", "--normalize", f"{MEAN}/{STD}", "--mean-timesteps", "6")


@pytest.mark.parametrize("file", ["relu.onnx", "relu.pt2"])
def test_a_plain_relu_network_gets_timesteps_without_training(folder, tmp_path, file):
    out = tmp_path / "model.pt"
    process = run_command("convert", file, *PLAIN, "--out", out, cwd=folder)
    assert process.returncode == 0, process.stderr
    said = process.stdout
    for words in ("without quantizers", "2 spiking populations", "and 2 of exact max pooling",
                  "float network: ", "clipping levels", "mixed T", "calibration",
                  "on 32 test images: float network 100.00%, converted"):  # fmt: skip
        assert words in said
    graph = load_checkpoint(out).graph
    trained = [p for p in graph.spiking if p.role == "activation"]
    assert sum(p.timesteps for p in trained) <= 12


def test_a_wrong_normalization_shows_in_the_accuracy(folder, tmp_path):
    arguments = ("--data", "own.npz", "--mean-timesteps", "6", "--out", tmp_path / "m.pt", "--json")
    record = json.loads(run_command("convert", "relu.onnx", *arguments, cwd=folder).stdout)
    assert record["test"]["float_network"] < 0.9
    assert record["steps"][0]["name"] == "float network"
    assert record["source"].startswith("ONNX without quantizers")


def test_a_quantized_network_keeps_its_levels(folder, tmp_path):
    quantized_onnx(tmp_path / "quantized.onnx")
    arguments = ("--data", folder / "own.npz", "--out", "model.pt")
    process = run_command("convert", "quantized.onnx", *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "1 spiking population, T = 5" in process.stdout
    assert "spike counts and all logits equal" in process.stdout
    assert "its input holds an image as one vector" in process.stdout
    assert "% on the first 32 test images" in process.stdout
    (population,) = load_checkpoint(tmp_path / "model.pt").graph.spiking
    assert population.timesteps == 5
    assert population.threshold.item() == 2.5
    compiled = run_command("compile", "model.pt", "--json", cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    assert json.loads(compiled.stdout)["fidelity"]["samples"] == 32  # of the data set in its record


def nir_graph(path):
    """Two dense layers of integrate-and-fire neurons."""
    import nir

    rng = np.random.default_rng(0)
    nodes = {
        "input": nir.Input({"input": np.array([64])}),
        "output": nir.Output({"output": np.array([2])}),
    }
    for name, sizes in (("hidden", (8, 64)), ("classes", (2, 8))):
        nodes[f"{name} weights"] = nir.Affine(rng.normal(size=sizes), rng.normal(size=sizes[0]))
        nodes[name] = nir.IF(r=np.ones(sizes[0]), v_threshold=np.ones(sizes[0]))
    order = ["input", "hidden weights", "hidden", "classes weights", "classes", "output"]
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(order))))


def test_a_nir_graph_runs_step_by_step(folder, tmp_path):
    pytest.importorskip("nir")
    nir_graph(tmp_path / "network.nir")
    data = ("--data", folder / "own.npz")
    process = run_command("convert", "network.nir", *data, cwd=tmp_path)
    assert process.returncode == 2
    assert "--timesteps" in process.stderr
    process = run_command("convert", "network.nir", *data, "--timesteps", 6, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "2 spiking populations, T = 6" in process.stdout
    assert "spikes and all logits equal" in process.stdout
    assert "reset: by subtraction of v_threshold (soft)" in process.stdout
    graph = load_checkpoint(tmp_path / "model.pt").graph
    assert {s.alignment for s in graph.synapses} == {"replicate"}
    assert run_command("compile", "model.pt", cwd=tmp_path).returncode == 0
    stepped = run_command("simulate", "build", "--engine", "stepped", cwd=tmp_path)
    assert stepped.returncode == 0, stepped.stderr


def test_without_data_the_shape_is_that_of_the_file(tmp_path):
    quantized_onnx(tmp_path / "quantized.onnx")
    process = run_command("convert", "quantized.onnx", "--max-value", 15, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    image = load_checkpoint(tmp_path / "model.pt").graph.input
    assert (image.shape, image.max_value) == ((64, 1, 1), 15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu.onnx",), "relu.onnx: has no quantizers, and post-training conversion chooses them from"),
        (("relu.onnx", "--data", "own.npz"), "a budget of timesteps, such as --mean-timesteps 4"),
        (("relu.onnx", "--levels", "4"), "--levels belongs to a state_dict or training checkpoint"),
        (("relu.onnx", *PLAIN, "--max-value", "15"), "--max-value is 15, but that of data set own.npz is"),
        (("relu.onnx", *PLAIN, "--input-shape", "1x9x9"), "--input-shape is (1, 9, 9), but that of"),
        (("relu.onnx", "--input-shape", "9"), "--input-shape must be CHANNELSxHEIGHTxWIDTH"),
        (("relu.onnx", *PLAIN[:2], "--mean-timesteps", "2", "--normalize", "mnist"), "--normalize must be"),
        (("relu.onnx", "--data", "digits", "--mean-timesteps", "2"), "has 2 classes, but data set 'digits'"),
        (("quantized.onnx", "--data", "cifar-10"), "data set 'cifar-10' is not on this machine"),
        (("own.npz",), "own.npz: is a zip archive of no known kind"),
        (("quantized.onnx", "--mean-timesteps", "2"), "quantized.onnx: has quantizers, which set every T"),
        (("quantized.onnx", "--input-shape", "1x9x9"), "but images have shape (1, 9, 9)"),
    ],
)  # fmt: skip
def test_what_is_refused_writes_nothing(folder, tmp_path, arguments, message):
    quantized_onnx(folder / "quantized.onnx")
    out = tmp_path / "model.pt"
    process = run_command("convert", *arguments, "--out", out, cwd=folder)
    assert process.returncode == 2
    assert message in process.stderr
    assert not out.exists()


def test_a_model_file_needs_no_conversion(trained, tmp_path):
    process = run_command("convert", trained[1], "--out", tmp_path / "other.pt", cwd=tmp_path)
    assert process.returncode == 2
    assert f"{trained[1]}: is a model file already; run `qac-deploy compile" in process.stderr
