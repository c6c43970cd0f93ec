"""Networks of Brevitas, trained a little, and their exports."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import brevitas.nn as qnn
import torch
from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """Two blocks with a residual join each; the branches have scales of their own, and a max pool follows."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        options = {"weight_bit_width": bits}
        self.conv1 = qnn.QuantConv2d(1, 6, 3, padding=1, bias=False, **options)
        self.norm1 = nn.BatchNorm2d(6)
        self.act1 = qnn.QuantReLU(bit_width=bits)
        self.conv2 = qnn.QuantConv2d(6, 6, 3, padding=1, bias=True, **options)
        self.act2 = qnn.QuantReLU(bit_width=bits)
        self.conv3 = qnn.QuantConv2d(6, 6, 3, padding=1, bias=False, **options)
        self.norm3 = nn.BatchNorm2d(6)
        self.act3 = qnn.QuantReLU(bit_width=bits)
        self.pool = nn.MaxPool2d(2)
        self.conv4 = qnn.QuantConv2d(6, 6, 1, bias=False, **options)
        self.act4 = qnn.QuantReLU(bit_width=bits)
        self.classify = qnn.QuantLinear(96, 5, bias=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(x)))
        x = self.act3(self.norm3(self.conv3(self.act2(self.conv2(x)))) + x)
        x = self.pool(x)
        x = self.act4(self.conv4(x) + x)
        return self.classify(x.flatten(1))


def residual_network(bits: int, seed: int = 0) -> nn.Module:
    """A residual network whose scales and statistics come from a few steps of training."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Brevitas names tensors, which PyTorch announces to change
        network = ResidualNetwork(bits)
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(4):
            images = torch.rand(32, 1, 8, 8)
            loss = nn.functional.cross_entropy(network(images), torch.randint(0, 5, (32,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def export(network: nn.Module, path: Path, form: str, *, dynamo: bool) -> Path:
    """Write a network with Brevitas' own exporters.

    They import ``onnxoptimizer``, which removes unused initializers. Where it is not installed, they stay.
    """
    if "onnxoptimizer" not in sys.modules:
        try:
            import onnxoptimizer  # noqa: F401
        except ImportError:
            stand_in = types.ModuleType("onnxoptimizer")
            stand_in.optimize = lambda model, passes: model  # type: ignore[attr-defined]
            sys.modules["onnxoptimizer"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.export import export_onnx_qcdq, export_qonnx

        write = {"qcdq": export_onnx_qcdq, "qonnx": export_qonnx}[form]
        options = {"dynamo": True} if dynamo else {"dynamo": False}
        if dynamo and form == "qcdq":
            options["opset_version"] = 18
        write(network, torch.zeros(1, 1, 8, 8), export_path=str(path), **options)
    return path


def quantized_values(network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What Brevitas itself computes: the result of each activation quantizer in order, and the logits."""
    found: dict[str, Tensor] = {}

    def hook(name: str):
        def keep(module, given, output):
            found[name] = getattr(output, "value", output).detach()

        return keep

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in network.named_modules()
        if isinstance(module, qnn.QuantReLU)
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = network(images)
    for handle in handles:
        handle.remove()
    return found, logits
