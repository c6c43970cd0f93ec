"""How to train: one value that a run is reproducible from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from toolchain.method.quantizers import ActivationQuantizer


@dataclass(frozen=True, kw_only=True)
class TimestepBudget:
    """A limit on the timesteps that training meets, wherever they cost least accuracy.

    ``mean`` limits the mean of ``cost_l T_l`` over the spiking populations. ``interval`` limits the
    largest: the initiation interval of a pipeline whose populations work in parallel, each
    ``cost_l T_l`` long, and so the share of time the others stall for it.

    Attributes:
        price: cross entropy that one unit of excess costs at first. It rises by as much an epoch while
            the limit is exceeded (dual ascent), so that the limit is met.
        costs: relative cost of one timestep by population; 1 for those not named.
    """

    kind: Literal["mean", "interval"] = "mean"
    limit: float = 2.5
    price: float = 0.01
    costs: Mapping[str, float] = field(default_factory=dict)

    def usage(self, found: Mapping[str, ActivationQuantizer]) -> Tensor:
        """What the limit applies to, differentiable in each T_l."""
        used = torch.stack([q.timesteps * self.costs.get(n, 1.0) for n, q in found.items()])
        return used.mean() if self.kind == "mean" else used.amax()


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """SGD with momentum and a cosine schedule; the defaults suit the built-in data sets.

    Attributes:
        timestep_learning_rate: initial learning rate of what sets T; larger, because cross entropy is
            flat in it.
        timestep_weight_decay: decay of what sets T. With it and without a budget, training is the
            paper's own, where nothing but decay can lower T.
        distillation: share of the loss that is the divergence from a teacher's logits.
        temperature: of the distillation (Hinton et al., 2015).
        augment: shift by up to 1/8 of the image and mirror at random.
        devices, nodes: how many accelerators (or processes, on CPUs) on how many machines.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    timestep_learning_rate: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    timestep_weight_decay: float = 0.0
    budget: TimestepBudget | None = field(default_factory=TimestepBudget)
    distillation: float = 0.0
    temperature: float = 4.0
    augment: bool = False
    seed: int = 0
    devices: int = 1
    nodes: int = 1
