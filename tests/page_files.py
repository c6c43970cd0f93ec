"""What pages take for granted: the reader's own networks and data, and the build of a first result."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from onnx_networks import Builder
from torch import nn


def my_network() -> nn.Module:
    """A reader's classifier of 1x8x8 images, with max pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 10),
    )  # fmt: skip


def write_own_data(folder: Path) -> None:
    """``own.npz``: digits under a reader's name."""
    from toolchain.datasets import load_dataset

    data = load_dataset("digits")
    np.savez(
        folder / "own.npz",
        train_images=data.train_pixels.astype(np.uint8), train_labels=data.train_labels,
        test_images=data.test_pixels.astype(np.uint8), test_labels=data.test_labels,
    )  # fmt: skip


def write_relu_onnx(folder: Path) -> None:
    """``relu.onnx``: a network without quantizers."""
    torch.manual_seed(0)
    network = my_network().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the one that needs no further package
        torch.onnx.export(
            network, (torch.zeros(1, 1, 8, 8),), folder / "relu.onnx", dynamo=False,
            input_names=["x"], dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip


def write_quantized_onnx(folder: Path) -> None:
    """``network.onnx`` and ``quantized.onnx``: one convolution with quantized activations."""
    builder = Builder(("batch", 1, 8, 8))
    builder.conv(1, 4)
    builder.node("Relu")
    builder.qcdq(1 / 16, 7)
    builder.head(256, classes=10)
    shutil.copy(builder.save(folder), folder / "quantized.onnx")


def write_nir(folder: Path) -> None:
    """``network.nir``: a spiking network as sinabs writes it."""
    import nir

    random = np.random.default_rng(0)

    def neurons(*shape: int) -> nir.IF:
        return nir.IF(r=np.ones(shape, np.float32), v_threshold=np.ones(shape, np.float32))

    nodes = [
        nir.Conv2d(
            input_shape=(8, 8), stride=1, padding=1, dilation=1, groups=1,
            weight=random.normal(size=(4, 1, 3, 3)).astype(np.float32), bias=np.zeros(4, np.float32),
        ),
        neurons(4, 8, 8),
        nir.Flatten(input_type={"input": np.array([4, 8, 8])}, start_dim=0, end_dim=-1),
        nir.Linear(weight=random.normal(size=(10, 256)).astype(np.float32) / 8),
        neurons(10),
    ]  # fmt: skip
    nir.write(folder / "network.nir", nir.NIRGraph.from_list(*nodes))


def copy_first_result(folder: Path, build: Path) -> None:
    """``model.pt`` and ``build/`` of the digits network, and ``build-next/``, a second build."""
    shutil.copy(build.parent / "model.pt", folder)
    for name in ("build", "build-next"):
        shutil.copytree(build, folder / name)
