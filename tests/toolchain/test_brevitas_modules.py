"""Brevitas networks in memory, judged by Brevitas' own execution of them."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.brevitas_format import import_brevitas, read_brevitas
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.torch_module import Normalization
from toolchain.method.quantizers import quantizers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    qnn = pytest.importorskip("brevitas.nn")
    from brevitas.inject.enum import FloatToIntImplType
    from brevitas.quant import Int8WeightPerChannelFloat, Int32Bias, Uint8ActPerTensorFloat
    from brevitas.quant.experimental.float import Fp8e4m3ActPerTensorFloat

pytestmark = pytest.mark.filterwarnings(
    "ignore:Named tensors:UserWarning", "ignore:.*__torch_function__.*:UserWarning"
)

SHAPE = (1, 8, 8)
PIXELS = np.random.default_rng(0).integers(0, 256, (1000, *SHAPE))
INPUTS = torch.from_numpy(PIXELS / 255).float()


class Residual(nn.Module):
    """A residual join of quantized values; weights have scales per channel, and biases are integers."""

    def __init__(self, bits):
        super().__init__()
        settings = {
            "weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": bits, "bias_quant": Int32Bias,
        }  # fmt: skip
        relu = {"bit_width": bits, "return_quant_tensor": True}
        self.conv = qnn.QuantConv2d(1, 4, 3, padding=1, weight_bit_width=bits)
        self.relu = qnn.QuantReLU(**relu)
        self.conv1 = qnn.QuantConv2d(4, 4, 3, padding=1, **settings)
        self.norm1, self.relu1 = nn.BatchNorm2d(4), qnn.QuantReLU(**relu)
        self.conv2 = qnn.QuantConv2d(4, 4, 3, padding=1, **settings)
        self.norm2, self.relu2 = nn.BatchNorm2d(4), qnn.QuantReLU(**relu)
        self.pool = nn.MaxPool2d(2)
        self.classes = qnn.QuantLinear(64, 3, **settings)

    def forward(self, x):
        x = self.relu(self.conv(x))
        y = self.relu1(self.norm1(self.conv1(x)))
        x = self.pool(self.relu2(self.norm2(self.conv2(y)) + x.value))
        return self.classes(x.flatten(1))


class PlainResidual(Residual):
    def forward(self, x):
        x = self.relu(self.conv(x))
        y = self.relu1(self.norm1(self.conv1(x)))
        x = self.pool(self.relu2(self.norm2(self.conv2(y)) + x))
        return self.classes(x.flatten(1))


def calibrated(network, shape=SHAPE):
    """A network whose scales are those of random inputs, in evaluation mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(10):
            network(torch.rand(8, *shape))
    return network.eval()


def small(*layers):
    torch.manual_seed(0)
    return calibrated(nn.Sequential(*layers))


def conv(features=4, channels=1, **settings):
    return qnn.QuantConv2d(channels, features, 3, padding=1, **settings)


def timesteps(imported):
    return {p.name: p.timesteps for p in imported.graph.spiking if p.role == "activation"}


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return calibrated(PlainResidual(4))


@pytest.fixture(scope="module")
def read(residual):
    return read_brevitas(residual, SHAPE)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_residual_network_has_the_counts_of_brevitas(bits):
    torch.manual_seed(bits)
    network = read_brevitas(calibrated(PlainResidual(bits)), SHAPE)
    agreement = compare_with_runtime(network, INPUTS)
    assert agreement.num_samples == 1000
    assert agreement.num_counts == 1000 * 3 * 4 * 64
    assert agreement.num_ties < 20
    imported = import_network(network, SHAPE, 255, samples=PIXELS)
    assert timesteps(imported) == dict.fromkeys(("relu", "relu1", "relu2"), 2**bits - 1)
    assert imported.source == "Brevitas network"
    assert imported.runtime.startswith("Brevitas 0.")


def test_the_users_network_stays_as_it_is(residual):
    before = {name: tensor.clone() for name, tensor in residual.state_dict().items()}
    training = copy.deepcopy(residual).train()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_brevitas(training, SHAPE)
    assert not caught
    assert all(part.training for part in training.modules())
    assert not any(part._forward_hooks for part in training.modules())
    assert all(torch.equal(training.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("planted", ["threshold", "weight", "logits"])
def test_a_planted_difference_is_reported(read, planted):
    module = copy.deepcopy(read.module)
    if planted == "threshold":
        module.get_submodule("relu1").alpha.data *= 1.02
        message = r"^relu1: Brevitas .* gives"
    elif planted == "weight":
        module.get_parameter("conv2.weight").data *= 1.05
        message = r"^relu2: Brevitas .* gives"
    else:
        module.get_parameter("classes.bias").data += 0.01
        message = "^the logits differ from those of Brevitas"
    with pytest.raises(UnsupportedNetworkError, match=message):
        compare_with_runtime(replace(read, module=module), INPUTS[:20])


def test_a_difference_behind_a_silent_quantizer_is_reported():
    network = small(
        conv(), qnn.QuantReLU(), qnn.QuantIdentity(Uint8ActPerTensorFloat, bit_width=3), nn.Flatten(),
        nn.Linear(256, 3),
    )  # fmt: skip
    network[0].bias.data.fill_(-100)
    read = read_brevitas(network, SHAPE)
    assert not read.execute(INPUTS[:9].numpy()).quantized["1"].any()
    compare_with_runtime(read, INPUTS[:9])
    read.module.get_parameter("4.weight").data *= 1.01
    with pytest.raises(UnsupportedNetworkError, match=r"^the logits differ from those of Brevitas"):
        compare_with_runtime(read, INPUTS[:9])


class Shared(nn.Module):
    """One ReLU under two names, and one quantizer for both sides of a sum."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(), conv(channels=4)
        self.relu, self.classes = qnn.QuantReLU(bit_width=4), qnn.QuantLinear(256, 3)
        self.again = self.relu
        self.both = qnn.QuantIdentity(Uint8ActPerTensorFloat, bit_width=5)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        y = self.again(self.conv2(x))
        return self.classes((self.both(y) + self.both(x)).flatten(1))


def test_a_quantizer_that_is_called_twice_is_two_populations():
    torch.manual_seed(0)
    network = read_brevitas(calibrated(Shared()), SHAPE)
    assert compare_with_runtime(network, INPUTS[:100]).num_counts == 100 * 4 * 4 * 64
    imported = import_network(network, SHAPE, 255)
    assert timesteps(imported) == {"relu": 15, "again": 15, "both": 31, "both_1": 31}


class Joined(nn.Module):
    """A join of Brevitas, whose quantizers are shared by all that it joins."""

    def __init__(self):
        super().__init__()
        unsigned, quant_tensors = Uint8ActPerTensorFloat, {"return_quant_tensor": True}
        self.conv1, self.conv2 = conv(), conv(channels=4)
        self.relu1, self.relu2 = qnn.QuantReLU(bit_width=4), qnn.QuantReLU(bit_width=3)
        self.add = qnn.QuantEltwiseAdd(unsigned, unsigned, **quant_tensors)
        self.classes = qnn.QuantLinear(512, 3)

    def forward(self, x):
        x = self.relu1(self.conv1(x))
        y = self.relu2(self.conv2(x))
        return self.classes(torch.cat([self.add(x, y), self.add(y, y)], dim=1).flatten(1))


def test_a_join_of_brevitas():
    torch.manual_seed(0)
    network = read_brevitas(calibrated(Joined()), SHAPE)
    agreement = compare_with_runtime(network, INPUTS[:100])
    found = timesteps(import_network(network, SHAPE, 255))
    assert agreement.num_counts == 100 * 256 * len(found)
    assert {"relu1", "relu2", "add.input_quant", "add.output_quant"} < found.keys()
    assert sorted(found.values()) == [7, 15, *[255] * 4]  # add quantizes x, y once, and two sums


def test_scales_per_channel():
    relu = qnn.QuantReLU(
        bit_width=4, scaling_per_output_channel=True, per_channel_broadcastable_shape=(1, 4, 1, 1),
        scaling_stats_permute_dims=(1, 0, 2, 3),
    )  # fmt: skip
    network = small(conv(), relu, nn.Flatten(), qnn.QuantLinear(256, 3))
    read = read_brevitas(network, SHAPE)
    assert relu.act_quant.scale().numel() == 4
    assert compare_with_runtime(read, INPUTS).num_counts == 1000 * 256
    assert timesteps(import_network(read, SHAPE, 255)) == {"1": 15}


def test_other_layers():
    network = small(
        qnn.QuantConv2d(1, 4, 3, stride=2), qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantConvTranspose2d(4, 4, 2, stride=2), nn.ReLU(),
        qnn.QuantIdentity(Uint8ActPerTensorFloat, bit_width=3), nn.AvgPool2d(3), nn.Flatten(),
        qnn.QuantLinear(16, 3, input_quant=Uint8ActPerTensorFloat),
    )  # fmt: skip
    imported = import_brevitas(network, SHAPE)
    assert timesteps(imported) == {"1": 15, "3": 7, "7.input_quant": 255}


def test_a_signed_quantizer_behind_a_relu_uses_its_levels_from_0():
    network = small(
        conv(), qnn.QuantReLU(act_quant=None), qnn.QuantIdentity(), nn.Flatten(), nn.Linear(256, 3)
    )
    assert timesteps(import_brevitas(network, SHAPE)) == {"1": 127}


def test_a_signed_quantizer_in_front_of_a_relu_uses_its_levels_from_0():
    network = after_conv(qnn.QuantIdentity, lambda: qnn.QuantReLU(bit_width=4))()
    assert timesteps(import_brevitas(network, SHAPE)) == {"1": 127, "2": 15}


def test_a_quantizer_of_pixels():
    network = small(qnn.QuantIdentity(), conv(), qnn.QuantReLU(), nn.Flatten(), nn.Linear(256, 3))
    imported = import_brevitas(network, SHAPE)
    assert timesteps(imported) == {"input_quantizer": 127, "2": 255}
    assert "became a population with T = 127" in imported.notes[0]
    normalization = Normalization(mean=(0.5,), std=(0.25,))
    imported = import_brevitas(network, SHAPE, normalization=normalization)
    assert timesteps(imported) == {"input_quantizer.counts": 255, "2": 255}


def test_quantized_logits_are_left_out_with_a_note():
    network = small(
        conv(), qnn.QuantReLU(), nn.Flatten(), nn.Linear(256, 3),
        qnn.QuantIdentity(return_quant_tensor=True),
    )  # fmt: skip
    imported = import_brevitas(network, SHAPE)
    assert imported.notes[0].startswith("4: the quantizer of the logits was left out")


def after_conv(*layers):
    return lambda: small(conv(), *(layer() for layer in layers), nn.Flatten(), nn.Linear(256, 3))


REFUSED = {
    r"^1: this quantizer is signed: .* There are two ways out: put a ReLU in front": (
        after_conv(qnn.QuantIdentity, lambda: conv(channels=4), qnn.QuantReLU)
    ),
    r"^1: FloatQuantTensor has no evenly spaced levels .* two ways out": (
        after_conv(lambda: qnn.QuantReLU(Fp8e4m3ActPerTensorFloat))
    ),
    r"^1: Sigmoid has no integrate-and-fire form": after_conv(qnn.QuantSigmoid),
    r"^1: FloorSte does not round to the nearest level": (
        after_conv(lambda: qnn.QuantReLU(float_to_int_impl_type=FloatToIntImplType.FLOOR))
    ),
    r"^1: TruncAvgPool2d of Brevitas is not read": (
        lambda: small(
            qnn.QuantReLU(return_quant_tensor=True), qnn.TruncAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )
    ),
    r"^1: this activation, '(clamp|relu)', is read by 'linear' .* without a quantizer between them": (
        lambda: small(conv(), qnn.QuantReLU(act_quant=None), nn.Flatten(), qnn.QuantLinear(256, 3))
    ),
    "has no quantizer of Brevitas": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_spike_count_is_refused_by_name(message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        import_brevitas(REFUSED[message](), SHAPE)


def test_a_forward_that_reads_quantized_tensors_is_named():
    torch.manual_seed(0)
    with pytest.raises(
        UnsupportedNetworkError, match=r"test_brevitas_modules\.py:\d+: .* leave out what"
    ):
        read_brevitas(calibrated(Residual(4)), SHAPE)
    assert not quantizers(Residual(4))
