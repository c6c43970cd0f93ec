"""Calibration of initial membrane potentials and thresholds (section 4.4, Eq. 14 to 17).

Weights are frozen. v(0) and v_th of every spiking population are trained so that the spiking network's
logits approach the ANN's (Eq. 15), without labels. Autograd computes the gradients through all steps, with a
triangular surrogate for the derivative of the Heaviside function. The printed Eq. 16 and 17 are not used:
they leave out paths through earlier spikes and have a wrong sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import assert_never

from toolchain.errors import DataError
from toolchain.method.float_snn import (
    NeuronState,
    heaviside,
    input_current,
    integrate_and_fire,
    propagate,
)
from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.networks.layer_graph.maximum import (
    compared_populations,
    is_maximum,
    keep_their_channels,
)
from toolchain.networks.linear_maps import Shape

Granularity: TypeAlias = Literal["layer", "channel"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)

HELD_OUT_SHARE = 0.25
"""Share of the calibration samples that choose the epoch and are never trained on."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """How to calibrate.

    Attributes:
        granularity: one v(0) and v_th per layer or per channel.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    granularity: Granularity = "channel"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CalibrationEpoch:
    """Mean squared error of the logits after an epoch; epoch 0 is before calibration."""

    epoch: int
    loss: float
    held_out_loss: float


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The graph of the best epoch, and the loss on held-out samples before and after calibration."""

    graph: LayerGraph
    epoch: int
    loss_before: float
    loss_after: float


def calibrate(
    graph: LayerGraph,
    pixels: np.ndarray,
    ann_logits: np.ndarray,
    plan: CalibrationPlan,
    on_epoch: Callable[[CalibrationEpoch], None] = lambda report: None,
) -> Calibrated:
    """Train v(0) and v_th; return the network of the epoch with the least held-out loss.

    Thresholds stay positive and v(0) stays within ``[0, v_th)``, where the closed form of the spike count
    holds. If no epoch is better, the network is returned as it was.

    Args:
        graph: a spiking network, with the alignments it will run with.
        pixels: unlabelled samples, ``(B, C, H, W)``, other than the test samples.
        ann_logits: logits of the ANN for these samples, ``(B, classes)``.

    Raises:
        DataError: fewer than 8 samples.
    """
    if len(pixels) < 8:
        raise DataError(
            f"calibration needs at least 8 samples, not {len(pixels)}; use more of the data set"
        )
    held_out = max(1, round(HELD_OUT_SHARE * len(pixels)))
    images = input_current(graph, pixels, torch.float32)
    targets = torch.from_numpy(ann_logits).float()
    neurons = _Neurons(graph, plan.granularity)
    differentiable = partial(integrate_and_fire, spike=surrogate_spike)
    optimizer = torch.optim.Adam(neurons.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=plan.epochs)
    before = best = _loss(graph, images[:held_out], targets[:held_out], neurons, plan)
    best_epoch, best_state = 0, _snapshot(neurons)
    on_epoch(CalibrationEpoch(epoch=0, loss=float("nan"), held_out_loss=before))
    generator = torch.Generator().manual_seed(plan.seed)
    for epoch in range(1, plan.epochs + 1):
        total = 0.0
        order = held_out + torch.randperm(len(images) - held_out, generator=generator)
        for batch in order.split(plan.batch_size):
            optimizer.zero_grad()
            trace = propagate(graph, images[batch], neurons.states(), differentiable)
            loss = F.mse_loss(trace.step_logits.mean(dim=1), targets[batch])
            loss.backward()
            optimizer.step()
            neurons.clamp_parameters()
            total += float(loss.detach()) * len(batch)
        schedule.step()
        after = _loss(graph, images[:held_out], targets[:held_out], neurons, plan)
        if after < best:
            best, best_epoch, best_state = after, epoch, _snapshot(neurons)
        on_epoch(CalibrationEpoch(epoch=epoch, loss=total / len(order), held_out_loss=after))
    if best_epoch == 0:
        return Calibrated(graph, 0, before, before)
    neurons.load_state_dict(best_state)
    return Calibrated(neurons.written_into(graph), best_epoch, before, best)


class _SurrogateSpike(torch.autograd.Function):
    """Heaviside function, whose gradient is a triangle of width v_th and area 1 around the threshold."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(potential, threshold)
        return heaviside(potential, threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        potential, threshold = ctx.saved_tensors
        reach = threshold / 2
        slope = (1 - (potential - threshold).abs() / reach).clamp(min=0) / reach
        gradient = gradients[0] * slope
        return gradient, -gradient.sum_to_size(threshold.shape)


def surrogate_spike(potential: Tensor, threshold: Tensor) -> Tensor:
    """Spike at or above the threshold, with surrogate gradients for both arguments (Wu et al., 2018b)."""
    return _SurrogateSpike.apply(potential, threshold)


class _Neurons(nn.Module):
    """Parameters of all populations: v_th as a factor on its trained value, v(0) as a share of v_th.

    Populations whose counts are compared share one factor, per channel if channels are compared with their
    own index; those that compute the maximum keep their v(0), which changes no count.
    """

    def __init__(self, graph: LayerGraph, granularity: Granularity) -> None:
        super().__init__()
        self.names = [p.name for p in graph.spiking]
        self.thresholds, shares = [], []
        factors: list[nn.Parameter] = []
        self.factor_of: dict[str, int] = {}
        first_of: dict[str, str] = {}
        across_channels: set[str] = set()
        for group in compared_populations(graph):
            first_of.update({p.name: group[0].name for p in group})
            if not keep_their_channels(graph, group):
                across_channels.add(group[0].name)
        for population in graph.spiking:
            one_each = _parameter_shape(population, granularity)
            shape = np.broadcast_shapes(population.threshold.shape, one_each)
            threshold = torch.from_numpy(np.broadcast_to(population.threshold, shape).copy())
            share = population.initial_potential / population.threshold
            self.thresholds.append(threshold.float())
            shape = torch.Size(np.broadcast_shapes(share.shape, one_each))
            start = torch.from_numpy(share).float().expand(shape).clone()
            shares.append(nn.Parameter(start, requires_grad=not is_maximum(population)))
            first = first_of.get(population.name, population.name)
            if first == population.name:
                self.factor_of[first] = len(factors)
                size = (1, 1, 1) if first in across_channels else threshold.shape
                factors.append(nn.Parameter(torch.ones(size)))
            self.factor_of[population.name] = self.factor_of[first]
        self.shares, self.factors = nn.ParameterList(shares), nn.ParameterList(factors)

    def states(self) -> dict[str, NeuronState]:
        states = {}
        for name, trained, share in zip(self.names, self.thresholds, self.shares, strict=True):
            threshold = trained * self.factors[self.factor_of[name]]
            states[name] = NeuronState(threshold, threshold * share)
        return states

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        for factor in self.factors:
            factor.clamp_(min=0.1)
        for share in self.shares:
            share.clamp_(0, 1 - 1e-4)

    @torch.no_grad()
    def written_into(self, graph: LayerGraph) -> LayerGraph:
        states = self.states()
        return graph.with_spiking(
            lambda p: replace(
                p,
                threshold=states[p.name].threshold.double().numpy(),
                initial_potential=states[p.name].initial_potential.double().numpy(),
            )
        )


def _parameter_shape(population: SpikingPopulation, granularity: Granularity) -> Shape:
    match granularity:
        case "layer":
            return 1, 1, 1
        case "channel":
            return population.shape[0], 1, 1
        case _:
            assert_never(granularity)


def _snapshot(neurons: _Neurons) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in neurons.state_dict().items()}


@torch.no_grad()
def _loss(
    graph: LayerGraph, images: Tensor, targets: Tensor, neurons: _Neurons, plan: CalibrationPlan
) -> float:
    total = 0.0
    for part, target in zip(
        images.split(plan.batch_size), targets.split(plan.batch_size), strict=True
    ):
        logits = propagate(graph, part, neurons.states()).step_logits.mean(dim=1)
        total += float(F.mse_loss(logits, target)) * len(part)
    return total / len(images)
