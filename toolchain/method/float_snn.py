"""The float spiking network of the paper's conversion, simulated step by step (Eq. 1-3, 11-13).

It is compared with the quantized ANN, calibrated, and used to run the methods that the paper is compared
with. The hardware runs the integer network.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import assert_never

from toolchain.datasets import PixelSource
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
    WeightedMap,
)
from toolchain.networks.temporal_alignment import selected_frames

SAMPLES_PER_BATCH = 128
"""The most; large networks with long windows run fewer at once."""

_BYTES_AT_ONCE = 2**29  # of the frames of one population; a few are kept at a time


@dataclass(frozen=True, eq=False)
class FloatRun:
    """Result of a simulation.

    Attributes:
        step_logits: readout current of each step, shape ``(B, T, classes)``.
        counts: spike counts per spiking population, int32 ``(B, C, H, W)``; empty unless requested.
    """

    step_logits: np.ndarray
    counts: dict[str, np.ndarray]

    @property
    def logits(self) -> np.ndarray:
        """Mean readout current (Eq. 15), shape ``(B, classes)``."""
        return self.step_logits.mean(axis=1)


@dataclass(frozen=True, eq=False)
class NeuronState:
    """Threshold and v(0) of a population, both broadcastable to ``(C, H, W)``; calibration changes them."""

    threshold: Tensor
    initial_potential: Tensor


@dataclass(frozen=True, eq=False)
class BatchRun:
    """Result of one batch, as tensors.

    Attributes:
        step_logits: readout current of each step, ``(B, T, classes)``.
        final_potentials: membrane potential after the last step, ``(B, C, H, W)``.
    """

    step_logits: Tensor
    final_potentials: dict[str, Tensor]


SpikeFunction = Callable[[Tensor, Tensor], Tensor]
"""Membrane potential and threshold to 0 or 1, differentiable or not."""

NeuronModel = Callable[[SpikingPopulation, NeuronState, Tensor], tuple[Tensor, Tensor]]
"""A population, its state and its current to what it sends and its potential after the last step.

The current is ``(B, T, C, H, W)``, or one step if it is constant. What is sent, ``(B, T, C, H, W)``, is in
units of
the threshold: 0 or 1 for spikes.
"""


def heaviside(potential: Tensor, threshold: Tensor) -> Tensor:
    """Spike at or above the threshold (Eq. 2, at equality as the quantizer's rounding needs)."""
    return (potential >= threshold).to(potential.dtype)


def integrate_and_fire(
    population: SpikingPopulation,
    state: NeuronState,
    current: Tensor,
    spike: SpikeFunction = heaviside,
) -> tuple[Tensor, Tensor]:
    """The neuron model of the paper: integrate and fire with soft reset (Eq. 1-3).

    Args:
        spike: Heaviside function, or one with a surrogate gradient.
    """
    potential = state.initial_potential.expand(current[:, 0].shape)
    fired = []
    for step in range(population.timesteps):
        potential = potential + current[:, min(step, current.shape[1] - 1)]
        spikes = spike(potential, state.threshold)
        potential = torch.addcmul(potential, state.threshold, spikes, value=-1)
        fired.append(spikes)
    return torch.stack(fired, dim=1), potential


@torch.inference_mode()
def run_float_snn(
    graph: LayerGraph,
    pixels: PixelSource,
    *,
    with_counts: bool = False,
    dtype: torch.dtype = torch.float64,
    neuron: NeuronModel = integrate_and_fire,
) -> FloatRun:
    """Simulate step by step, in batches.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        with_counts: also return every population's spike counts.
        neuron: model of all spiking neurons.
    """
    neurons = neuron_states(graph, dtype)
    steps: list[np.ndarray] = []
    counts: dict[str, list[np.ndarray]] = defaultdict(list)

    def count(name: str, spikes: Tensor) -> None:
        counts[name].append(spikes.sum(dim=1).to(torch.int32).numpy())

    at_once = batch_size(graph)
    for start in range(0, len(pixels), at_once):
        images = input_current(graph, pixels[start : start + at_once], dtype)
        on_spikes = count if with_counts else None
        trace = propagate(graph, images, neurons, neuron, on_spikes=on_spikes)
        steps.append(trace.step_logits.numpy())
    return FloatRun(
        step_logits=np.concatenate(steps),
        counts={name: np.concatenate(parts) for name, parts in counts.items()},
    )


def batch_size(graph: LayerGraph) -> int:
    """Number of samples that are simulated at once, so that their frames fit in memory."""
    frame_bytes = max((8 * math.prod(p.shape) * p.timesteps for p in graph.spiking), default=1)
    return max(1, min(SAMPLES_PER_BATCH, _BYTES_AT_ONCE // frame_bytes))


def neuron_states(graph: LayerGraph, dtype: torch.dtype) -> dict[str, NeuronState]:
    """Threshold and initial potential of every spiking population, as tensors."""
    return {
        p.name: NeuronState(
            torch.from_numpy(p.threshold).to(dtype), torch.from_numpy(p.initial_potential).to(dtype)
        )
        for p in graph.spiking
    }


def input_current(graph: LayerGraph, pixels: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Real values of pixel integers, shape ``(B, C, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(dtype) * graph.input.unit


def propagate(
    graph: LayerGraph,
    images: Tensor,
    neurons: Mapping[str, NeuronState],
    neuron: NeuronModel = integrate_and_fire,
    *,
    on_spikes: Callable[[str, Tensor], None] | None = None,
) -> BatchRun:
    """Run all populations for all their steps, in topological order.

    Args:
        images: real input values, ``(B, C, H, W)``.
        neurons: state of every spiking population.
        neuron: model of all spiking neurons.
        on_spikes: called with the name and spikes, ``(B, T, C, H, W)``, of each population once they are
            known, so that not all need to be kept.
    """
    frames: dict[str, Tensor] = {}  # (B, T, C, H, W), real values
    potentials: dict[str, Tensor] = {}
    step_logits = images.new_empty(0)
    last_reader = {s.source: s.target for p in graph.populations for s in graph.incoming(p.name)}
    for population in graph.populations:
        name = population.name
        match population:
            case InputPopulation():
                frames[name] = images[:, None]
            case SpikingPopulation():
                current = _current(graph, population, frames)
                fired, potentials[name] = neuron(population, neurons[name], current)
                frames[name] = fired * neurons[name].threshold
                if on_spikes is not None:
                    on_spikes(name, fired)
            case ReadoutPopulation(timesteps=timesteps):
                current = _current(graph, population, frames)
                step_logits = current.flatten(2).expand(-1, timesteps, -1)
            case _:
                assert_never(population)
        for source in [s for s, reader in last_reader.items() if reader == name]:
            del frames[source]
    return BatchRun(step_logits, potentials)


def _current(
    graph: LayerGraph, target: SpikingPopulation | ReadoutPopulation, frames: Mapping[str, Tensor]
) -> Tensor:
    """Current of each target step, ``(B, T, C, H, W)``; T = 1 if it is constant."""
    any_frames = next(iter(frames.values()))
    current = torch.from_numpy(target.bias).to(any_frames.dtype)
    current = current.expand(len(any_frames), 1, *target.shape)
    for synapse in graph.incoming(target.name):
        source = frames[synapse.source]
        direct_coded = isinstance(graph[synapse.source], InputPopulation)
        if synapse.alignment == "average" or direct_coded:
            current = current + transmit(synapse.maps, source.mean(dim=1))[:, None]
            continue
        selected = selected_frames(synapse.alignment, source.shape[1], target.timesteps)
        needed = sorted({frame for frame in selected if frame is not None})
        sent = {frame: transmit(synapse.maps, source[:, frame]) for frame in needed}
        silence = torch.zeros_like(current[:, 0])
        steps = [silence if frame is None else sent[frame] for frame in selected]
        current = current + torch.stack(steps, dim=1)
    return current


def map_weights(maps: tuple[LinearMap, ...], dtype: torch.dtype) -> tuple[Tensor | None, ...]:
    """The weight of each map of a synapse, as a tensor; None for maps without one."""
    return tuple(
        torch.from_numpy(m.weight).to(dtype) if isinstance(m, WeightedMap) else None for m in maps
    )


def transmit(
    maps: tuple[LinearMap, ...], values: Tensor, weights: Sequence[Tensor | None] | None = None
) -> Tensor:
    """Apply a synapse's maps to ``(B, C, H, W)`` values in their own float type.

    Args:
        weights: used in place of the maps' own, one for each map.
    """
    for linear_map, weight in zip(maps, weights or map_weights(maps, values.dtype), strict=True):
        match linear_map:
            case Convolution(stride=stride, padding=padding, dilation=dilation, groups=groups):
                assert weight is not None
                values = F.conv2d(values, weight, None, stride, padding, dilation, groups)
            case Dense():
                assert weight is not None
                values = F.linear(values.flatten(1), weight)[:, :, None, None]
            case Scale():
                assert weight is not None
                values = values * weight[:, None, None]
            case AveragePool() | SumPool():
                values = _pooled(linear_map, values)
            case Resample(divisor=divisor):
                rows, columns = (
                    torch.from_numpy(m).to(values.dtype)
                    for m in (linear_map.rows, linear_map.columns)
                )
                values = rows @ values @ columns.T / divisor
            case SelectChannels():
                channels = torch.from_numpy(linear_map.channels)
                values = values[:, channels.clamp(min=0)] * (channels >= 0)[:, None, None]
            case _:
                assert_never(linear_map)
    return values


def _pooled(pool: AveragePool | SumPool, values: Tensor) -> Tensor:
    """Sums or means over windows; torch pads half a kernel at most."""
    (down, right), padding = pool.padding, pool.padding
    if 2 * down > pool.kernel[0] or 2 * right > pool.kernel[1]:
        values, padding = F.pad(values, (right, right, down, down)), (0, 0)
    return F.avg_pool2d(values, pool.kernel, pool.stride, padding, divisor_override=pool.divisor)
