"""Run an integer network in SpikingJelly and in snnTorch, with their own layers and neurons.

With averaging alignment, a neuron has the same current in every step of its firing window. So each
population is computed as a whole: the spikes of its sources go through the convolution and are summed over
their window, then the peer's neuron runs T steps. Every value is an integer that float32 can hold, so the
counts must equal ours.

``convolve`` is the input of the convolution: every spike ("each step", as both libraries are normally used),
or the sum of the spikes over the window ("the sum"), which only averaging alignment allows. In the latter
case the peer does the linear work once, like the exact engine, and only its neurons depend on T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import assert_never

from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.linear_maps import Convolution, Dense, IntegerMap, Scale, SumPool

Convolve: TypeAlias = Literal["each step", "the sum"]
Outputs: TypeAlias = tuple[Tensor, dict[str, Tensor]]
"""Logits ``(B, classes)``, and counts of each population ``(B, C, H, W)``, as integers in float32."""

OverSteps: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""Applies a layer to each step of a sequence ``(T, B, ...)``; returns the sum over the steps ``(B, ...)``."""

Neurons: TypeAlias = Callable[[Tensor], Tensor]
"""Turns constant currents ``(B, C, H, W)`` into spikes ``(T, B, C, H, W)``."""


def spikingjelly_network(
    network: IntegerNetwork, convolve: Convolve, device: str
) -> Callable[[np.ndarray], Outputs]:
    """The network in SpikingJelly's multi-step mode: layers take all steps as one batch."""
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.neuron import IFNode

    def over_steps(layer: nn.Module, sequence: Tensor) -> Tensor:
        return functional.seq_to_ann_forward(sequence, layer).sum(dim=0)

    def neurons(population: IntegerSpiking) -> Neurons:
        threshold = float(_only_value(population.threshold))
        node = IFNode(v_threshold=threshold, v_reset=None, step_mode="m").eval()
        start = _tensor(population.initial_potential, device)

        def fire(currents: Tensor) -> Tensor:
            node.reset()
            node.v = start.expand_as(currents).contiguous()
            return node(currents.expand(population.timesteps, *currents.shape))

        return fire

    return _layer_by_layer(network, over_steps, neurons, convolve, device)


def snntorch_network(
    network: IntegerNetwork, convolve: Convolve, device: str
) -> Callable[[np.ndarray], Outputs]:
    """The network in snnTorch: a loop over the steps of each layer and of Leaky neurons without leak.

    Its neurons fire above the threshold and ours at it, so its potentials start half an integer higher.
    """
    import snntorch

    def over_steps(layer: nn.Module, sequence: Tensor) -> Tensor:
        total = layer(sequence[0])
        for frame in sequence[1:]:
            total = total + layer(frame)
        return total

    def neurons(population: IntegerSpiking) -> Neurons:
        threshold = float(_only_value(population.threshold))
        node = snntorch.Leaky(beta=1.0, threshold=threshold, reset_mechanism="subtract")
        node = node.to(device).eval()
        start = _tensor(population.initial_potential, device) + 0.5

        def fire(currents: Tensor) -> Tensor:
            potential, spikes = start.expand_as(currents), []
            for _ in range(population.timesteps):
                spike, potential = node(currents, potential)
                spikes.append(spike)
            return torch.stack(spikes)

        return fire

    return _layer_by_layer(network, over_steps, neurons, convolve, device)


def _layer_by_layer(
    network: IntegerNetwork,
    over_steps: OverSteps,
    neurons: Callable[[IntegerSpiking], Neurons],
    convolve: Convolve,
    device: str,
) -> Callable[[np.ndarray], Outputs]:
    layers = {
        (synapse.source, synapse.target): _layers(network, synapse, device)
        for synapse in network.synapses
    }
    nodes = {p.name: neurons(p) for p in network.spiking}
    last_reader = {s.source: p.name for p in network.populations for s in network.incoming(p.name)}

    def currents(population: IntegerSpiking | IntegerReadout, frames: dict[str, Tensor]) -> Tensor:
        total = _tensor(population.bias, device)
        for synapse in network.incoming(population.name):
            sequence = frames[synapse.source]
            if convolve == "the sum":
                sequence = sequence.sum(dim=0, keepdim=True)
            layer = layers[synapse.source, synapse.target]
            added = over_steps(layer, sequence)
            total = total + added.reshape(len(added), *population.shape)
        return total

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> Outputs:
        frames: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        logits = torch.empty(0)
        for population in network.populations:
            if isinstance(population, IntegerInput):
                frames[population.name] = torch.from_numpy(pixels).to(device, torch.float32)[None]
                continue
            values = currents(population, frames)
            if isinstance(population, IntegerReadout):
                logits = values.flatten(1)
                continue
            frames[population.name] = nodes[population.name](values)
            counts[population.name] = frames[population.name].sum(dim=0)
            for source in [s for s, reader in last_reader.items() if reader == population.name]:
                del frames[source]
        return logits, counts

    return run


def _layers(network: IntegerNetwork, synapse: IntegerSynapse, device: str) -> nn.Module:
    factor = 2**synapse.exponent
    channels = network[synapse.source].shape[0]
    modules: list[nn.Module] = []
    for linear_map in synapse.maps:
        modules.extend(_modules(linear_map, channels, factor))
    return nn.Sequential(*modules).eval().to(device)


def _modules(linear_map: IntegerMap, channels: int, factor: int) -> list[nn.Module]:
    match linear_map:
        case SumPool():
            return [
                nn.AvgPool2d(
                    linear_map.kernel, linear_map.stride, linear_map.padding, divisor_override=1
                )
            ]
        case Dense():
            dense = nn.Linear(linear_map.weight.shape[1], len(linear_map.weight), bias=False)
            dense.weight.data = _tensor(linear_map.weight, "cpu") * factor
            return [nn.Flatten(), dense]
        case Scale():
            weight = linear_map.weight.reshape(-1, 1, 1, 1)
            return [_convolution(Convolution(weight=weight, groups=channels), factor)]
        case Convolution():
            return [_convolution(linear_map, factor)]
        case _:
            assert_never(linear_map)


def _convolution(convolution: Convolution, factor: int) -> nn.Conv2d:
    out, per_group = convolution.weight.shape[:2]
    layer = nn.Conv2d(
        per_group * convolution.groups,
        out,
        convolution.kernel,
        convolution.stride,
        convolution.padding,
        groups=convolution.groups,
        bias=False,
    )
    layer.weight.data = _tensor(convolution.weight, "cpu") * factor
    return layer


def _only_value(values: np.ndarray) -> int:
    (value,) = np.unique(values)
    return int(value)


def _tensor(values: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, torch.float32)
