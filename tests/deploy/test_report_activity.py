"""The spikes that a report shows are the stepped engine's, and stay small however large a network is."""

from __future__ import annotations

import json
from base64 import b64decode

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given
from hypothesis import strategies as st

from deploy.build.load import read_build
from deploy.check.report_figures import report_difference
from deploy.compile.compile_model import compile_model
from deploy.design import activity
from deploy.design.activity import even_strides, measure_activity
from deploy.design.compilation import CompileOptions
from deploy.design.random_pixels import random_pixels
from deploy.report.records import plain
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def shape_kept(record):
    return [
        -(-size // stride) for size, stride in zip(record["shape"], record["strides"], strict=True)
    ]


def unpacked(record, sample):
    """Trains of one sample, ``(T, channels, rows, columns)``, of the neurons that are kept."""
    shape = (record["timesteps"], *shape_kept(record))
    bits = np.unpackbits(np.frombuffer(b64decode(record["trains"][sample]), np.uint8))
    assert not bits[np.prod(shape) :].any()
    return bits[: np.prod(shape)].reshape(shape)


def hold(record, network, pixels):
    """Everything in a record is what the stepped engine computes from the pixels."""
    judge = run_stepped(network, pixels)
    assert record["num_samples"] == len(pixels)
    if record["logits"] is not None:
        assert np.array_equal(record["logits"], judge.logits)
    assert list(record["populations"]) == [p.name for p in network.spiking]
    for name, shown in record["populations"].items():
        every = tuple(slice(None, None, stride) for stride in shown["strides"])
        for sample in range(len(pixels)):
            trains = judge.trains[name][sample]
            assert np.array_equal(unpacked(shown, sample), trains[(slice(None), *every)])
            counts = judge.counts[name][sample]
            amounts = [int((counts == n).sum()) for n in range(shown["timesteps"] + 1)]
            assert shown["histogram"][sample] == amounts
    channels, rows, columns = record["input"]["strides"]
    grey = pixels[:, ::channels, ::rows, ::columns] * 255 // network.input.max_value
    kept = [np.frombuffer(b64decode(text), np.uint8) for text in record["input"]["pixels"]]
    assert np.array_equal(np.stack(kept).reshape(grey.shape), grey)


def test_a_build_shows_the_first_test_samples(compiled):
    build = read_build(compiled[1])
    dataset, record = load_dataset("digits"), build.report["activity"]
    hold(record, build.network, dataset.test_pixels[:4])
    assert record["is_random"] is False
    assert record["labels"] == dataset.test_labels[:4].tolist()
    assert len(record["logits"][0]) == 10


def test_without_a_data_set_the_pixels_are_random(trained, tmp_path):
    graph = load_checkpoint(trained[1]).graph
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    compile_model(tmp_path / "model.pt", tmp_path / "build", CompileOptions(samples=2))
    build = read_build(tmp_path / "build")
    record = build.report["activity"]
    hold(record, build.network, random_pixels(build.network, 4))
    assert record["is_random"] is True
    assert record["labels"] is None
    assert report_difference(build)[0] is None
    report = json.loads((tmp_path / "build" / "report.json").read_text())
    report["activity"]["populations"]["join"]["histogram"][1][0] += 1
    (tmp_path / "build" / "report.json").write_text(json.dumps(report))
    difference, _ = report_difference(read_build(tmp_path / "build"))
    assert difference.startswith("report.json: activity.populations.join.histogram[1][0] is ")


def test_neurons_are_thinned_evenly_and_all_are_counted(monkeypatch):
    """A network larger than what is kept: strides are stated, and the histogram has every neuron."""
    monkeypatch.setattr(activity, "MOST_NEURONS", 9)
    monkeypatch.setattr(activity, "MOST_PIXELS", 5)
    rng = np.random.default_rng(0)
    network = network_of(
        spiking("wide", (20, 1, 1), timesteps=3, threshold=40, initial=20),
        connect("input", "wide", dense(rng.integers(-20, 20, (20, 16)))),
        connect("wide", "logits", dense(rng.integers(-20, 20, (2, 20)))),
        image=(1, 4, 4), max_value=7, classes=2,
    )  # fmt: skip
    record = json.loads(json.dumps(plain(measure_activity(network, None))))
    hold(record, network, random_pixels(network, 4))
    assert record["populations"]["wide"]["strides"] == [4, 1, 1]
    assert record["input"]["strides"] == [1, 2, 2]


@given(
    st.tuples(st.integers(1, 600), st.integers(1, 300), st.integers(1, 300)), st.integers(-1, 9000)
)
def test_strides_keep_at_most_so_many_neurons(shape, most):
    strides = even_strides(shape, most)
    kept = [-(-size // stride) for size, stride in zip(shape, strides, strict=True)]
    assert np.prod(kept) <= max(most, 1)
    if np.prod(shape) <= most:
        assert strides == (1, 1, 1)


@pytest.mark.parametrize(("layers", "timesteps"), [(20, 4), (200, 8), (200, 64)])
def test_the_record_of_a_large_network_stays_below_a_megabyte(layers, timesteps):
    """By the same rule as ``measure_activity``, without running so large a network."""
    most = activity.most_neurons(layers * timesteps)
    kept = np.prod(
        [
            -(-s // n)
            for s, n in zip((64, 112, 112), even_strides((64, 112, 112), most), strict=True)
        ]
    )
    base64 = layers * activity.SHOWN_SAMPLES * (kept * timesteps / 8 + 1) * 4 / 3
    assert base64 < 600_000
