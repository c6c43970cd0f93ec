"""A report is computed again from the build: a figure that is not the build's is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_networks import float_unet

from deploy.build.load import read_build
from deploy.check.report_figures import first_difference, report_difference
from deploy.compile.compile_model import compile_model
from deploy.design.compilation import CompileOptions
from toolchain.errors import ModelFileError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint

OTHERS = "sensitivity, alignment_trade, suggestions"


def peak(logits, labels):
    return float(logits.max())


@pytest.fixture(scope="module")
def compiled_unet(tmp_path_factory):
    """A build of a U-Net with 12 images, and an accuracy of the user's own."""
    folder = tmp_path_factory.mktemp("unet")
    images = np.random.default_rng(1).integers(0, 256, (12, 8, 8)).astype(np.uint8)
    masks = (images > 100).astype(np.int64)
    np.savez(
        folder / "masks.npz",
        train_images=images[:8], train_labels=masks[:8],
        test_images=images[8:], test_labels=masks[8:],
    )  # fmt: skip
    save_checkpoint(folder / "model.pt", Checkpoint(float_unet(), {"data": "masks.npz"}))
    options = CompileOptions(samples=2, slots=3)
    compile_model(folder / "model.pt", folder / "build", options, accuracy=peak)
    return folder


@pytest.fixture
def folder(compiled_unet, tmp_path):
    """A copy of the build beside its data set."""
    shutil.copytree(compiled_unet, tmp_path / "copy")
    return tmp_path / "copy"


def change_report(build, *path, value):
    report = json.loads((build / "report.json").read_text())
    record = report
    for key in path[:-1]:
        record = record[key]
    record[path[-1]] = value
    (build / "report.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("pipeline", "first_latency_ticks"), 3, "pipeline.first_latency_ticks is 3, must be "),
        (("mean_timesteps",), 2.5, "mean_timesteps is 2.5, must be 3.0"),
        (
            ("fidelity", "outputs", 0, "same_argmax_share"), 0.5,
            "fidelity.outputs[0].same_argmax_share is 0.5, must be ",
        ),
        (("costs", "sanafe", "interval_s"), 1e-9, "costs.sanafe.interval_s is 1e-09, must be"),
        (("comparison",), [], "comparison is [], must be [{"),
    ],
)  # fmt: skip
def test_a_figure_that_the_build_does_not_give_is_named(folder, path, value, message):
    change_report(folder / "build", *path, value=value)
    difference, _ = report_difference(read_build(folder / "build"))
    assert difference.startswith(f"report.json: {message}")


def test_an_accuracy_that_is_not_computed_again_is_compared_with_the_page(folder):
    change_report(folder / "build", "fidelity", "integer_accuracy", value=0.25)
    (folder / "masks.npz").unlink()  # quicker
    difference, _ = report_difference(read_build(folder / "build"))
    assert difference == "report.html is not what report.json and the mapping give; compile again"


def test_an_unchanged_report_is_equal_with_and_without_its_data_set(folder):
    build = read_build(folder / "build")
    assert report_difference(build) == (None, f"{OTHERS}, accuracies by peak")
    (folder / "masks.npz").unlink()
    assert report_difference(build) == (
        None,
        f"{OTHERS}, lowering on images, what needs its data set",
    )


@pytest.mark.parametrize("name", ["report.html", "pe_array.json", "pipeline.trace.json"])
def test_a_file_that_does_not_go_with_the_report_is_named(folder, name):
    (folder / "masks.npz").unlink()  # quicker
    with (folder / "build" / name).open("a") as file:
        file.write(" x")
    difference, _ = report_difference(read_build(folder / "build"))
    assert difference == f"{name} is not what report.json and the mapping give; compile again"


def test_rounding_is_no_difference_but_a_type_or_a_field_is():
    assert first_difference({"a": [1.0, "b"]}, {"a": [1.0 + 1e-9, "b"]}, "") is None
    assert first_difference({"a": 1.0}, {"a": 1.00001}, "") == "a is 1.00001, must be 1.0"
    assert first_difference({"a": True}, {"a": 1}, "") == "a is 1, must be true"
    assert first_difference({"a": 1}, {}, "") == "a is missing"
    assert first_difference({}, {"a": 1}, "") == "a is not a field of a report"
    shares = (
        ({"same_argmax": 540}, {"same_argmax": 538}),
        ({"same_argmax": 540}, {"same_argmax": 530}),
    )
    close, far = (first_difference(*pair, "fidelity") for pair in shares)
    assert close is None
    assert far == "fidelity.same_argmax is 530, must be 540"
    exact = first_difference({"integer_accuracy": 0.5}, {"integer_accuracy": 0.502}, "fidelity")
    assert exact == "fidelity.integer_accuracy is 0.502, must be 0.5"


def test_a_report_of_another_version_is_refused(folder):
    change_report(folder / "build", "version", value=1)
    with pytest.raises(
        ModelFileError, match=r"report.json: is of another version .* compile the model"
    ):
        read_build(folder / "build")
