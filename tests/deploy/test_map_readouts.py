"""Networks whose logits are maps: agreement by pixel, the user's accuracy, and the same maps everywhere."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking
from rich.console import Console
from small_networks import float_unet

from deploy.build.load import load_report, read_build
from deploy.check.judged_build import judge
from deploy.check.verify import verify
from deploy.compile.compile_model import compile_model
from deploy.design.accuracy import Accuracy, load_accuracy, measure_accuracy
from deploy.design.check_fits import check_fits
from deploy.design.compilation import CompileOptions
from deploy.design.fidelity import measure_fidelity
from deploy.optimize.measurements import Measurements
from deploy.report.terminal import print_summary
from deploy.train.calibrate_model import CalibrateOptions, calibrate_model
from hw_models.target_description import load_target
from sim.engines import ENGINES, Request
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.datasets import Dataset, load_dataset
from toolchain.errors import AccuracyError, DataError, LavaError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import ReadoutOutput
from toolchain.passes import lower_to_integers

METRICS = """
import numpy as np

def likelihood(logits, labels):
    assert logits.dtype == np.float64
    second = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return np.where(labels == 1, second, 1 - second).min()

def broken(logits, labels):
    return {}["mask"]

def nothing(logits, labels):
    pass

def infinite(logits, labels):
    return np.float32(np.inf)

def text(logits, labels):
    return "0.5"

def by_class(logits, labels):
    return np.array([0.5])

def immense(logits, labels):
    return 10**400

class Own(BaseException):
    pass

def own_error(logits, labels):
    raise Own("x")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A U-Net in ``model.pt``, masks in ``masks.npz`` and functions in ``metrics.py``."""
    folder = tmp_path_factory.mktemp("maps")
    images = np.random.default_rng(1).integers(0, 256, (30, 8, 8)).astype(np.uint8)
    masks = (images > 100).astype(np.int64)
    np.savez(
        folder / "masks.npz",
        train_images=images[:10], train_labels=masks[:10],
        test_images=images[10:], test_labels=masks[10:],
    )  # fmt: skip
    (folder / "metrics.py").write_text(METRICS)
    save_checkpoint(folder / "model.pt", Checkpoint(float_unet(), {"data": "masks.npz"}))
    return folder


@pytest.fixture(scope="module")
def build(place):
    """A build without an accuracy."""
    compile_model(place / "model.pt", place / "plain", CompileOptions(samples=2))
    return place / "plain"


@pytest.fixture(scope="module")
def expected(place, build):
    """Labels, and logits of both networks on the test samples, ``(N, 2, 8, 8)``."""
    dataset = load_dataset(str(place / "masks.npz"))
    network = read_build(build).network
    integers = run_stepped(network, dataset.test_pixels).logits * network.readout.unit
    floats = run_float_snn(float_unet(), dataset.test_pixels).logits
    return (
        dataset.test_labels,
        *(logits.reshape(-1, 2, 8, 8) for logits in (floats, integers)),
    )


def test_the_users_accuracy_is_that_of_both_networks_and_of_each_engine(
    qac_deploy, place, expected
):
    labels, floats, integers = expected
    function = ("--accuracy", "metrics.py:likelihood", "--json")
    command = ("compile", "model.pt", "--out", "measured", "--samples", 2, *function)
    process = qac_deploy(*command, cwd=place)
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    fidelity = report["fidelity"]
    assert fidelity["accuracy_function"] == "metrics.py:likelihood"
    likelihood = load_accuracy(f"{place / 'metrics.py'}:likelihood").function
    of_floats, of_integers = likelihood(floats, labels), likelihood(integers, labels)
    assert abs(of_floats - of_integers) > 1e-4
    assert fidelity["float_accuracy"] == pytest.approx(of_floats, rel=1e-5)  # single precision
    assert fidelity["integer_accuracy"] == of_integers
    trade = {row["method"]: row["integer_accuracy"] for row in report["alignment_trade"]}
    assert trade["average"] == of_integers
    process = qac_deploy("simulate", "measured", "--engine", "frame-by-frame", *function, cwd=place)
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert record["accuracy"] == of_integers
    assert record["predictions"] is None
    page = (place / "measured" / "report.html").read_text()
    assert f"<b>{of_integers:.4f}</b> <span>metrics.py:likelihood</span>" in page
    assert f"<dt>float</dt><dd>{fidelity['float_accuracy']:.4f}</dd>" in page
    assert "first 20 test samples of masks.npz" in page


def test_without_an_accuracy_the_report_compares_pixels_and_speaks_of_no_class(build, expected):
    _, floats, integers = expected
    report = load_report(build)
    fidelity = report["fidelity"]
    assert (fidelity["float_accuracy"], fidelity["integer_accuracy"]) == (None, None)
    assert fidelity["same_argmax"] is None
    (output,) = fidelity["outputs"]
    share = (floats.argmax(1) == integers.argmax(1)).mean()
    assert 0.9 < share < 1
    assert output["same_argmax_share"] == pytest.approx(share, abs=0.002)
    difference = np.abs(floats - integers).max() / np.abs(floats).max()
    assert output["largest_difference"] == pytest.approx(difference, rel=1e-3)
    terminal = Console(file=io.StringIO(), width=300)
    print_summary(report, terminal)
    page = re.sub(
        r"<(style|script)\b.*?</\1>|<[^>]*>", " ", (build / "report.html").read_text(), flags=re.S
    )
    for text in (terminal.file.getvalue(), page):
        assert f"the same channel is the largest at {output['same_argmax_share']:.2%}" in text
        left = text.replace("the logits are not those of one class per sample", "")
        for line in report["data_contents"]:  # the data set has classes, one per pixel
            left = left.replace(line, "")
        left = re.sub(r"(?i)no accuracy (is defined|on 20 test samples)|--accuracy FILE", "", left)
        assert not re.search(r"(?i:class|accura|correct)|\bNone\b", left)


def test_every_engine_and_rung_computes_the_same_maps(build):
    loaded = judge(read_build(build), 3)
    for engine in ENGINES.values():
        run = engine.prepare(loaded.network, Request(with_trains=True))(loaded.pixels)
        assert first_divergence(loaded.reference, run) is None, engine.name

    def no_lava():
        raise LavaError("not in this test")

    rungs = {rung.name: rung for rung in verify(loaded, no_lava)}
    names = ("quantized ANN -> integer network", "integer network -> cores", "build -> report")
    assert [rungs[name].status for name in names] == ["equal"] * 3


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", r"broken failed: KeyError: 'mask' \(.*metrics.py:10\)"),
        ("nothing", "nothing must return one finite number, not None"),
        ("infinite", r"infinite must return one finite number, not np.float32\(inf\)"),
        ("text", "text must return one finite number, not '0.5'"),
        ("by_class", r"by_class must return one finite number, not array\(\[0.5\]\)"),
        ("immense", r"immense must return one finite number, not 1000+\.\.\."),
        ("own_error", "own_error failed: Own: x"),
    ],
)
def test_what_is_no_accuracy_is_refused_with_the_function(place, expected, function, message):
    labels, floats, _ = expected
    accuracy = load_accuracy(f"{place / 'metrics.py'}:{function}")
    with pytest.raises(AccuracyError, match=f"metrics.py:{message}"):
        measure_accuracy(float_unet().readout, floats.reshape(20, -1), labels, accuracy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.py", "'metrics.py' must be FILE.py:FUNCTION, such as metrics.py:mean_iou"),
        ("gone.py:iou", "gone.py: no such file; --accuracy needs a Python file"),
        ("other.py:iou", "other.py: has no function iou; it has mean"),
        ("ends.py:iou", "ends.py cannot be executed: SystemExit: 3"),
        ("wrong.py:iou", "wrong.py cannot be executed: SyntaxError"),
    ],
)
def test_a_function_that_cannot_be_found_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    for name, content in (("other", "def mean(a, b): pass"), ("ends", "raise SystemExit(3)")):
        (tmp_path / f"{name}.py").write_text(content)
    (tmp_path / "wrong.py").write_text("def iou(:")
    with pytest.raises(AccuracyError) as refusal:
        load_accuracy(text)
    assert str(refusal.value).startswith(message)


def test_the_command_ends_with_the_function_and_exit_code_2(qac_deploy, place, build):
    process = qac_deploy("simulate", build.name, "--accuracy", "metrics.py:nothing", cwd=place)
    assert process.returncode == 2
    assert "metrics.py:nothing must return one finite number, not None" in process.stderr
    assert "Traceback" not in process.stderr


OUTPUTS = (
    ReadoutOutput(name="first", start=0, stop=1, height=8, width=8),
    ReadoutOutput(name="second", start=1, stop=2, height=3, width=5),
)


def test_several_outputs_are_compared_and_given_to_the_function_by_name(place):
    dataset = load_dataset(str(place / "masks.npz"))
    graph = float_unet(OUTPUTS)
    shapes = []

    def accuracy(logits, labels):
        shapes.append({name: part.shape for name, part in logits.items()})
        return float(logits["second"].max())

    network = lower_to_integers(graph, WIDTHS)
    fidelity = measure_fidelity(
        graph, network, dataset, Accuracy(name="largest", function=accuracy)
    )
    assert shapes == [{"first": (20, 1, 8, 8), "second": (20, 1, 3, 5)}] * 2
    assert [output.name for output in fidelity.outputs] == ["first", "second"]
    assert fidelity.outputs[1].same_argmax_share is None
    floats = run_float_snn(graph, dataset.test_pixels).logits.reshape(-1, 2, 8, 8)[:, 1, :3, :5]
    assert fidelity.float_accuracy == pytest.approx(floats.max(), rel=1e-5)


def test_differing_maps_are_counted_by_pixel_within_each_output(place):
    dataset = load_dataset(str(place / "masks.npz"))
    graph = float_unet()
    network = lower_to_integers(graph, WIDTHS)
    equal = measure_fidelity(graph, network, dataset).outputs[0]
    first = np.array([2**30, 0]).reshape(2, 1, 1)
    populations = [*network.populations[:-1], replace(network["mask"], bias=first)]
    changed = type(network).build(populations, network.synapses)
    biased = measure_fidelity(graph, changed, dataset).outputs[0]
    floats = run_float_snn(graph, dataset.test_pixels).logits.reshape(-1, 2, 8, 8)
    assert biased.same_argmax_share == pytest.approx((floats.argmax(1) == 0).mean(), abs=0.002)
    assert biased.same_argmax_share < equal.same_argmax_share
    assert biased.largest_difference > 10 * equal.largest_difference


def test_a_search_with_a_budget_needs_an_accuracy_and_takes_the_users(place):
    options = CompileOptions(optimize="stalls", accuracy_budget=1, samples=2)
    with pytest.raises(AccuracyError) as refusal:
        compile_model(place / "model.pt", place / "never", options)
    assert str(refusal.value) == (
        "--accuracy-budget needs an accuracy, but the logits of mask are not those of classes; define it "
        "with --accuracy FILE.py:FUNCTION"
    )
    graph = float_unet()
    network = lower_to_integers(graph, WIDTHS)
    known = Measurements(
        model=graph,
        target=load_target("loihi-sim"),
        dataset=load_dataset(str(place / "masks.npz")),
        on_stage=lambda stage: None,
        accuracy_measure=Accuracy(name="count", function=lambda logits, labels: len(logits)),
    )
    assert known.accuracy(network) == 10  # training images


def test_masks_of_a_network_that_chooses_classes_need_an_accuracy():
    graph = float_network_of(
        float_spiking("hidden", (1, 1, 1)),
        float_connect("input", "hidden", float_dense([[1, 1]])),
        float_connect("hidden", "readout", float_dense([[1], [2]])),
        image=(1, 1, 2),
        max_value=255,
        readout="readout",
        classes=2,
    )
    pixels = np.zeros((3, 1, 1, 2), np.int64)
    masks = pixels[:, 0] + np.arange(2)
    dataset = Dataset(
        name="masks", max_value=255, num_classes=2, train_pixels=pixels, train_labels=masks,
        test_pixels=pixels, test_labels=masks,
    )  # fmt: skip
    with pytest.raises(DataError) as refusal:
        check_fits(graph, dataset)
    assert str(refusal.value) == (
        "data set 'masks': a label has shape (1, 2), but the network chooses one class per sample; define "
        "its accuracy with --accuracy FILE.py:FUNCTION, or choose the data set it was trained on with --data"
    )
    check_fits(graph, dataset, Accuracy(name="any", function=lambda logits, labels: 1.0))


def test_calibration_of_maps_has_no_accuracy(place):
    options = CalibrateOptions(
        alignment="truncate", timesteps=None, granularity="channel", samples=8, epochs=1,
        learning_rate=0.1, data=None,
    )  # fmt: skip
    report = calibrate_model(place / "model.pt", place / "calibrated.pt", options)
    assert (report["accuracy_before"], report["accuracy_after"]) == (None, None)
    assert report["held_out_error_before"] > 0
