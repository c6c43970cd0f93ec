"""Commands that a signal is to end, each with tiny inputs, and what they write."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from installed_command import run_command
from torch import nn

from deploy.backends.lava.environment import find_lava_python
from toolchain.errors import LavaError

DATA, NETWORK = "data.npz", "network.pt2"
TRAIN = ("train", "--data", DATA, "--width", "0.25")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that is ended.

    Attributes:
        earlier: command that writes an earlier output, which the command replaces.
        outputs: files and folders that it writes.
        weight: how often it is chosen, compared with others.
        resumes: whether it takes ``--resume``.
    """

    name: str
    arguments: Sequence[object]
    earlier: Sequence[object] | None = None
    outputs: Sequence[str] = ()
    weight: int = 4
    resumes: bool = False


def make_inputs(folder: Path) -> None:
    """A data set, a model, two builds and a float network."""
    random = np.random.default_rng(0)
    centers = random.integers(0, 256, (4, 1, 8, 8))
    arrays = {}
    for part, count in (("train", 128), ("test", 1000)):
        labels = np.arange(count) % 4
        noise = random.integers(-60, 61, (count, 1, 8, 8))
        arrays[f"{part}_images"] = np.clip(centers[labels] + noise, 0, 255).astype(np.uint8)
        arrays[f"{part}_labels"] = labels
    np.savez(folder / DATA, **arrays)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)
    )
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)), folder / NETWORK)
    for command in (
        (*TRAIN, "--epochs", 2),
        ("compile", "model.pt", "--timesteps", 3),  # which QONNX takes
        ("compile", "model.pt", "--timesteps", 3, "--slots", 3, "--out", "other"),
    ):
        process = run_command(*command, cwd=folder)
        assert process.returncode == 0, process.stderr


def commands() -> list[Command]:
    """Those that can run on this machine."""
    found = [
        Command(
            name="train",
            arguments=(*TRAIN, "--epochs", 8, "--float-epochs", 4, "--out", "new.pt"),
            earlier=(*TRAIN, "--epochs", 1, "--seed", 1, "--out", "new.pt"),
            outputs=["new.pt"],
            weight=14,
            resumes=True,
        ),
        Command(
            name="convert",
            arguments=("convert", NETWORK, "--data", DATA, "--mean-timesteps", 3, "--out", "converted.pt"),
            earlier=(*TRAIN, "--epochs", 1, "--out", "converted.pt"),
            outputs=["converted.pt"],
            weight=8,
        ),
        Command(
            name="calibrate",
            arguments=("calibrate", "model.pt", "--samples", 64),
            earlier=(*TRAIN, "--epochs", 1, "--out", "calibrated.pt"),
            outputs=["calibrated.pt"],
            weight=8,
        ),
        Command(
            name="compile",
            arguments=("compile", "model.pt", "--out", "again", "--json"),
            earlier=("compile", "model.pt", "--slots", 3, "--out", "again"),
            outputs=["again"],
            weight=14,
        ),
        Command(
            name="compile --optimize",
            arguments=("compile", "model.pt", "--out", "again", "--optimize", "stalls", "--json"),
            earlier=("compile", "model.pt", "--slots", 3, "--out", "again"),
            outputs=["again"],
            weight=8,
        ),
        Command(
            name="explore",
            arguments=("explore", "model.pt", "--workers", 1, "--vary", "slots", "--vary", "weight-bits"),
            earlier=("explore", "model.pt", "--workers", 1, "--vary", "slots=2"),
            outputs=["explore"],
            weight=12,
            resumes=True,
        ),
        Command(
            name="explore --workers",
            arguments=("explore", "model.pt", "--workers", 2, "--vary", "slots"),
            outputs=["explore"],
            weight=6,
            resumes=True,
        ),
        *(
            Command(
                name=f"simulate --engine {engine}",
                arguments=("simulate", "build", "--engine", engine, "--json"),
                weight=10,
                resumes=True,
            )
            for engine in ("exact", "stepped", "frame-by-frame")
        ),
        Command(
            name="simulate --workers",
            arguments=("simulate", "build", "--workers", 2, "--json"),
            weight=6,
            resumes=True,
        ),
        Command(
            name="trace",
            arguments=("trace", "build", "--population", "stem", "--plot", "trace.png"),
            earlier=("trace", "build", "--population", "join", "--plot", "trace.png"),
            outputs=["trace.png"],
            weight=8,
        ),
        Command(name="verify", arguments=("verify", "build", "--lava-python", "none"), weight=8),
        Command(
            name="report --diff",
            arguments=("report", "--diff", "build", "other", "--out", "diff.html"),
            earlier=("report", "--diff", "other", "build", "--out", "diff.html"),
            outputs=["diff.html"],
            weight=8,
        ),
        Command(
            name="compare",
            arguments=("compare", "build", "--sweep", "--plot", "compare.svg"),
            earlier=("compare", "build", "--plot", "compare.svg"),
            outputs=["compare.svg"],
            weight=8,
        ),
        Command(
            name="export c",
            arguments=("export", "build", "--format", "c"),
            earlier=("export", "other", "--format", "c"),
            outputs=["c_network"],
            weight=6,
        ),
        Command(
            name="reproduce",
            arguments=(
                "reproduce", "table4", "--data", DATA, "--network", "resnet-mini:0.25", "--epochs", 1,
                "--further-epochs", 1, "--samples", 100,
            ),
            outputs=["results"],
            weight=8,
        ),
        Command(name="demo", arguments=("demo", "--lava-python", "none"), outputs=["demo"], weight=3),
    ]  # fmt: skip
    for form, module, output in (
        ("onnx", "onnxruntime", "network.onnx"),
        ("qonnx", "qonnx", "network_qonnx.onnx"),
        ("nir", "nir", "new.nir"),
        ("sanafe", "sanafe", "sanafe"),
    ):
        if importlib.util.find_spec(module):
            export = ("--format", form, "--out", output)
            found.append(
                Command(
                    name=f"export {form}",
                    arguments=("export", "build", *export),
                    earlier=("export", "other", *export),
                    outputs=[output],
                )
            )
    if importlib.util.find_spec("sanafe"):
        found.append(Command(name="cross-check", arguments=("cross-check", "build"), weight=6))
    if shutil.which("iverilog") or shutil.which("verilator"):
        rtl = ("--population", "join", "--engine", "rtl", "--json")
        found.append(Command(name="trace --engine rtl", arguments=("trace", "build", *rtl)))
    try:
        find_lava_python()
    except LavaError:
        return found
    lava = ("simulate", "build", "--engine", "lava", "--samples", 8, "--json")
    return [*found, Command(name="simulate --engine lava", arguments=lava, weight=10)]
