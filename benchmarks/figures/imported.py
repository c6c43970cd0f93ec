"""docs/import.md: what ``convert`` prints for a network that ONNX Runtime quantized."""

from __future__ import annotations

from typing import Any

from benchmarks.figures.commands import Commands

QUANTIZE = """
import warnings
import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from toolchain.datasets import load_dataset

warnings.simplefilter("ignore")
torch.manual_seed(0)
digits = load_dataset("digits")
images = torch.tensor(digits.train_pixels / 16, dtype=torch.float32)
labels = torch.tensor(digits.train_labels)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.wide = torch.nn.Conv2d(16, 32, 3, padding=1)
        self.hidden, self.classes = torch.nn.Linear(512, 64), torch.nn.Linear(64, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.wide(torch.relu(self.conv(x)))), 2)
        return self.classes(torch.relu(self.hidden(x.flatten(1))))


network = Network()
optimizer = torch.optim.Adam(network.parameters(), 2e-3)
for _ in range(20):
    for batch in torch.randperm(len(labels)).split(64):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
torch.onnx.export(network.eval(), (images[:1],), "float.onnx", dynamo=True, external_data=False,
                  input_names=["input"], dynamic_shapes=({0: torch.export.Dim("batch")},))


class Images(CalibrationDataReader):
    def __init__(self):
        self.rest = iter(images[:256].numpy())

    def get_next(self):
        image = next(self.rest, None)
        return None if image is None else {"input": image[None]}


quantize_static("float.onnx", "network.onnx", Images(), quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
"""
CONVERT = "convert network.onnx --data digits --out imported.pt"


def measure(commands: Commands) -> dict[str, Any]:
    commands.script(QUANTIZE, "python: quantize_static of a network trained on digits")
    return {"printed": commands.text(CONVERT).splitlines()}


def show(found: dict[str, Any]) -> dict[str, str]:
    lines = [line.rstrip() for line in found["printed"] if not line.startswith("next:")]
    printed = "\n".join(lines).strip().replace("imported.pt", "model.pt")
    return {"import": f"```text\n{printed}\n```\n"}
