"""ONNX files as exporters write them: Brevitas, torch.onnx and ONNX Runtime's quantize_static."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from itertools import product

import brevitas_networks
import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import RuntimeValues
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.onnx_format import import_onnx, read_onnx
from toolchain.method.quantizers import quantizers

SHAPE = (1, 8, 8)


FAST = [(3, "qcdq", False), (2, "qonnx", False)]
"""Bits, form and exporter (TorchDynamo or the older one) that are cheap enough for each run."""


@pytest.mark.parametrize(
    ("bits", "form", "dynamo"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
        for case in product((2, 3, 4, 8), ("qcdq", "qonnx"), (False, True))
    ],
)
def test_brevitas_networks_have_brevitas_own_counts(tmp_path, bits, form, dynamo):
    """On 1,000 samples: every count of every quantizer, but for ties, and the logits."""
    network = brevitas_networks.residual_network(bits)
    path = brevitas_networks.export(network, tmp_path / "network.onnx", form, dynamo=dynamo)
    imported = import_onnx(path)
    levels = {p.timesteps for p in imported.graph.spiking}
    assert levels == {2**bits - 1}
    foreign = read_onnx(path)
    inputs = torch.rand(1000, *SHAPE, generator=torch.Generator().manual_seed(1))
    quantized, logits = brevitas_networks.quantized_values(network, inputs)
    names = list(quantizers(foreign.module))
    assert len(names) == len(quantized) == 4
    judge = RuntimeValues(
        logits=logits.numpy(),
        quantized=dict(zip(names, (v.numpy() for v in quantized.values()), strict=True)),
    )
    agreement = compare_with_runtime(replace(foreign, execute=lambda *given: judge), inputs)
    assert agreement.num_samples == 1000
    assert agreement.num_counts == 1000 * (3 * 6 * 64 + 6 * 16)
    assert names[0].startswith("act1/" if dynamo else "/act1/")
    assert agreement.num_ties < agreement.num_counts / 1000


class Cnn(nn.Module):
    """Convolutions with a residual join, a max pool and a concatenation."""

    def __init__(self, *, signed_branch: bool = False) -> None:
        super().__init__()
        self.signed_branch = signed_branch
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.third = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.pool, self.classify = nn.MaxPool2d(2), nn.Linear(128, 5)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm(self.first(x))))
        branch = self.second(x) if self.signed_branch else torch.relu(self.second(x))
        joined = torch.relu(branch + x)
        return self.classify(torch.cat([joined, torch.relu(self.third(x))], 1).flatten(1))


def exported_cnn(path, *, dynamo, signed_branch=False):
    torch.manual_seed(0)
    network = Cnn(signed_branch=signed_branch).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    options = (
        {"dynamic_shapes": ({0: "batch"},), "verbose": False}
        if dynamo
        else {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.rand(2, *SHAPE),), path, dynamo=dynamo, **options)
    return network


@pytest.mark.parametrize("dynamo", [True, False])
def test_a_relu_network_of_torch_onnx_has_the_networks_logits(tmp_path, dynamo):
    path = tmp_path / "network.onnx"
    network = exported_cnn(path, dynamo=dynamo)
    foreign = read_onnx(path)
    inputs = torch.rand(20, *SHAPE)
    compare_with_runtime(foreign, inputs)
    with torch.no_grad():
        found, expected = foreign.module(inputs.double()), network.double()(inputs.double())
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert not foreign.is_quantized


class Samples(CalibrationDataReader):
    def __init__(self, name):
        random = np.random.default_rng(0)
        images = [random.integers(0, 256, (8, *SHAPE)) / np.float32(255) for _ in range(3)]
        images[0][0, 0, 0, :2] = 0, 1
        self.samples = iter([{name: image.astype(np.float32)} for image in images])

    def get_next(self):
        return next(self.samples, None)


def quantized_cnn(folder, activation, *, per_channel=False, symmetric=False, **options):
    exported_cnn(folder / "float.onnx", dynamo=False, **options)
    path = folder / "network.onnx"
    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        folder / "float.onnx", path, Samples("x"), quant_format=QuantFormat.QDQ, activation_type=activation,
        weight_type=QuantType.QInt8, per_channel=per_channel,
        extra_options={"ActivationSymmetric": symmetric},
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("activation", "per_channel", "symmetric", "levels"),
    [(QuantType.QUInt8, True, False, 255), (QuantType.QInt8, False, False, 255),
     (QuantType.QInt8, True, True, 127)],
)  # fmt: skip
def test_quantize_static_of_onnxruntime(tmp_path, activation, per_channel, symmetric, levels):
    """Fused ReLUs, int8 weights, int32 biases, and quantizers around pools, joins, input and output."""
    path = quantized_cnn(tmp_path, activation, per_channel=per_channel, symmetric=symmetric)
    imported = import_onnx(path)
    assert {p.timesteps for p in imported.graph.spiking} == {levels}
    assert any(note.endswith("quantizes the logits; it was left out") for note in imported.notes)


def test_quantize_static_of_a_branch_without_a_relu_is_refused(tmp_path):
    path = quantized_cnn(tmp_path, QuantType.QUInt8, signed_branch=True)
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"/second/Conv_output_0_QuantizeLinear: it quantizes to values from -",
    ):
        import_onnx(path)
