"""What ``convert`` takes beside a trained module: plain networks, modules of other tools, and files."""

import brevitas_networks
import numpy as np
import pytest
import torch
from torch import nn

import qac_deploy as qd


@pytest.fixture(scope="module")
def pretrained(digits):
    """A plain ReLU network."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    qd.train(module, digits, epochs=4)
    return module


def test_a_pretrained_network_needs_no_training(pretrained, digits, tmp_path):
    model = qd.convert(pretrained, digits, mean_timesteps=6, samples=200, out=tmp_path / "m.pt")
    assert model.mean_timesteps <= 6
    assert any("float network" in note for note in model.notes)
    assert model.training["imported_from"].startswith("Sequential: ")
    build = qd.compile(model, out=tmp_path / "build", samples=2)
    with torch.no_grad():
        logits = pretrained(torch.from_numpy(digits.test_pixels / 16).float())
    floats = (logits.argmax(1).numpy() == digits.test_labels).mean()
    assert build.report.accuracy > floats - 0.05


def test_a_file_and_a_program_give_what_the_module_gives(flow, tmp_path):
    batch = torch.zeros(2, *flow.data.input_shape)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(flow.module, (batch,), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "network.pt2")
    graphs = [
        qd.convert(source, flow.data, out=tmp_path / "m.pt").graph
        for source in (program, tmp_path / "network.pt2", str(tmp_path / "network.pt2"))
    ]
    for graph in graphs:
        assert [p.timesteps for p in graph.spiking] == list(flow.model.timesteps.values())


def test_a_network_of_brevitas_is_compared_with_brevitas(tmp_path):
    module = brevitas_networks.residual_network(3)
    model = qd.convert(module, input_shape=(1, 8, 8), out=tmp_path / "m.pt")
    assert any(note.startswith("compared with Brevitas") for note in model.notes)
    assert set(model.timesteps.values()) == {7}
    assert model.training["data"] is None


def test_normalization_is_a_pair_of_means_and_deviations(flow, tmp_path):
    models = [
        qd.convert(flow.module, flow.data, normalize=form, out=tmp_path / "m.pt")
        for form in (((0.25,), (0.5,)), "0.25/0.5", (np.array([0.25]), np.array([0.5])))
    ]
    first, *others = (model.populations[1].bias for model in models)
    assert not np.array_equal(first, flow.model.populations[1].bias)
    assert all(np.array_equal(first, other) for other in others)


def test_data_that_are_in_no_file_are_not_recorded(flow, tmp_path):
    own = qd.Dataset(
        name="mine", max_value=16, num_classes=10,
        train_pixels=flow.data.train_pixels, train_labels=flow.data.train_labels,
        test_pixels=flow.data.test_pixels, test_labels=flow.data.test_labels,
    )  # fmt: skip
    model = qd.convert(flow.module, own, out=tmp_path / "m.pt")
    assert model.training["data"] is None
    assert any(note.startswith("data set 'mine' is not in a file") for note in model.notes)
    with pytest.raises(qd.QacDeployError, match="data set 'mine' is not in a file"):
        qd.compile(model, out=tmp_path / "build", data=own)


def test_a_recorded_file_is_found_from_another_folder(flow, tmp_path, monkeypatch):
    np.savez(
        tmp_path / "own.npz", max_value=16, num_classes=10,
        train_images=flow.data.train_pixels[:64].astype(np.uint8), train_labels=flow.data.train_labels[:64],
        test_images=flow.data.test_pixels[:32].astype(np.uint8), test_labels=flow.data.test_labels[:32],
    )  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    qd.convert(flow.module, qd.load_data("own.npz"), out="m.pt")
    monkeypatch.chdir(tmp_path / "elsewhere")
    build = qd.compile("../m.pt", samples=2)
    assert build.report.document["fidelity"]["samples"] == 32
