"""Calls depend on what they are given, not on what happens around them, and leave nothing behind."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from own_network import OwnNetwork

import qac_deploy as qd


def test_a_model_whose_file_was_replaced_is_not_compiled(flow, tmp_path, monkeypatch):
    file = tmp_path / "model.pt"
    shutil.copy(flow.model.path, file)
    model = qd.load_model(file)
    other = qd.convert(qd.quantize(OwnNetwork()), flow.data, out=file)
    with pytest.raises(qd.QacDeployError, match=r"model\.pt: was replaced since this model was"):
        qd.compile(model, tmp_path / "build")
    assert other.sha256 != model.sha256
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    relative = qd.load_model("model.pt")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(qd.QacDeployError, match=r"model\.pt: is no longer there"):
        qd.compile(relative, "build")
    shutil.copy(flow.model.path, "model.pt")
    with pytest.raises(qd.QacDeployError, match=r"model\.pt: was replaced"):
        qd.compile(relative, "build")


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_trains_are_those_of_the_pixels_that_were_given(flow, kind):
    pixels = flow.data.test_pixels[:4].copy()
    run = flow.build.simulate(torch.from_numpy(pixels) if kind == "tensor" else pixels)
    pixels[:] = 0
    for name, trains in run.trains.items():
        assert np.array_equal(trains.sum(axis=1), run.counts[name])


def test_training_leaves_the_random_numbers_of_the_caller(digits):
    module = qd.quantize(OwnNetwork())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    qd.train(module, digits, epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_training_needs_no_gradients_of_the_caller(digits, without):
    module = qd.quantize(OwnNetwork())
    with without():
        history = qd.train(module, digits, epochs=1)
    assert history.loss[0] > 0


def test_two_threads_can_train_and_convert(digits, tmp_path):
    torch.manual_seed(0)
    networks = [qd.quantize(OwnNetwork()) for _ in range(2)]

    def make(index: int) -> float:
        qd.train(networks[index], digits, epochs=1)
        return qd.convert(networks[index], digits, out=tmp_path / f"{index}.pt").accuracy

    with ThreadPoolExecutor(2) as pool:
        accuracies = list(pool.map(make, range(2)))
    assert min(accuracies) > 0.1
    qd.train(networks[0], digits, epochs=1)


def test_results_can_be_pickled(flow):
    run = flow.build.simulate(flow.data.test_pixels[:2])
    again = pickle.loads(pickle.dumps(run))
    assert np.array_equal(again.logits, run.logits)
    assert all(np.array_equal(again.trains[name], run.trains[name]) for name in run.trains)
    assert pickle.loads(pickle.dumps(flow.build)).report.accuracy == flow.build.report.accuracy
    assert pickle.loads(pickle.dumps(flow.model)).timesteps == flow.model.timesteps


def test_changed_data_are_named(flow, tmp_path):
    shutil.copy(flow.model.path, tmp_path / "model.pt")
    data = tmp_path / "own.npz"
    arrays = {f"{part}_labels": getattr(flow.data, f"{part}_labels") for part in ("train", "test")}
    for part in ("train", "test"):
        arrays[f"{part}_images"] = getattr(flow.data, f"{part}_pixels").astype(np.uint8)
    np.savez(data, **arrays, max_value=flow.data.max_value)
    model = qd.convert(flow.module, data, out=tmp_path / "of-own.pt")
    np.savez(data, **{**arrays, "test_labels": (arrays["test_labels"] + 1) % 10}, max_value=16)
    build = qd.compile(model, tmp_path / "build")
    assert "own.npz has changed since" in repr(build.report)
