"""Settings of a training run, from which it can be reproduced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import assert_never

from toolchain.method.quantizers import ActivationQuantizer


@dataclass(frozen=True, kw_only=True)
class TimestepBudget:
    """A limit on the timesteps, which training meets by shortening windows where that costs least accuracy.

    ``mean`` limits the mean of ``cost_l T_l`` over the spiking populations. ``interval`` limits the largest
    ``cost_l T_l``, which is the initiation interval of a pipeline whose populations work in parallel; the
    others stall for the rest of it.

    Attributes:
        price: initial cost of one unit of excess, in cross entropy. While the limit is exceeded, it rises by
            the same amount per epoch and unit (dual ascent), so that the limit is met.
        costs: relative cost of one timestep by population; 1 for populations not named.
    """

    kind: Literal["mean", "interval"] = "mean"
    limit: float = 2.5
    price: float = 0.01
    costs: Mapping[str, float] = field(default_factory=dict)

    def usage(self, found: Mapping[str, ActivationQuantizer]) -> Tensor:
        """The value that is limited, differentiable in each T_l."""
        used = torch.stack([q.timesteps * self.costs.get(n, 1.0) for n, q in found.items()])
        match self.kind:
            case "mean":
                return used.mean()
            case "interval":
                return used.amax()
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """SGD with momentum and a cosine schedule; the defaults suit the built-in data sets.

    Attributes:
        timestep_learning_rate: initial learning rate of the parameters that set T. It is larger, because
            the cross entropy depends little on them.
        timestep_weight_decay: weight decay of the parameters that set T. Training with it and without a
            budget is that of the paper, in which only decay can lower T.
        distillation: weight in the loss of the divergence from the logits of a teacher.
        temperature: temperature of the distillation (Hinton et al., 2015).
        augment: shift images by up to 1/8 of their size and mirror them, at random.
        devices: number of accelerators per machine, or of processes on CPUs.
        nodes: number of machines.
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
