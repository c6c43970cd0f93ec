"""Post-training conversion as a whole: a plain ReLU network becomes a spiking network, without labels."""

from dataclasses import replace

import pytest
import torch
from builders import WIDTHS
from torch import nn

from sim.exact.engine import run_exact
from toolchain.datasets import load_dataset
from toolchain.errors import DataError, OptionError, UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import ForeignNetwork, RuntimeValues
from toolchain.importers.torch_module import Normalization
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.passes import lower_to_integers
from toolchain.post_training import PostTrainingPlan, convert_post_training
from toolchain.training import accuracy, ann_logits, train
from toolchain.training.plan import TrainingPlan

PLAN = PostTrainingPlan(mean_timesteps=3.5, samples=160, calibration_epochs=2)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU6(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def module(digits):
    """A plain ReLU network, trained with the cross entropy alone."""
    torch.manual_seed(0)
    trained = network()
    optimizer = torch.optim.Adam(trained.parameters(), 5e-3)
    images = torch.from_numpy(digits.train_pixels / digits.max_value).float()
    labels = torch.from_numpy(digits.train_labels)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(images), labels).backward()
        optimizer.step()
    return trained.eval()


@pytest.fixture(scope="module")
def reported():
    return []


@pytest.fixture(scope="module")
def result(module, digits, reported):
    return convert_post_training(module, digits, PLAN, on_step=reported.append)


def test_the_spiking_network_has_nearly_the_float_networks_accuracy(result, module, digits):
    logits = ann_logits(module, digits.test_pixels, digits.max_value)
    labels = digits.test_labels
    spiking = run_float_snn(result.graph, digits.test_pixels, dtype=torch.float32).logits
    assert result.test.float_network == pytest.approx(accuracy(logits, labels), abs=0.002)
    assert result.test.converted == pytest.approx(accuracy(spiking, labels), abs=0.004)
    assert result.test.samples == len(labels)
    assert result.test.converted > result.test.float_network - 0.03
    integers = run_exact(lower_to_integers(result.graph, WIDTHS), digits.test_pixels).logits
    assert accuracy(integers, labels) > result.test.float_network - 0.04


def test_the_mean_of_t_stays_within_the_budget(result):
    assert list(result.timesteps) == ["2", "5", "8"]
    assert result.mean_timesteps == sum(result.timesteps.values()) / 3
    assert 3 <= result.mean_timesteps <= 3.5
    assert {p.name: p.timesteps for p in result.graph.spiking} | result.timesteps == {
        p.name: p.timesteps for p in result.graph.spiking
    }


def test_each_step_is_reported_with_what_it_gained(result, reported):
    assert tuple(reported) == result.steps
    assert [step.name for step in result.steps] == [
        "float network", "fixed quantile", "clipping levels", "biases", "mixed T", "calibration",
    ]  # fmt: skip
    first, *steps = result.steps
    assert (first.logit_error, first.agreement) == (pytest.approx(0, abs=1e-6), 1)
    kept = [step.logit_error for step in steps if step.kept]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < 0.7 * kept[0]
    undone = [step.name for step in steps if not step.kept]
    assert [note.split(":")[0] for note in result.notes if "undone" in note] == undone


def test_the_result_depends_on_the_seed_and_not_on_labels(result, module, digits):
    relabelled = replace(digits, train_labels=digits.train_labels[::-1].copy())
    again = convert_post_training(module, relabelled, PLAN)
    assert _neurons(again.graph) == _neurons(result.graph)
    other = convert_post_training(module, digits, replace(PLAN, seed=1))
    assert _neurons(other.graph) != _neurons(result.graph)


def _neurons(graph):
    return [
        (
            p.name,
            p.timesteps,
            p.threshold.tobytes(),
            p.initial_potential.tobytes(),
            p.bias.tobytes(),
        )
        for p in graph.spiking
    ]


def test_no_test_image_is_read_before_the_end(module, digits):
    class Forbidden:
        shape = digits.test_pixels.shape

        def __len__(self):
            return len(digits.test_pixels)

        def __getitem__(self, samples):
            raise AssertionError("test images were read")

    hidden = replace(digits, test_pixels=Forbidden())
    plan = replace(PLAN, calibration_epochs=0, test_samples=0)
    assert convert_post_training(module, hidden, plan).test is None


def test_fine_tuning_trains_the_weights(module, digits, result):
    plan = replace(PLAN, calibration_epochs=0, finetune_epochs=2)
    tuned = convert_post_training(module, digits, plan)
    assert tuned.steps[-1].name == "fine-tuning"
    assert tuned.steps[-1].kept
    assert tuned.steps[-1].logit_error < tuned.steps[-2].logit_error
    assert tuned.timesteps == result.timesteps


def test_an_interruption_passes_through(module, digits):
    seen = []

    def stop(name, done, total):
        seen.append(name)
        if name == "calibration":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_post_training(module, digits, PLAN, on_progress=stop)
    assert seen[0] == "clipping levels"


def _foreign(module, logits):
    """A network as a reader of a format gives it."""
    return ForeignNetwork(
        module=module.double(),
        source="a file of another tool",
        runtime="its runtime 1.0",
        execute=lambda inputs: RuntimeValues(logits=logits(torch.from_numpy(inputs)), quantized={}),
    )


def test_a_network_of_another_tool_is_compared_with_its_runtime(module, digits):
    single = network()
    single.load_state_dict(module.state_dict())
    single.eval()

    def same(inputs):
        with torch.no_grad():
            return single(inputs).numpy()

    double = network().eval()
    double.load_state_dict(module.state_dict())
    plan = replace(PLAN, samples=64, calibration_epochs=0, mixed=False)
    normal = Normalization(mean=(0.5,), std=(0.5,))
    found = convert_post_training(_foreign(double, same), digits, plan, normal)
    assert (found.source, found.judge) == ("a file of another tool", "its runtime 1.0")
    assert "logits equal to those of its runtime 1.0 on 22 samples" in found.steps[0].what
    with pytest.raises(
        UnsupportedNetworkError, match=r"logits differ from those of its runtime 1\.0"
    ):
        convert_post_training(_foreign(double, lambda x: same(x) + 0.1), digits, plan)


def test_a_program_of_torch_export_is_converted(module, digits):
    batch = torch.zeros(2, *digits.input_shape)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module.float(), (batch,), dynamic_shapes=dynamic)
    plan = replace(PLAN, samples=64, calibration_epochs=0, mixed=False)
    found = convert_post_training(program, digits, plan)
    assert found.source == "exported program"
    assert list(found.timesteps.values()) == [3, 3, 3]


def test_maps_of_logits_have_no_accuracy(digits):
    torch.manual_seed(0)
    maps = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1), nn.ReLU(),
        nn.Conv2d(2, 2, 1),
    )  # fmt: skip
    found = convert_post_training(maps, digits, replace(PLAN, samples=64))
    assert found.test is None
    assert all(step.accuracy is None and step.agreement is None for step in found.steps)
    assert 0 < found.steps[-1].logit_error < 0.8 * found.steps[1].logit_error


def test_what_cannot_be_converted_is_refused(module, digits):
    with pytest.raises(UnsupportedNetworkError, match="has 3 quantized activations already"):
        convert_post_training(quantize_activations(module, TimestepQuantizer), digits, PLAN)
    with pytest.raises(OptionError, match=r"mean of T must be from 1 to 256, not 0\.5"):
        convert_post_training(module, digits, replace(PLAN, mean_timesteps=0.5))
    with pytest.raises(
        OptionError, match=r"largest T must be from the mean of T, 3\.5, to 256, not 3"
    ):
        convert_post_training(module, digits, replace(PLAN, max_timesteps=3))
    with pytest.raises(OptionError, match="number of epochs must be 0 or more"):
        convert_post_training(module, digits, replace(PLAN, finetune_epochs=-1))
    shaped = replace(_foreign(network(), None), input_shape=(3, 8, 8))
    with pytest.raises(DataError, match=r"images have shape \(1, 8, 8\), but .* \(3, 8, 8\)"):
        convert_post_training(shaped, digits, PLAN)
    with pytest.raises(DataError, match="needs 32 training images or more, not 10"):
        convert_post_training(module, digits, replace(PLAN, samples=10))


@pytest.mark.slow
def test_the_fashion_mnist_cnn_keeps_its_accuracy():
    """The benchmark's network after one epoch of its six, with a margin for what that changes."""
    from benchmarks.post_training.conversions import convert_and_measure
    from benchmarks.post_training.float_networks import SEED, cnn

    dataset = load_dataset("fashion-mnist")
    torch.manual_seed(SEED)
    trained = train(cnn(), dataset, TrainingPlan(epochs=1, batch_size=128, budget=None))
    for steps, most in ((8, 0.01), (16, 0.005)):
        found = convert_and_measure(
            trained, dataset, steps, mixed=True, samples=10_000, say=lambda line: None
        )
        assert found["test"]["converted"] >= found["test"]["float_network"] - most
        assert found["integer"] >= found["test"]["float_network"] - 0.01
