"""Biases that give each channel the mean current that it has in the float network.

Rounding and clipping shift the mean of what a layer reads. The shift is measured per channel and subtracted
from the bias, one layer after the other, so that each reads sources that are corrected already (Nagel et al.,
2019, "Data-free quantization", here measured on images; Li et al., 2021, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.post_training.closed_form import Activate, GraphTensors, run_pass


@dataclass(frozen=True, eq=False)
class FloatBehaviour:
    """What the float network computes for some images.

    Attributes:
        images: real input values, ``(B, C, H, W)``.
        logits: ``(B, values)``.
        mean_currents: of each population per channel, ``(channels, 1, 1)``.
    """

    images: Tensor
    logits: Tensor
    mean_currents: Mapping[str, Tensor]


@torch.inference_mode()
def float_behaviour(graph: LayerGraph, images: Tensor, activate: Activate) -> FloatBehaviour:
    """Run the float network, and note the mean current of every channel."""
    means: dict[str, Tensor] = {}

    def noting(population: SpikingPopulation, current: Tensor) -> Tensor:
        means[population.name] = _channel_means(current)
        return activate(population, current)

    result = run_pass(graph, GraphTensors.of(graph, images.dtype), images, noting)
    readout = graph.readout
    means[readout.name] = _channel_means(result.logits.reshape(len(images), *readout.shape))
    return FloatBehaviour(images, result.logits, means)


@torch.inference_mode()
def corrected_logits(
    graph: LayerGraph, behaviour: FloatBehaviour, activate: Activate
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits with corrected biases, and the correction of each bias, in one pass over the images.

    Args:
        activate: the activations of the spiking network in closed form.
    """
    shifts: dict[str, Tensor] = {}

    def corrected(name: str, current: Tensor) -> Tensor:
        shifts[name] = behaviour.mean_currents[name] - _channel_means(current)
        return current + shifts[name]

    tensors = GraphTensors.of(graph, behaviour.images.dtype)
    values = run_pass(
        graph,
        tensors,
        behaviour.images,
        lambda population, current: activate(population, corrected(population.name, current)),
    )
    readout = graph.readout
    maps = values.logits.reshape(len(values.logits), *readout.shape)
    return corrected(readout.name, maps).flatten(1), shifts


def with_corrected_biases(
    graph: LayerGraph, behaviour: FloatBehaviour, activate: Activate
) -> LayerGraph:
    """A graph whose channels have the mean currents of the float network on some images."""
    _, shifts = corrected_logits(graph, behaviour, activate)
    return with_shifted_biases(graph, {n: s.double().numpy() for n, s in shifts.items()})


def with_shifted_biases(graph: LayerGraph, shifts: Mapping[str, np.ndarray]) -> LayerGraph:
    """A graph with something added to some biases, ``(channels, 1, 1)`` by population."""
    populations = [
        p
        if isinstance(p, InputPopulation) or p.name not in shifts
        else replace(p, bias=p.bias + shifts[p.name])
        for p in graph.populations
    ]
    return LayerGraph.build(populations, graph.synapses)


def correctable(graph: LayerGraph) -> list[SpikingPopulation | ReadoutPopulation]:
    """The populations that may have a bias: all but the image and the maxima."""
    return [
        p for p in graph.populations if not isinstance(p, InputPopulation) and not is_maximum(p)
    ]


def _channel_means(current: Tensor) -> Tensor:
    return current.mean(dim=(0, 2, 3))[:, None, None]
