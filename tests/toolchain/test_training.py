"""Training on real digits: accuracy, mixed timesteps, and no gap between ANN and SNN."""

import numpy as np
import pytest
import torch

from toolchain.conversion import convert
from toolchain.datasets import load_dataset
from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.float_snn import run_float_snn
from toolchain.model_zoo import build_model
from toolchain.quantize_activations import quantize_activations
from toolchain.quantizers import TimestepQuantizer, quantizers
from toolchain.training import TimestepBudget, TrainingPlan, accuracy, ann_logits, train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def mini(dataset):
    torch.manual_seed(0)
    network = build_model("resnet-mini", dataset.input_shape, dataset.num_classes)
    return quantize_activations(network, TimestepQuantizer)


@pytest.fixture(scope="module")
def trained(digits):
    return train(mini(digits), digits, TrainingPlan())


def timesteps(module):
    return [int(q.timesteps.detach()) for q in quantizers(module).values()]


def test_digits_reach_97_percent_with_mixed_timesteps(trained, digits):
    logits = ann_logits(trained, digits.test_pixels, digits.max_value)
    assert accuracy(logits, digits.test_labels) >= 0.97
    assert len(set(timesteps(trained))) >= 2
    assert np.mean(timesteps(trained)) <= 2.5


def test_the_float_snn_is_the_quantized_ann_on_every_test_image(trained, digits):
    graph = convert(trained, digits.input_shape, digits.max_value)
    ann = ann_logits(trained, digits.test_pixels, digits.max_value)
    snn = run_float_snn(graph, digits.test_pixels).logits
    assert np.array_equal(ann.argmax(1), snn.argmax(1))
    assert np.allclose(ann, snn, rtol=0, atol=1e-9)


@pytest.mark.parametrize("budget", [1.0, 1.5, 3.25])
def test_the_timestep_budget_is_met(digits, budget):
    plan = TrainingPlan(budget=TimestepBudget(kind="mean", limit=budget), epochs=15)
    module = train(mini(digits), digits, plan)
    assert np.mean(timesteps(module)) <= budget


def test_the_same_seed_gives_the_same_network(digits):
    plan = TrainingPlan(epochs=1)
    first, second = (train(mini(digits), digits, plan).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_test_samples_are_not_training_samples(digits):
    train_set = {sample.tobytes() for sample in digits.train_pixels}
    assert len(digits.train_pixels) + len(digits.test_pixels) == 1797
    assert not any(sample.tobytes() in train_set for sample in digits.test_pixels)


def test_mnist5k_reads_28x28_pixels_of_256_levels():
    dataset = load_dataset("mnist5k")
    assert dataset.input_shape == (1, 28, 28)
    assert len(dataset.train_pixels) + len(dataset.test_pixels) == 5_000
    assert dataset.train_pixels.max() == dataset.max_value == 255


def test_unknown_names_list_what_there_is(digits):
    with pytest.raises(
        DataError, match="no data set is named 'cifar'; choose one of digits, mnist5k"
    ):
        load_dataset("cifar")
    message = "no architecture is named 'vgg'; choose one of resnet-mini, vgg-9"
    with pytest.raises(UnsupportedNetworkError, match=message):
        build_model("vgg", digits.input_shape, 10)
