"""The whole flow in one import: train, convert, compile and simulate a network of a user's own."""

import numpy as np
import pytest
import torch
from own_network import OwnNetwork
from torch import nn

import qac_deploy as qd
from toolchain.method.quantizers import quantizers


def test_training_is_recorded_epoch_by_epoch(flow):
    history = flow.history
    assert len(history.epochs) == 3
    assert history.loss[0] > history.loss[-1]
    assert history.accuracy[0] < history.accuracy[-1] <= 1
    final = {name: int(q.timesteps) for name, q in quantizers(flow.module).items()}
    assert {name: steps[-1] for name, steps in history.timesteps.items()} == final
    assert history.mean_timesteps[-1] == np.mean(list(final.values()))


def test_the_accuracy_on_test_images_is_that_of_the_module(flow):
    pixels = torch.from_numpy(flow.data.test_pixels / flow.data.max_value).float()
    with torch.no_grad():
        found = flow.module(pixels).argmax(1).numpy()
    expected = (found == flow.data.test_labels).mean()
    assert flow.history.test_accuracy == pytest.approx(expected)
    assert flow.history.test_samples == len(flow.data.test_labels)


def test_a_model_knows_its_populations_and_their_timesteps(flow, tmp_path):
    model = flow.model
    trained = sorted(int(q.timesteps) for q in quantizers(flow.module).values())
    roles = {p.name: p.role for p in model.graph.spiking}
    assert (
        sorted(t for name, t in model.timesteps.items() if roles[name] == "activation") == trained
    )
    assert [p.kind for p in model.populations[:: len(model.populations) - 1]] == [
        "input",
        "readout",
    ]
    assert model.accuracy == pytest.approx(flow.history.test_accuracy, abs=0.01)
    assert any("test images" in note for note in model.notes)
    loaded = qd.load_model(model.path)
    assert (loaded.timesteps, loaded.notes, loaded.accuracy) == (model.timesteps, (), None)
    assert loaded.training["data"] == "digits"


def test_a_build_finds_the_data_of_its_model_and_can_be_loaded(flow):
    report, loaded = flow.build.report, qd.load_build(flow.build.path)
    assert report.document["data"] == "digits"
    assert loaded.report.document == report.document
    run = flow.build.simulate(flow.data.test_pixels)
    assert report.accuracy == pytest.approx(run.accuracy(flow.data.test_labels))
    assert (report.num_cores, report.num_chips) == (len(flow.build.contents.mapping.cores), 1)
    assert report.interval_ticks == flow.build.pipeline.interval_ticks
    assert set(report.energy_nj) == set(report.interval_us) == set(report.latency_us)
    assert report.path.is_file()


def test_every_engine_gives_the_same_integers_in_chunks(flow):
    pixels = flow.data.test_pixels[:70]  # more than one chunk
    runs = {
        engine: flow.build.simulate(pixels, engine)
        for engine in ("exact", "frame-by-frame", "stepped")
    }
    reference = runs["stepped"]
    assert reference.logits.shape == (70, 10)
    for run in runs.values():
        assert np.array_equal(run.logits, reference.logits)
        for name, train in reference.trains.items():
            assert train.dtype == bool
            assert np.array_equal(run.trains[name], train)
            assert run.counts[name].dtype == np.int64
            assert np.array_equal(run.counts[name], train.sum(axis=1))
    assert np.array_equal(reference.predictions, reference.logits.argmax(1))


def test_tensors_and_lists_are_pixels_too(flow):
    pixels = flow.data.test_pixels[:2]
    expected = flow.build.simulate(pixels).logits
    for given in (torch.from_numpy(pixels), pixels.tolist(), pixels.astype(np.int64)):
        assert np.array_equal(flow.build.simulate(given).logits, expected)


def test_options_of_compile_reach_the_design(flow, tmp_path):
    join = next(iter(flow.model.timesteps))
    build = qd.compile(
        flow.model.path,
        tmp_path / "build",
        timesteps={"*": 2, join: 1},
        slots={"*": 3, f"input->{join}": 4},
        data="digits",
        samples=4,
        accuracy=lambda logits, labels: float((logits.argmax(1)[:, 0, 0] == labels).mean()),
    )
    steps = {p.name: p.timesteps for p in build.network.spiking}
    assert steps == {name: 1 if name == join else 2 for name in steps}
    slots = {(s["source"], s["target"]): s["slots"] for s in build.report.document["synapses"]}
    assert slots.pop(("input", join)) == 4
    assert set(slots.values()) == {3}
    assert build.pipeline.record["samples"] == 4
    assert build.report.document["fidelity"]["accuracy_function"] == "<lambda>"


def test_a_network_without_quantizers_is_trained_as_it_is(digits):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    history = qd.train(module, digits, epochs=1, batch_size=128)
    assert history.timesteps == {}
    assert not module.training
    assert history.notes == ()


def test_networks_of_the_zoo_have_the_weights_of_their_seed(digits):
    before = torch.get_rng_state()
    one, same, other = (qd.network("lenet", digits, width=0.5, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [next(module.parameters()) for module in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_trained_weights_get_balanced_clipping_levels(digits):
    torch.manual_seed(0)
    module = OwnNetwork()
    plain, balanced = qd.quantize(module), qd.quantize(module, data=digits)
    levels = [
        [float(q.threshold.detach()) for q in quantizers(m).values()] for m in (plain, balanced)
    ]
    assert len(set(levels[0])) == 1
    assert len(set(levels[1])) == len(levels[1])
    weights = dict(balanced.named_parameters())
    assert all(torch.equal(values, weights[name]) for name, values in module.named_parameters())


def test_a_budget_for_the_interval_takes_the_place_of_the_mean(digits):
    module = qd.quantize(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)))
    history = qd.train(module, digits, epochs=2, interval=1, batch_size=256)
    left = history.mean_timesteps[-1] - 1
    assert bool(history.notes) == (left > 0)
    if left:
        assert history.notes == (
            f"above the budget by {left:.2f} timesteps; train for more epochs",
        )


class Maps(nn.Module):
    """Two logits for each pixel, and a second output if it is asked for."""

    def __init__(self, *, two: bool) -> None:
        super().__init__()
        self.two = two
        self.features, self.relu = nn.Conv2d(1, 3, 3, padding=1), nn.ReLU()
        self.classes, self.depth = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 1, 1)

    def forward(self, x):
        x = self.relu(self.features(x))
        return (self.classes(x), self.depth(x)) if self.two else self.classes(x)


def run_of_maps(folder, *, two):
    torch.manual_seed(0)
    model = qd.convert(
        qd.quantize(Maps(two=two)), input_shape=(1, 4, 4), max_value=9, out=folder / "model.pt"
    )
    build = qd.compile(model, folder / "build", samples=2)
    pixels = np.random.default_rng(0).integers(0, 10, (3, 1, 4, 4))
    return build, build.simulate(pixels)


def test_a_network_of_maps_has_a_class_for_each_pixel(tmp_path):
    build, run = run_of_maps(tmp_path, two=False)
    (maps,) = run.outputs.values()
    assert maps.shape == (3, 2, 4, 4)
    assert np.array_equal(run.logits, maps.reshape(3, -1))
    assert np.array_equal(run.predictions, maps.argmax(axis=1))
    assert run.accuracy(run.predictions) == 1
    assert run.accuracy(1 - run.predictions) == 0
    assert build.report.accuracy is None
    assert "not measured" in repr(build)


def test_a_network_with_two_outputs_has_no_predictions(tmp_path):
    _, run = run_of_maps(tmp_path, two=True)
    assert sorted(maps.shape for maps in run.outputs.values()) == [(3, 1, 4, 4), (3, 2, 4, 4)]
    with pytest.raises(qd.QacDeployError, match=r"the readout .* has no classes"):
        run.predictions  # noqa: B018


def test_the_mean_of_t_leaves_out_exact_max_pooling(flow):
    """In the model and in the report: it is the mean that a budget counts."""
    activations = [p.timesteps for p in flow.model.graph.spiking if p.role == "activation"]
    assert len(activations) < len(flow.model.timesteps)
    assert flow.model.mean_timesteps == sum(activations) / len(activations)
    assert flow.build.report.mean_timesteps == flow.model.mean_timesteps
