"""``compile --lowering``: the steps in the report, the plain network, and what verify says of both."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from builders import float_connect, float_dense, float_network_of, float_spiking
from installed_command import run_command

from deploy.build.load import load_build
from deploy.check.lowered_again import images_of_build
from deploy.design.compilation import CompileOptions
from deploy.design.design import lower_graph, lowering_images_of
from hw_models.target_description import load_target
from toolchain.errors import DataError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.networks.integer_network.serialize import describe_network
from toolchain.passes import lower_to_integers

LOWERED = "quantized ANN -> integer network"


def write_images(path, seed=0):
    parts = {"train": (np.random.default_rng(seed), 60), "test": (np.random.default_rng(99), 10)}
    arrays = {}
    for part, (rng, number) in parts.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (number, 4, 4, 1), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(number) % 3
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, its images, and builds of 4-bit weights: ``fitted`` and ``plain``."""
    folder = tmp_path_factory.mktemp("lowering")
    rng = np.random.default_rng(0)
    graph = float_network_of(
        float_spiking("hidden", (8, 1, 1), timesteps=4, threshold=2.0, bias=0.25),
        float_connect("input", "hidden", float_dense(rng.normal(size=(8, 16)))),
        float_connect("hidden", "readout", float_dense(rng.normal(size=(3, 8)))),
        image=(1, 4, 4), max_value=255, unit=1 / 255, readout="readout", classes=3, bias=np.zeros(3),
    )  # fmt: skip
    write_images(folder / "own.npz")
    save_checkpoint(folder / "model.pt", Checkpoint(graph, {"data": "own.npz"}))
    for out, *more in (("fitted",), ("plain", "--lowering", "plain")):
        process = run_command(
            "compile",
            "model.pt",
            "--weight-bits",
            4,
            "--samples",
            1,
            "--out",
            out,
            *more,
            cwd=folder,
        )
        assert process.returncode == 0, process.stderr
        (folder / f"{out}.txt").write_text(process.stdout)
    return folder


def same_integers(network, other):
    (document, arrays), (expected, theirs) = map(describe_network, (network, other))
    return document == expected and all(np.array_equal(arrays[n], theirs[n]) for n in theirs)


def test_plain_lowering_is_that_of_the_weights_alone(place):
    widths = replace(load_target("loihi-sim").widths, weight_bits=4)
    expected = lower_to_integers(load_checkpoint(place / "model.pt").graph, widths)
    builds = {name: load_build(place / name) for name in ("fitted", "plain")}
    assert same_integers(builds["plain"].network, expected)
    assert not same_integers(builds["fitted"].network, expected)
    assert "--lowering plain" in builds["plain"].report["command"]


def test_the_report_has_each_step_and_what_it_was_measured_on(place):
    fitted, plain = (load_build(place / n).report["lowering"] for n in ("fitted", "plain"))
    assert (fitted["fitted_images"], fitted["held_out_images"]) == (20, 40)
    names = [step["name"] for step in fitted["steps"]]
    assert names == ["nearest", "rounding by output error", "biases by mean counts"]
    kept = [step["logit_error"] for step in fitted["steps"] if step["kept"]]
    assert len(kept) > 1
    assert kept == sorted(kept, reverse=True)
    assert (plain["steps"], plain["images_sha256"], plain["notes"]) == ([], None, [])
    shown = (place / "fitted.txt").read_text()
    assert "integers, step by step" in shown
    assert "rounding by output error" in shown
    assert "integers, step by step" not in (place / "plain.txt").read_text()
    page = "What each step of lowering brought"
    assert page in (place / "fitted" / "report.html").read_text()
    assert page not in (place / "plain" / "report.html").read_text()


def test_without_a_data_set_one_line_says_that_no_images_were_used(place):
    graph = load_checkpoint(place / "model.pt").graph
    target, options = load_target("loihi-sim"), CompileOptions()
    assert lowering_images_of(graph, None, options) is None
    lowering = lower_graph(graph, target, options, None)
    assert same_integers(lowering.network, lower_to_integers(graph, target.widths))
    assert lowering.notes == (
        "weights are rounded to nearest: no data set has images to fit them to",
    )


def test_an_unknown_lowering_is_refused(place):
    process = run_command("compile", "model.pt", "--lowering", "best", cwd=place)
    assert process.returncode == 2
    assert "must be one of images, plain, not 'best'" in " ".join(process.stderr.split())


def verified(folder, build):
    process = run_command(
        "verify", build, "--samples", 1, "--lava-python", "none", "--json", cwd=folder
    )
    return {rung["name"]: rung for rung in json.loads(process.stdout)["rungs"]}


def test_verify_lowers_again_on_the_same_images_or_says_why_it_cannot(place):
    assert verified(place, "fitted")[LOWERED]["status"] == "equal"
    try:
        write_images(place / "own.npz", seed=1)
        build = load_build(place / "fitted")
        graph = load_checkpoint(place / "model.pt").graph
        with pytest.raises(
            DataError,
            match=r"fitted to training images of .*, which have changed since",
        ):
            images_of_build(build, graph)
        (place / "own.npz").unlink()
        rungs = verified(place, "fitted")
        assert rungs[LOWERED]["status"] == "skipped"
        assert (
            "the integers were fitted to images of a data set: data set 'own.npz'"
            in (rungs[LOWERED]["detail"])
        )
        assert rungs["build -> report"]["status"] == "equal"
        assert "lowering on images" in rungs["build -> report"]["detail"]
        assert verified(place, "plain")[LOWERED]["status"] == "equal"
    finally:
        write_images(place / "own.npz")
