"""Approach the float network's logits and activations by gradient descent, without labels.

The spiking network runs in closed form, so that an epoch costs what an epoch of an ANN costs, whatever T is.
Rounding is passed straight through, with the gradients of learned step sizes (Esser et al., 2020). Either
v(0), v_th and biases are trained per channel and the weights stay, or everything is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.networks.linear_maps import with_weight
from toolchain.post_training.activation_groups import ActivationGroup
from toolchain.post_training.bias_correction import correctable, with_shifted_biases
from toolchain.post_training.closed_form import (
    Activate,
    GraphTensors,
    SharedWeight,
    logits_in_parts,
    quantized,
    run_pass,
)
from toolchain.post_training.logit_errors import LogitError


@dataclass(frozen=True, kw_only=True)
class DistillationPlan:
    """Adam with a cosine schedule.

    Attributes:
        learning_rate: of v_th and the biases in units of four steps of the quantizer, ``4 v_th / T``, and of
            v(0) as a share of v_th.
        weight_learning_rate: of the weights, as a share of each layer's root mean square; 0 keeps them.
        reconstruction: weight of the activations' error beside that of the logits.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_learning_rate: float = 0.0
    reconstruction: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Distilled:
    """The graph of the best epoch, and the logits' error on held-out images before and after."""

    graph: LayerGraph
    epoch: int
    error_before: float
    error_after: float


def distill(
    graph: LayerGraph,
    groups: Sequence[ActivationGroup],
    teacher: LayerGraph,
    float_activate: Activate,
    images_of: Callable[[np.ndarray], Tensor],
    num_images: int,
    held_out: Tensor,
    plan: DistillationPlan,
    error: LogitError,
    loss_of_logits: LogitError,
    samples_per_pass: int = 128,
    on_epoch: Callable[[int, float], None] = lambda epoch, error: None,
) -> Distilled:
    """Train the parameters of a spiking network towards the float network.

    Thresholds stay positive and v(0) within ``[0, v_th)``, where the closed form holds. The epoch with the
    least error on the held-out images is returned, or the network as it was if no epoch was better.

    Args:
        graph: the spiking network.
        teacher, float_activate: the float network, which has the same populations.
        images_of: images by index, real input values.
        held_out: images that choose the epoch and are never trained on.
        error: chooses the epoch.
        loss_of_logits: what is lowered, together with the error of the activations.
        samples_per_pass: held-out images that are computed at once.
        on_epoch: called with the number of each epoch and the error on the held-out images.
    """
    tensors = GraphTensors.of(teacher, held_out.dtype)
    expected = logits_in_parts(teacher, held_out, float_activate, samples_per_pass)
    student = _Student(graph, groups, plan, float(expected.std().clamp(min=1e-6)))
    parts = held_out.split(samples_per_pass)
    keep = [name for group in groups for name in group.activations]
    optimizer = torch.optim.Adam(student.parameter_groups())
    batches_per_epoch = -(-num_images // plan.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=plan.epochs * batches_per_epoch
    )
    generator = torch.Generator().manual_seed(plan.seed)
    before = best = float(error(student.logits(parts), expected).mean())
    best_epoch, best_state = 0, _snapshot(student)
    on_epoch(0, before)
    for epoch in range(1, plan.epochs + 1):
        order = torch.randperm(num_images, generator=generator)
        for batch in order.split(plan.batch_size):
            images = images_of(batch.numpy())
            with torch.no_grad():
                wanted = run_pass(teacher, tensors, images, float_activate, keep=keep)
            found = run_pass(graph, student.tensors(), images, student.activate(), keep=keep)
            loss = loss_of_logits(found.logits, wanted.logits).mean()
            if plan.reconstruction:
                layers = [_relative_error(found.values[name], wanted.values[name]) for name in keep]
                loss = loss + plan.reconstruction * torch.stack(layers).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            student.clamp_parameters()
        after = float(error(student.logits(parts), expected).mean())
        if after < best:
            best, best_epoch, best_state = after, epoch, _snapshot(student)
        on_epoch(epoch, after)
    if best_epoch == 0:
        return Distilled(graph, 0, before, before)
    student.load_state_dict(best_state)
    return Distilled(student.written(), best_epoch, before, best)


class _Student(nn.Module):
    """What is trained of a layer graph, each in a unit of its own."""

    def __init__(
        self,
        graph: LayerGraph,
        groups: Sequence[ActivationGroup],
        plan: DistillationPlan,
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.graph, self.groups, self.plan = graph, groups, plan
        self.fixed = GraphTensors.of(graph, torch.float32)
        self.group_of = {n: at for at, group in enumerate(groups) for n in group.populations}
        self.thresholds: list[Tensor] = []
        self.units: list[float] = []  # four steps of the quantizer, as a share of v_th
        self.factors, self.shares, self.shifts = (nn.ParameterList() for _ in range(3))
        for group in groups:
            first = graph[group.name]
            assert isinstance(first, SpikingPopulation)
            size = (first.shape[0], 1, 1) if group.per_channel else (1, 1, 1)
            threshold = torch.from_numpy(first.threshold.copy()).float().expand(size).clone()
            self.thresholds.append(threshold)
            self.units.append(4 / first.timesteps)
            self.factors.append(nn.Parameter(torch.zeros(size)))
        self.share_of: dict[str, int] = {}
        self.shift_of: dict[str, int] = {}
        self.scale_of: dict[str, float] = {}
        for population in correctable(graph):
            name, size = population.name, (population.shape[0], 1, 1)
            self.shift_of[name] = len(self.shifts)
            self.shifts.append(nn.Parameter(torch.zeros(size)))
            self.scale_of[name] = logit_scale
            if isinstance(population, SpikingPopulation):
                share = torch.from_numpy(population.initial_potential / population.threshold)
                self.share_of[name] = len(self.shares)
                self.shares.append(nn.Parameter(share.float().expand(size).clone()))
                at = self.group_of[name]
                self.scale_of[name] = float(self.thresholds[at].mean()) * self.units[at]
        self.changes, self.change_of = nn.ParameterList(), {}
        if plan.weight_learning_rate:
            for shared, weights in self.fixed.weights.items():
                if is_maximum(graph[shared.target]):  # the signs of a comparison
                    continue
                for at, weight in enumerate(weights):
                    if weight is not None:
                        self.change_of[shared, at] = len(self.changes)
                        self.changes.append(nn.Parameter(torch.zeros_like(weight)))

    def parameter_groups(self) -> list[dict[str, object]]:
        of_neurons = [*self.factors, *self.shares, *self.shifts]
        groups: list[dict[str, object]] = [{"params": of_neurons, "lr": self.plan.learning_rate}]
        if self.changes:
            groups.append({"params": [*self.changes], "lr": self.plan.weight_learning_rate})
        return groups

    def tensors(self) -> GraphTensors:
        biases = {
            name: bias + self.shifts[self.shift_of[name]] * self.scale_of[name]
            if name in self.shift_of
            else bias
            for name, bias in self.fixed.biases.items()
        }
        weights = {shared: self._weights(shared) for shared in self.fixed.weights}
        return GraphTensors(self.fixed.shared, weights, biases)

    def _weights(self, shared: SharedWeight) -> tuple[Tensor | None, ...]:
        weights = list(self.fixed.weights[shared])
        for at, weight in enumerate(weights):
            if weight is not None and (shared, at) in self.change_of:
                scale = weight.square().mean().sqrt()
                weights[at] = weight + scale * self.changes[self.change_of[shared, at]]
        return tuple(weights)

    def threshold(self, name: str) -> Tensor:
        at = self.group_of[name]
        return self.thresholds[at] * (self.factors[at] * self.units[at]).exp()

    def activate(self) -> Activate:
        def activate(population: SpikingPopulation, current: Tensor) -> Tensor:
            name = population.name
            share = self.shares[self.share_of[name]]
            return quantized(current, self.threshold(name), share, population.timesteps)

        return activate

    @torch.no_grad()
    def logits(self, parts: Sequence[Tensor]) -> Tensor:
        tensors, activate = self.tensors(), self.activate()
        return torch.cat([run_pass(self.graph, tensors, part, activate).logits for part in parts])

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        for share in self.shares:
            share.clamp_(0, 1 - 1e-4)

    @torch.no_grad()
    def written(self) -> LayerGraph:
        """The layer graph with what was trained, in float64."""
        scaled = {
            name: (self.shifts[at] * self.scale_of[name]).double().numpy()
            for name, at in self.shift_of.items()
        }
        graph = with_shifted_biases(self.graph, scaled).with_spiking(self._trained)
        if not self.changes:
            return graph
        synapses = list(graph.synapses)
        for shared in self.fixed.weights:
            tail = tuple(
                with_weight(m, weight.double().numpy())  # type: ignore[type-var]
                if weight is not None and (shared, at) in self.change_of
                else m
                for at, (m, weight) in enumerate(
                    zip(shared.tail, self._weights(shared), strict=True)
                )
            )
            for at, (_, head) in zip(shared.synapses, shared.paths, strict=True):
                synapses[at] = replace(synapses[at], maps=(*head, *tail))
        return LayerGraph.build(graph.populations, synapses)

    def _trained(self, population: SpikingPopulation) -> SpikingPopulation:
        threshold = self.threshold(population.name).double().numpy()
        share = 0.5
        if population.name in self.share_of:
            share = self.shares[self.share_of[population.name]].double().numpy()
        return replace(population, threshold=threshold, initial_potential=threshold * share)


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error as a share of the mean square."""
    return (found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)


def _snapshot(student: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in student.state_dict().items()}
