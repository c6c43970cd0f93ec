"""docs/export.md: spike counts of exported ONNX files in onnxruntime, compared with the exact engine."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.figures.commands import ROOT, Commands
from benchmarks.figures.pages import table

CASES = {
    "residual network on digits, T = 2 to 3": "model.pt",
    "LeNet on mnist5k with exact max pooling": "lenet.pt",
    "ResNet-20, a quarter wide, on mnist5k": "narrow-resnet-20.pt",
    "U-Net of [own-network.md](own-network.md), maps of 2 classes": "u-net.pt",
}


def measure(commands: Commands) -> dict[str, Any]:
    rows = []
    for name, model in CASES.items():
        if model == "u-net.pt":
            _train_u_net(commands)
            accuracy = " --accuracy metrics.py:pixel_accuracy"
        else:
            commands.model(model)
            accuracy = ""
        commands.run(f"compile {model}{accuracy} --out exported-build")
        found = commands.run("export exported-build/ --format onnx --out exported.onnx")
        rows.append(
            {
                "name": name,
                "runtime": found["runtime"],
                "samples": found["samples"],
                "counts": found["equal_counts"],
                "logits": found["equal_logits"],
                "float64": found["float64_populations"],
            }
        )
    return {"networks": rows}


def _train_u_net(commands: Commands) -> None:
    """The network, data, training and accuracy of docs/own-network.md, as printed."""
    page = (ROOT / "docs" / "own-network.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    data, training, metrics = (
        next(example for example in examples if part in example)
        for part in ("class UNet", "UNet()", "def pixel_accuracy")
    )
    (commands.folder / "metrics.py").write_text(metrics)
    said = "python: the examples of docs/own-network.md"
    if not (commands.folder / "u-net.pt").is_file():
        commands.script(data + training.replace("model.pt", "u-net.pt"), said)


def show(found: dict[str, Any]) -> dict[str, str]:
    rows = [
        (
            row["name"],
            row["samples"],
            f"{row['counts']:,} of {row['counts']:,}",
            f"{row['logits']:,} of {row['logits']:,}",
        )
        for row in found["networks"]
    ]
    return {"export": table(("network", "samples", "equal counts", "equal logits"), rows)}
