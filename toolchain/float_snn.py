"""The float spiking network with a real time axis: what the paper's conversion gives (Eq. 1-3, 11-13).

It exists to be compared with the quantized ANN. The hardware runs the integer network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.linear_maps import AveragePool, Convolution, Dense, LinearMap, Scale, SumPool
from toolchain.temporal_alignment import selected_frames


@dataclass(frozen=True, eq=False)
class FloatRun:
    """Logits ``(B, classes)`` and spike counts ``(B, C, H, W)`` per spiking population, float64."""

    logits: np.ndarray
    counts: dict[str, np.ndarray]


@torch.inference_mode()
def run_float_snn(graph: LayerGraph, pixels: np.ndarray) -> FloatRun:
    """Simulate in float64, step by step.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
    """
    frames: dict[str, Tensor] = {}  # (B, T, C, H, W), real values
    counts: dict[str, np.ndarray] = {}
    logits = np.empty(0)
    for population in graph.populations:
        if isinstance(population, InputPopulation):
            values = torch.from_numpy(pixels).to(torch.float64) * population.unit
            frames[population.name] = values[:, None]
            continue
        current = _input_current(graph, population, frames)
        if isinstance(population, ReadoutPopulation):
            logits = current.mean(dim=1).flatten(1).numpy()
            continue
        spikes = _fire(population, current)
        frames[population.name] = spikes * torch.from_numpy(population.threshold)
        counts[population.name] = spikes.sum(dim=1).numpy()
    return FloatRun(logits, counts)


def _fire(population: SpikingPopulation, current: Tensor) -> Tensor:
    threshold = torch.from_numpy(population.threshold)
    potential = torch.from_numpy(population.initial_potential).expand(current[:, 0].shape).clone()
    spikes = torch.zeros_like(current)
    for step in range(population.timesteps):
        potential += current[:, step]
        spikes[:, step] = (potential >= threshold).to(current.dtype)
        potential -= threshold * spikes[:, step]
    return spikes


def _input_current(
    graph: LayerGraph, target: SpikingPopulation | ReadoutPopulation, frames: dict[str, Tensor]
) -> Tensor:
    """Current of each target step, shape ``(B, T, C, H, W)``."""
    batch = len(next(iter(frames.values())))
    current = torch.from_numpy(target.bias).expand(batch, target.timesteps, *target.shape).clone()
    for synapse in graph.incoming(target.name):
        source = frames[synapse.source]
        if synapse.alignment == "average":
            current += transmit(synapse.maps, source.mean(dim=1))[:, None]
            continue
        for step, frame in enumerate(_frames(graph, synapse)):
            if frame is not None:
                current[:, step] += transmit(synapse.maps, source[:, frame])
    return current


def _frames(graph: LayerGraph, synapse: Synapse) -> tuple[int | None, ...]:
    source, target = graph[synapse.source], graph[synapse.target]
    method = "replicate" if isinstance(source, InputPopulation) else synapse.alignment
    return selected_frames(method, source.timesteps, target.timesteps)


def transmit(maps: tuple[LinearMap, ...], values: Tensor) -> Tensor:
    """Apply a synapse's maps to ``(B, C, H, W)`` values in their own float type."""
    for linear_map in maps:
        match linear_map:
            case Convolution(stride=stride, padding=padding, groups=groups):
                weight = torch.from_numpy(linear_map.weight).to(values.dtype)
                values = F.conv2d(values, weight, stride=stride, padding=padding, groups=groups)
            case Dense():
                weight = torch.from_numpy(linear_map.weight).to(values.dtype)
                values = F.linear(values.flatten(1), weight)[:, :, None, None]
            case Scale():
                values = (
                    values * torch.from_numpy(linear_map.weight).to(values.dtype)[:, None, None]
                )
            case AveragePool(kernel=kernel, stride=stride, padding=padding):
                values = F.avg_pool2d(values, kernel, stride, padding)
            case SumPool(kernel=kernel, stride=stride, padding=padding):
                values = F.avg_pool2d(values, kernel, stride, padding, divisor_override=1)
    return values
