"""The float networks of the benchmark: plain ReLU networks, trained on Fashion-MNIST from a fixed seed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toolchain.datasets import Dataset
from toolchain.model_zoo import build_model
from toolchain.training import TrainingPlan, train

SEED = 0


@dataclass(frozen=True, kw_only=True)
class FloatNetwork:
    """How to build and train one network.

    Attributes:
        epochs: of SGD with momentum and a cosine schedule.
    """

    name: str
    build: Callable[[], nn.Module]
    epochs: int
    learning_rate: float


def cnn() -> nn.Module:
    """Three convolutions with batch norm and max pooling, and two dense layers: 4 activations."""
    layers: dict[str, nn.Module] = {}
    channels = 1
    for block, features in enumerate((16, 32, 64), start=1):
        layers[f"conv{block}"] = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        layers[f"norm{block}"] = nn.BatchNorm2d(features)
        layers[f"relu{block}"] = nn.ReLU()
        layers[f"pool{block}"] = nn.MaxPool2d(2)
        channels = features
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(64 * 3 * 3, 128)
    layers["relu4"] = nn.ReLU()
    layers["head"] = nn.Linear(128, 10)
    return nn.Sequential(OrderedDict(layers))


def resnet_20() -> nn.Module:
    """ResNet-20 of the model zoo with half its channels: 19 activations, 9 residual joins."""
    return build_model("resnet-20", (1, 28, 28), 10, width=0.5)


NETWORKS = {
    "cnn": FloatNetwork(name="CNN", build=cnn, epochs=6, learning_rate=0.05),
    "resnet-20": FloatNetwork(name="ResNet-20", build=resnet_20, epochs=6, learning_rate=0.1),
}


def trained(key: str, dataset: Dataset, folder: Path, say: Callable[[str], None]) -> nn.Module:
    """A trained network, in evaluation mode; from ``folder`` if it was trained there before."""
    recipe = NETWORKS[key]
    torch.manual_seed(SEED)
    module = recipe.build()
    weights = folder / f"{key}.weights.pt"
    if weights.exists():
        module.load_state_dict(torch.load(weights, weights_only=True))
        return module.eval()
    plan = TrainingPlan(
        epochs=recipe.epochs,
        batch_size=128,
        learning_rate=recipe.learning_rate,
        budget=None,
        seed=SEED,
    )
    start = time.monotonic()
    train(
        module,
        dataset,
        plan,
        lambda e: say(f"{recipe.name}: epoch {e.epoch} of {plan.epochs}, loss {e.loss:.4f}, "
                      f"{time.monotonic() - start:.0f} s"),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), weights)
    return module
