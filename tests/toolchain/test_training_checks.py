"""What training refuses before its first epoch, and small things that it must not stumble over."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.datasets import Dataset
from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import SlipRelu, TimestepQuantizer
from toolchain.training import TrainingPlan, train
from toolchain.training.loop import _batch_ends


def data(num_samples=6):
    rng = np.random.default_rng(0)
    return Dataset(
        name="small",
        max_value=255,
        num_classes=2,
        train_pixels=rng.integers(0, 256, (num_samples, 3, 4, 4)),
        train_labels=np.arange(num_samples) % 2,
        test_pixels=rng.integers(0, 256, (2, 3, 4, 4)),
        test_labels=np.arange(2),
    )


def layers(*last):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *last, nn.Flatten(), nn.LazyLinear(2)
    )


def quantized(network, make_quantizer=TimestepQuantizer):
    torch.manual_seed(0)
    network(torch.zeros(2, 3, 4, 4))
    return quantize_activations(network, make_quantizer)


class Viewing(nn.Module):
    """Reads its maps in the order of their memory, as ``view`` does."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).view(-1, 16))


def reports_of(module, dataset, plan):
    reports = []
    train(module, dataset, plan, reports.append)
    return reports


def test_a_network_that_views_its_maps_is_trained(capsys):
    module = quantized(Viewing())
    before = module.get_parameter("conv.weight").detach().clone()
    assert len(reports_of(module, data(), TrainingPlan(epochs=1, batch_size=4))) == 1
    assert not torch.equal(before, module.get_parameter("conv.weight").detach())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("num_samples", "ends"),
    [(65, [65]), (66, [64, 66]), (64, [64]), (128, [64, 128]), (129, [64, 129]), (1, [1])],
)
def test_a_last_batch_of_one_image_joins_the_one_before_it(num_samples, ends):
    assert _batch_ends(num_samples, 64, 2) == ends


def test_batch_norm_on_one_pixel_trains_whatever_the_number_of_images():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)
    )
    plan = TrainingPlan(epochs=1, batch_size=4)
    (report,) = reports_of(quantized(network), data(5), plan)
    assert np.isfinite(report.loss)


@pytest.mark.parametrize(
    ("num_samples", "plan", "message"),
    [
        (
            1,
            TrainingPlan(),
            "small: 1 training image(s) for 1 process(es), which need 2 or more; add images",
        ),
        (
            6,
            TrainingPlan(devices=2, nodes=2),
            "small: 6 training image(s) for 4 process(es), which need 8 or more; add images",
        ),
        (
            8,
            TrainingPlan(devices=4, batch_size=7),
            "a batch of 7 images is too small for 4 processes; use 8 or more",
        ),
    ],
)
def test_fewer_than_two_images_per_process_and_batch_are_refused(num_samples, plan, message):
    with pytest.raises(DataError) as refusal:
        train(quantized(Viewing()), data(num_samples), plan)
    assert str(refusal.value) == message


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.LocalResponseNorm(2)])
def test_what_cannot_be_converted_is_refused_before_it_is_trained(layer):
    module = quantized(layers(layer))
    reports = []
    with pytest.raises(UnsupportedNetworkError) as refusal:
        train(module, data(), TrainingPlan(epochs=1), reports.append)
    assert reports == []
    with pytest.raises(UnsupportedNetworkError) as later:
        convert(module, (3, 4, 4), 255)
    assert str(refusal.value) == str(later.value)


def test_the_wrong_input_shape_is_refused_before_training():
    module = quantize_activations(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)),
        TimestepQuantizer,
    )
    with pytest.raises(UnsupportedNetworkError, match="check input_shape"):
        train(module, data(), TrainingPlan(epochs=1))


def test_a_network_for_comparison_that_does_not_convert_is_trained_all_the_same():
    module = quantized(layers(), SlipRelu)
    with pytest.raises(UnsupportedNetworkError):
        convert(module, (3, 4, 4), 255)
    assert len(reports_of(module, data(), TrainingPlan(epochs=1))) == 1


def test_probabilities_are_not_trained_as_logits():
    network = nn.Sequential(layers(), nn.Softmax(1))
    network(torch.zeros(2, 3, 4, 4))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        train(network, data(), TrainingPlan(epochs=1))
    assert str(refusal.value) == (
        "Sequential returns probabilities, but the loss takes logits; leave the softmax at its end out (the "
        "largest logit is the same)"
    )
