"""Quantization-aware training with learned timesteps and a timestep budget (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolchain.datasets import Dataset
from toolchain.model_zoo import build_model
from toolchain.quantizers import TimestepQuantizer


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How to train; the defaults suit the built-in data sets.

    Attributes:
        timestep_learning_rate: initial learning rate of t; larger, because cross entropy is flat in t.
        mean_timesteps: budget for the mean of T_l over the spiking populations. The loss grows in
            proportion to the excess, so layers that need their timesteps least give them up first.
        timestep_price: cross entropy that one timestep of excess mean costs at first; the price rises
            by as much an epoch while the budget is exceeded (dual ascent), so the budget is met.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    timestep_learning_rate: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    mean_timesteps: float = 2.5
    timestep_price: float = 0.01
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """State after one epoch: training loss, and T_l by quantizer name."""

    epoch: int
    loss: float
    timesteps: dict[str, int]


def quantizers(module: nn.Module) -> dict[str, TimestepQuantizer]:
    """All quantizers of a network by name, in the order they were defined."""
    return {n: m for n, m in module.named_modules() if isinstance(m, TimestepQuantizer)}


def train(
    architecture: str,
    dataset: Dataset,
    plan: TrainingPlan,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> nn.Module:
    """Train a built-in network with SGD, momentum and a cosine schedule, reproducibly from its seed.

    t and alpha have no weight decay: the budget alone decides about timesteps.

    Raises:
        UnsupportedNetworkError: no such architecture.
    """
    torch.manual_seed(plan.seed)
    module = build_model(architecture, dataset.input_shape, dataset.num_classes).train()
    found = quantizers(module)
    learned = {id(p) for q in found.values() for p in q.parameters()}
    weights = [p for p in module.parameters() if id(p) not in learned]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": plan.weight_decay},
        {"params": [q.alpha for q in found.values()]},
        {"params": [q.t for q in found.values()], "lr": plan.timestep_learning_rate},
    ]
    optimizer = torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)
    pixels = _as_input(dataset.train_pixels, dataset.max_value)
    labels = torch.from_numpy(dataset.train_labels)
    steps_per_epoch = -(-len(pixels) // plan.batch_size)
    steps = plan.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    price = plan.timestep_price
    for epoch in range(plan.epochs):
        total = 0.0
        for batch in torch.randperm(len(pixels)).split(plan.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(module(pixels[batch]), labels[batch])
            excess = _excess_timesteps(found.values(), plan.mean_timesteps)
            (loss + price * excess).backward()
            price += plan.timestep_price * float(excess.detach()) / steps_per_epoch
            optimizer.step()
            schedule.step()
            for quantizer in found.values():
                quantizer.clamp_parameters()
            total += float(loss.detach()) * len(batch)
        on_epoch(
            EpochReport(
                epoch=epoch + 1,
                loss=total / len(pixels),
                timesteps={n: int(q.timesteps.detach()) for n, q in found.items()},
            )
        )
    return module.eval()


def _excess_timesteps(found: Iterable[TimestepQuantizer], budget: float) -> Tensor:
    """Mean T_l above the budget, or 0."""
    return torch.relu(torch.stack([q.timesteps for q in found]).mean() - budget)


@torch.inference_mode()
def quantized_ann_logits(module: nn.Module, pixels: np.ndarray, max_value: int) -> np.ndarray:
    """Logits of the quantized ANN in float64, shape ``(B, classes)``."""
    double = module.eval().double()
    logits = double(_as_input(pixels, max_value).double()).numpy()
    module.float()
    return logits


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest logit is at the label."""
    return float((logits.argmax(axis=1) == labels).mean())


def _as_input(pixels: np.ndarray, max_value: int) -> Tensor:
    return torch.from_numpy(pixels).to(torch.float64).div(max_value).float()
