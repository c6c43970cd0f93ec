"""Training with a target's integers in the forward pass, so that compiling the network loses nothing.

The network computes what its integer network computes: counts of spikes, from int8 weights with an exponent,
biases that are mantissa and exponent, and thresholds on the target's grid of which a core holds a few. Behind
each integer is a real number in the same unit, which is trained straight through the rounding (Bengio et al.,
2013, "Estimating or propagating gradients through stochastic neurons").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantizers import round_half_up
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerWidths,
    verify_integer_network,
)
from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.networks.linear_maps import UnweightedMap, chain_channel_sources, with_weight
from toolchain.passes.coarser_integers import within_bounds
from toolchain.passes.integers_as_graph import integers_as_graph
from toolchain.post_training.closed_form import (
    Activate,
    GraphTensors,
    SharedWeight,
    quantized,
    run_pass,
    shared_weights,
)
from toolchain.training.plan import TrainingPlan

INTEGER_LEARNING_RATE = 0.005
"""Of ``relative_adam``, as a share of what each parameter measures."""


class IntegerAwareNetwork(nn.Module):
    """An integer network whose weights, biases and thresholds can be trained.

    T, V0 / Theta, the exponents and the populations of exact max pooling stay as they are. Counts are exact
    in float64; in float32, in which it is trained, a count may be off where the potential is within rounding
    of the threshold.

    Args:
        network: the integers that training starts from.
        widths: of the target.

    Raises:
        UnsupportedNetworkError: a synapse does not average, the readout has several outputs, or thresholds
            differ within a channel.
    """

    def __init__(self, network: IntegerNetwork, widths: IntegerWidths) -> None:
        super().__init__()
        if not network.has_constant_current:
            raise UnsupportedNetworkError(
                "training with a target's integers needs average alignment: with replicate and truncate a "
                "count has no closed form; train without --target, and compile with --alignment"
            )
        if network.readout.outputs:
            raise UnsupportedNetworkError(
                f"{network.readout.name}: several outputs have no one loss; train without --target"
            )
        self.network, self.widths = _with_binary_unit(network), widths
        self.graph: LayerGraph = integers_as_graph(self.network)
        every = shared_weights(self.graph)
        self.synapses = [_SharedIntegers(self.network, shared) for shared in every]
        fixed = [is_maximum(self.graph[shared.target]) for shared in every]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.from_numpy(s.weight.astype(np.float32)), requires_grad=not maximum)
            for s, maximum in zip(self.synapses, fixed, strict=True)
        )
        self.biases, self.levels = nn.ParameterList(), nn.ParameterList()
        self.number: dict[str, int] = {}
        for number, population in enumerate(self._populations()):
            self.number[population.name] = number
            trained = not is_maximum(population)
            bias = torch.from_numpy(population.bias.astype(np.float32))
            self.biases.append(nn.Parameter(bias, requires_grad=trained))
            levels, level_of = _levels(population)
            self.levels.append(
                nn.Parameter(
                    torch.zeros(len(levels)),
                    requires_grad=trained and isinstance(population, IntegerSpiking),
                )
            )
            self.register_buffer(f"levels_{number}", torch.from_numpy(levels).float())
            self.register_buffer(f"level_of_{number}", torch.from_numpy(level_of))
            if isinstance(population, IntegerSpiking):
                start, threshold = population.initial_potential, population.threshold
                self.register_buffer(f"start_{number}", torch.from_numpy(start))
                self.register_buffer(f"threshold_{number}", torch.from_numpy(threshold))
        for number, synapse in enumerate(self.synapses):
            self.register_buffer(f"channel_{number}", torch.from_numpy(synapse.channel_of_row))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)``, or ``(B, classes, H, W)``.

        Args:
            images: pixels over their largest value, ``(B, C, H, W)``.
        """
        pixels = torch.round(images * self.graph.input.max_value)
        tensors, activate = self._tensors(images.dtype)
        logits = run_pass(self.graph, tensors, pixels, activate, every=True).logits
        shape = self.graph.readout.shape
        return logits if shape[1:] == (1, 1) else logits.reshape(-1, *shape)

    def integer_network(self) -> IntegerNetwork:
        """The integers, coarser where weights have grown until a bound exceeds the target's widths.

        Raises:
            IntegerWidthError: the target cannot hold them at all.
        """
        return within_bounds(self.present_integers(), self.widths)

    @torch.no_grad()
    def present_integers(self) -> IntegerNetwork:
        """The integers that the module computes with."""
        populations = [
            p if isinstance(p, IntegerInput) else self._integers_of(p)
            for p in self.network.populations
        ]
        synapses = list(self.network.synapses)
        for number, shared in enumerate(self.synapses):
            weight = self._integer_weight(number).cpu().numpy().astype(np.int8)
            for at in shared.positions:
                weighted = with_weight(synapses[at].weighted, weight)
                synapses[at] = replace(synapses[at], weighted=weighted)
        return verify_integer_network(IntegerNetwork.build(populations, synapses))

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameters with learning rates of Adam, in which a step is a share of what the parameter measures.

        That is the root mean square of a weight tensor, a step of the spike count for a bias, and the
        threshold itself.
        """
        groups: list[dict[str, Any]] = []
        for weight in self.weights:
            if not weight.requires_grad:
                continue
            scale = float(weight.detach().square().mean().sqrt().clamp(min=1.0))
            groups.append({"params": [weight], "lr": learning_rate * scale})
        for population in self._populations():
            number = self.number[population.name]
            if not self.biases[number].requires_grad:
                continue
            levels = self.get_buffer(f"levels_{number}")
            step = float(levels.mean()) / population.timesteps
            groups.append({"params": [self.biases[number]], "lr": learning_rate * step})
            if isinstance(population, IntegerSpiking):
                groups.append({"params": [self.levels[number]], "lr": learning_rate})
        return groups

    def _populations(self) -> list[IntegerSpiking | IntegerReadout]:
        return [p for p in self.network.populations if not isinstance(p, IntegerInput)]

    def _tensors(self, dtype: torch.dtype) -> tuple[GraphTensors, Activate]:
        units, biases, shares = {}, {}, {}
        for population in self._populations():
            name, shape = population.name, population.shape
            if isinstance(population, IntegerReadout):
                unit = torch.full((shape[0],), population.unit * population.timesteps)
            else:
                threshold = self._threshold(name)
                unit = population.timesteps / threshold.to(dtype)
                start = self._start(name, threshold.detach())
                shares[name] = (start.to(dtype) + 0.5) / threshold.detach().to(dtype)[:, None, None]
            units[name] = unit.to(dtype)
            biases[name] = self._bias(name).to(dtype) * units[name][:, None, None]
        weights = {}
        for number, synapse in enumerate(self.synapses):
            integers = self._integer_weight(number).to(dtype)
            channel = self.get_buffer(f"channel_{number}")
            unit = units[synapse.shared.target][channel] * 2.0**synapse.exponent
            weight = integers * unit.reshape(-1, *[1] * (integers.ndim - 1))
            weights[synapse.shared] = (weight, *[None] * (len(synapse.shared.tail) - 1))
        of_target = {
            name: tuple(s.shared for s in self.synapses if s.shared.target == name)
            for name in self.number
        }

        def activate(population: SpikingPopulation, current: Tensor) -> Tensor:
            return _Counts.apply(current, shares[population.name], population.timesteps)

        return GraphTensors(of_target, weights, biases), activate

    def _integer_weight(self, number: int) -> Tensor:
        """Integer-valued, float32, with a straight-through gradient where it is not clipped."""
        most = self.widths.max_weight
        return round_half_up(self.weights[number].float().clamp(-most, most))

    def _bias(self, name: str) -> Tensor:
        bias = self.biases[self.number[name]].float()
        bias = bias.clamp(-self.widths.max_bias, self.widths.max_bias)
        return _straight_through(bias, self.widths.nearest_bias)

    def _threshold(self, name: str) -> Tensor:
        """Theta of each channel, ``(channels,)``."""
        number = self.number[name]
        levels = self.get_buffer(f"levels_{number}").float() * self.levels[number].float().exp()
        levels = levels.clamp(max=self.widths.max_threshold)
        levels = _straight_through(levels, self.widths.nearest_threshold)
        return levels[self.get_buffer(f"level_of_{number}")]

    def _start(self, name: str, threshold: Tensor) -> Tensor:
        """V0, which keeps its share of the threshold, in integers: ``floor(V0 Theta' / Theta)``."""
        number = self.number[name]
        changed = self.get_buffer(f"start_{number}") * threshold.long()[:, None, None]
        return torch.div(changed, self.get_buffer(f"threshold_{number}"), rounding_mode="floor")

    def _integers_of(
        self, population: IntegerSpiking | IntegerReadout
    ) -> IntegerSpiking | IntegerReadout:
        name = population.name
        bias = _int64(self._bias(name))
        if isinstance(population, IntegerReadout):
            return replace(population, bias=bias)
        threshold = self._threshold(name)
        start = _int64(self._start(name, threshold))
        return replace(
            population,
            bias=bias,
            threshold=_int64(threshold)[:, None, None],
            initial_potential=start,
        )


class FloatNetwork(nn.Module):
    """A layer graph as a module, such as the teacher of its integers; counts in closed form.

    Args:
        graph: one whose synapses average.
    """

    def __init__(self, graph: LayerGraph) -> None:
        super().__init__()
        self.graph = graph
        tensors = GraphTensors.of(graph, torch.float32)
        self.shared, self.weighted = tensors.shared, list(tensors.weights)
        for number, weights in enumerate(tensors.weights.values()):
            for at, weight in enumerate(weights):
                self.register_buffer(f"weight_{number}_{at}", weight)
        for number, population in enumerate(graph.populations[1:]):
            self.register_buffer(f"bias_{number}", tensors.biases[population.name])
        for number, spiking in enumerate(graph.spiking):
            threshold = torch.from_numpy(spiking.threshold).float()
            share = torch.from_numpy(spiking.initial_potential / spiking.threshold).float()
            self.register_buffer(f"threshold_{number}", threshold)
            self.register_buffer(f"share_{number}", share)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of pixels over their largest value, ``(B, C, H, W)``."""
        graph, buffers = self.graph, dict(self.named_buffers())
        weights = {
            shared: tuple(buffers.get(f"weight_{n}_{at}") for at in range(len(shared.tail)))
            for n, shared in enumerate(self.weighted)
        }
        biases = {p.name: buffers[f"bias_{n}"] for n, p in enumerate(graph.populations[1:])}
        neurons = {
            p.name: (buffers[f"threshold_{n}"], buffers[f"share_{n}"])
            for n, p in enumerate(graph.spiking)
        }

        def activate(population: SpikingPopulation, current: Tensor) -> Tensor:
            return quantized(current, *neurons[population.name], population.timesteps)

        values = images * (graph.input.max_value * graph.input.unit)
        tensors = GraphTensors(self.shared, weights, biases)
        logits = run_pass(graph, tensors, values, activate).logits
        shape = graph.readout.shape
        return logits if shape[1:] == (1, 1) else logits.reshape(-1, *shape)


def relative_adam(module: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """Adam in which the learning rate of the plan is a share of each parameter's size."""
    assert isinstance(module, IntegerAwareNetwork)
    return torch.optim.Adam(module.parameter_groups(plan.learning_rate))


class _SharedIntegers:
    """The integer weight that synapses of one target share.

    Attributes:
        positions: of the synapses in the network.
        channel_of_row: a target channel that reads each row of the weight, ``(rows,)``.
    """

    def __init__(self, network: IntegerNetwork, shared: SharedWeight) -> None:
        self.shared, self.positions = shared, shared.synapses
        first = network.synapses[shared.synapses[0]]
        self.weight, self.exponent = first.weighted.weight, first.exponent
        behind = (m for m in first.pools_after if isinstance(m, UnweightedMap))
        read_by = chain_channel_sources(behind, len(self.weight))
        self.channel_of_row = np.zeros(len(self.weight), np.int64)
        self.channel_of_row[read_by[read_by >= 0]] = np.flatnonzero(read_by >= 0)


class _Counts(torch.autograd.Function):
    """Spike counts ``clip(floor(x + v(0)), 0, T)`` of currents in counts, straight through from 0 to T."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, share: Tensor, timesteps: int) -> Tensor:
        ctx.save_for_backward((current >= 0) & (current <= timesteps))
        return (current + share).floor_().clamp_(0, timesteps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


def _straight_through(values: Tensor, rounded: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Values that a function of the target's widths rounds, with the gradient of the values."""
    result = rounded(values.detach().cpu().numpy().astype(float))
    return values + (torch.from_numpy(result).to(values) - values).detach()


def _int64(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.int64)


def _levels(population: IntegerSpiking | IntegerReadout) -> tuple[np.ndarray, np.ndarray]:
    """The different thresholds of a population, and which of them each channel has."""
    channels = population.shape[0]
    if isinstance(population, IntegerReadout):
        return np.ones(1), np.zeros(channels, np.int64)
    threshold = np.broadcast_to(population.threshold[:, 0, 0], channels)
    levels, level_of = np.unique(threshold, return_inverse=True)
    return levels.astype(float), level_of.astype(np.int64)


def _with_binary_unit(network: IntegerNetwork) -> IntegerNetwork:
    """The network with logits in a power of two, so that sums of its real weights are exact.

    Classes do not depend on the unit of the logits.
    """
    readout = network.readout
    unit = 2.0 ** round(float(np.log2(readout.unit * readout.timesteps)))
    changed = replace(readout, unit=unit / readout.timesteps)
    populations = [changed if p is readout else p for p in network.populations]
    return IntegerNetwork.build(populations, network.synapses)
