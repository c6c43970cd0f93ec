"""Each mistake ends in a ``QacDeployError`` that names the object, the value and what to do in Python."""

import re

import numpy as np
import pytest
import torch
from own_network import OwnNetwork
from torch import nn

import qac_deploy as qd
from toolchain.files.checkpoint import content_digests


def refusal(call):
    with pytest.raises(qd.QacDeployError) as caught:
        call()
    return str(caught.value)


def _gelu():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10))


PIXELS = {
    "floats": (lambda p: p / 16, "must be integers 0..16, not float64"),
    "float tensor": (lambda p: torch.rand(2, 1, 8, 8), "(pixels * 16).round().astype(int)"),
    "a single image": (lambda p: p[0], "add an axis in front of a single image: pixels[None]"),
    "no channels": (lambda p: p[:, 0], "add the axis of the channels: pixels[:, None]"),
    "channels last": (
        lambda p: p.transpose(0, 2, 3, 1),
        "channels come first: pixels.transpose(0, 3, 1, 2)",
    ),
    "another size": (lambda p: np.zeros((1, 3, 32, 32), int), "the network takes (B, 1, 8, 8)"),
    "too bright": (lambda p: p + 16, "pixels must be 0..16"),
    "too bright later on": (lambda p: np.concatenate([p] * 9 + [p + 16]), "must be 0..16"),
    "none": (lambda p: p[:0], "pass at least one"),
    "a name": (lambda p: "digits", "pass load_data(...).test_pixels"),
    "ragged rows": (lambda p: [[1], [1, 2]], "stack images of equal shape"),
}


@pytest.mark.parametrize("case", PIXELS)
@pytest.mark.parametrize("engine", ["exact", "lava"])
def test_pixels_that_do_not_fit(flow, case, engine):
    change, words = PIXELS[case]
    pixels = change(flow.data.test_pixels[:10])
    assert words in refusal(lambda: flow.build.simulate(pixels, engine))


def test_a_data_set_is_no_pixels(flow):
    assert "pass its test_pixels" in refusal(lambda: flow.build.simulate(flow.data))


MISTAKES = {
    "a module that is not converted": (
        lambda f: qd.compile(f.module),
        "compile takes a model or its file, not OwnNetwork; make a model with convert(module, data)",
    ),
    "a model file as a build": (lambda f: qd.load_build(f.model.path), "is read by load_model"),
    "a build as a model": (lambda f: qd.load_model(f.build.path), "is read by load_build"),
    "no path": (lambda f: qd.load_build(5), "the build folder must be a path, not int"),
    "a plain network without data": (
        lambda f: qd.convert(OwnNetwork()),
        "add 'data' and a budget of timesteps, such as mean_timesteps=4; to train the timesteps instead, "
        "quantize the module before you train it",
    ),
    "a budget for quantizers": (
        lambda f: qd.convert(f.module, f.data, mean_timesteps=4),
        "OwnNetwork: has quantizers, which set every T; leave out 'mean_timesteps'",
    ),
    "a module without its shape": (
        lambda f: qd.convert(f.module),
        "add 'data', or for example input_shape=(3, 32, 32)",
    ),
    "an unknown option": (
        lambda f: qd.compile(f.model, slot=2),
        "compile has no option 'slot'; did you mean 'slots'?",
    ),
    "no argument": (lambda f: qd.train(f.module), "missing a required argument: 'data'"),
    "an option of another source": (
        lambda f: qd.convert(f.module, f.data, arch="vgg-16"),
        "'arch' belongs to a state_dict or training checkpoint, and this is a module of PyTorch",
    ),
    "an activation without a spiking form": (
        lambda f: qd.quantize(_gelu()),
        "GELU has no integrate-and-fire form; replace it by ReLU",
    ),
    "a class": (lambda f: qd.quantize(OwnNetwork), "pass an instance, OwnNetwork()"),
    "a class to convert": (lambda f: qd.convert(OwnNetwork), "pass an instance, OwnNetwork()"),
    "a number as data": (lambda f: qd.train(f.module, 3), "must be a name, a path or a Dataset"),
    "an unknown architecture": (lambda f: qd.network("vgg", f.data), "choose one of lenet"),
    "an unknown case": (lambda f: qd.quantize(OwnNetwork(), case=5), "one of 1, 2, 3, 4, not 5"),
    "unknown pooling": (lambda f: qd.quantize(OwnNetwork(), max_pool="max"), "exact, average"),
    "a T above its cap": (
        lambda f: qd.quantize(OwnNetwork(), timesteps=20),
        "'timesteps' must be at least 1 and at most 'max_timesteps' (16), not 20",
    ),
    "two budgets": (
        lambda f: qd.train(f.module, f.data, mean_timesteps=3, interval=2),
        "mean_timesteps=3 and interval=2 exclude each other",
    ),
    "a budget below one": (
        lambda f: qd.train(f.module, f.data, mean_timesteps=float("nan")),
        "'mean_timesteps' must be a finite number, not nan",
    ),
    "no epoch": (lambda f: qd.train(f.module, f.data, epochs=0), "'epochs' must be at least 1"),
    "no teacher": (lambda f: qd.train(f.module, f.data, distill=0.5), "add 'teacher'"),
    "an interval without a search": (
        lambda f: qd.compile(f.model, interval=3),
        "'interval' is an aim of 'optimize' stalls",
    ),
    "an unknown objective": (
        lambda f: qd.compile(f.model, optimize="speed"),
        "'optimize' must be one of stalls",
    ),
    "an unknown alignment": (
        lambda f: qd.compile(f.model, align={"relu": "mean"}),
        "must be one of average, replicate, truncate, not 'mean'",
    ),
    "half a slot": (lambda f: qd.compile(f.model, slots=2.5), "must be a whole number, not 2.5"),
    "no timestep": (
        lambda f: qd.compile(f.model, timesteps={"relu": 0}),
        "'timesteps' of relu must be from 1 to 1,000,000, not 0",
    ),
    "too many bits": (
        lambda f: qd.compile(f.model, weight_bits=9),
        "'weight_bits' must be from 2 to 8, not 9",
    ),
    "a list of replicas": (lambda f: qd.compile(f.model, replicate=["relu"]), "a dictionary"),
    "an unrolling of three": (lambda f: qd.compile(f.model, unrolling=[1, 2, 3]), "four whole"),
    "a number as an accuracy": (
        lambda f: qd.compile(f.model, accuracy=0.9),
        "must be a function of logits and labels, not 0.9",
    ),
    "one mean": (lambda f: qd.convert(f.module, f.data, normalize=(0.5, 0.5)), "a pair of means"),
    "a flat image": (
        lambda f: qd.convert(f.module, input_shape=(8, 8)),
        "(channels, height, width)",
    ),
    "an unknown engine": (
        lambda f: f.build.simulate(f.data.test_pixels, "fast"),
        "'engine' must be one of exact, frame-by-frame, stepped, lava, not 'fast'",
    ),
    "labels of other images": (
        lambda f: f.build.simulate(f.data.test_pixels[:2]).accuracy(f.data.test_labels),
        "labels must have shape (2,)",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_refused_in_words_of_python(flow, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = MISTAKES[case]
    message = refusal(lambda: call(flow))
    assert words in message
    assert not re.search(r"--\w", re.sub("`[^`]*`", "", message))
    assert not list(tmp_path.iterdir())


def test_a_command_in_a_message_stays_one(flow, tmp_path):
    """A command works on files that Python wrote, so its options are not keywords."""
    message = refusal(lambda: qd.convert(flow.module, flow.data, mean_timesteps=4))
    assert "`compile --timesteps`" in message


def test_results_above_the_limit_of_memory_are_refused_before_they_are_computed(flow, monkeypatch):
    pixels = flow.data.test_pixels[:50]
    run = flow.build.simulate(pixels)
    counts, trains = (
        sum(a[name].size for name in a) + run.logits.nbytes for a in (run.counts, run.trains)
    )
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", str(counts - 1))
    assert "simulate at most 49 images at once" in refusal(lambda: flow.build.simulate(pixels))
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", str(counts))
    run = flow.build.simulate(pixels)
    assert "50 images: their spike trains take" in refusal(lambda: run.trains)
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", str(counts + trains))
    assert run.trains


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (np.array(["1", "2"]), "labels must be whole numbers, the indices of classes, not <U1"),
        (np.array([0.5, 1.5]), "labels must be whole numbers, the indices of classes, not float64"),
        (
            np.array([1, 10]),
            r"labels must be 0..9, one index for each of 10 classes, but reach 1..10",
        ),
        (np.array([-1, 3]), r"but reach -1..3"),
    ],
)
def test_labels_that_are_no_classes_are_refused(flow, labels, complaint):
    run = flow.build.simulate(flow.data.test_pixels[:2])
    with pytest.raises(qd.QacDeployError, match=complaint):
        run.accuracy(labels)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda f: qd.compile(f.model, accuracy_budget=1), "'accuracy_budget' is what 'optimize' may lose"),
        (lambda f: qd.compile(f.model, interval=2), "'interval' is an aim of 'optimize' stalls"),
        (lambda f: f.build.simulate(f.data.test_pixels[:1], lava_python="x"), "'lava_python' belongs to"),
        (lambda f: f.build.simulate(f.data.test_pixels[:1], "lava", device="cuda"), "'device' belongs to"),
        (lambda f: qd.train(f.module, f.data, epochs=1.5), "'epochs' must be a whole number, not 1.5"),
        (lambda f: qd.train(f.module, f.data, epochs="3"), "'epochs' must be a whole number, not '3'"),
        (lambda f: qd.train(f.module, f.data, learning_rate="1"), "'learning_rate' must be a number"),
        (lambda f: qd.convert(f.module, f.data, mean_timesteps="four"), "'mean_timesteps' must be a number"),
        (lambda f: qd.train(f.module, "nothing.npz"), "no such file"),
        (lambda f: qd.load_build(f.model.path), "is a file"),
    ],
)  # fmt: skip
def test_options_that_would_be_ignored_or_are_no_numbers_are_refused(flow, call, complaint):
    with pytest.raises(qd.QacDeployError, match=complaint):
        call(flow)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda module: module.requires_grad_(False), "has no parameter to train"),
        (lambda module: module.double(), r"is of torch\.float64.*call module\.float\(\)"),
    ],
)
def test_modules_that_cannot_be_trained_are_refused(digits, change, complaint):
    with pytest.raises(qd.QacDeployError, match=complaint):
        qd.train(change(qd.quantize(OwnNetwork())), digits, epochs=1)


def test_files_that_are_no_models_say_how_one_is_made(tmp_path):
    weights, whole = tmp_path / "weights.pth", tmp_path / "whole.pth"
    torch.save(OwnNetwork().state_dict(), weights)
    torch.save(OwnNetwork(), whole)
    with pytest.raises(
        qd.QacDeployError, match=r"weights\.pth: is not a model file; .*`qac-deploy convert`"
    ):
        qd.load_model(weights)
    with pytest.raises(qd.QacDeployError) as refused:
        qd.load_model(whole)
    assert (
        "OwnNetwork was not an allowed global by default); make one with `qac-deploy train`"
        in str(refused.value)
    )
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["a\x1b[31mred\x1b[2J", "line\nbreak", "right‮left", "c1\x9b31m"])
def test_names_that_a_terminal_would_obey_are_refused(flow, tmp_path, name):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    module.add_module(name, nn.ReLU())
    module.append(nn.Linear(8, 10))
    with pytest.raises(
        qd.QacDeployError, match=r"must be printable characters; rename it"
    ) as refused:
        qd.quantize(module)
    assert str(refused.value).isprintable()
    document = torch.load(flow.model.path)
    spiking = next(p for p in document["populations"] if p["kind"] == "spiking")
    for synapse in document["synapses"]:
        for end in ("source", "target"):
            synapse[end] = name if synapse[end] == spiking["name"] else synapse[end]
    spiking["name"] = name
    document["digests"] = content_digests(document)
    torch.save(document, tmp_path / "model.pt")
    with pytest.raises(qd.QacDeployError, match=r"must be printable characters") as refused:
        qd.load_model(tmp_path / "model.pt")
    assert str(refused.value).isprintable()


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = OwnNetwork()

    def forward(self, x):
        return self.own(x), x


@pytest.mark.parametrize(
    ("module", "options", "complaint"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), {}, "3 logits, but the labels have 10"),
        (_Pair, {}, "returns tuple, but the loss takes one tensor of logits"),
        (OwnNetwork, {"learning_rate": 1e6}, "training diverged in epoch 1.*lower 'learning_rate'"),
        (OwnNetwork, {"resume": True}, "'resume' continues from a state; add 'state_file'"),
    ],
)  # fmt: skip
def test_trainings_that_cannot_be_are_refused(digits, module, options, complaint):
    with pytest.raises(qd.QacDeployError, match=complaint):
        qd.train(module(), digits, epochs=1, **options)


def test_a_model_file_is_no_place_for_a_training_state(flow, tmp_path):
    before = flow.model.path.read_bytes()
    with pytest.raises(
        qd.QacDeployError, match=r"is not a training state, .*choose another with 'state_file'"
    ):
        qd.train(qd.quantize(OwnNetwork()), flow.data, epochs=1, state_file=flow.model.path)
    assert flow.model.path.read_bytes() == before
    torch.save(OwnNetwork().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(qd.QacDeployError, match=r"weights\.pt: exists and is not a model file"):
        qd.convert(flow.module, flow.data, out=tmp_path / "weights.pt")
