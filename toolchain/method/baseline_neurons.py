"""Conversion methods whose neurons are not the paper's: TSC, SNM and SGDND.

Each is a neuron model for ``propagate`` with a function that runs a network of it. All start from the layer
graph of a float ANN and get the image as a constant current (direct coding), apart from TSC, which defines a
code for pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from toolchain.datasets import PixelSource
from toolchain.method.baselines import averaged, float_activations, frame_by_frame, running_mean
from toolchain.method.float_snn import (
    NeuronState,
    batch_size,
    input_current,
    neuron_states,
    propagate,
    run_float_snn,
)
from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation

SIGN_GRADIENT_RATE, SIGN_GRADIENT_DECAY = 0.15, 0.95
"""First step size and its decay per step, as in the configuration that Oh & Lee (2024) published."""


def normalize_neurons(graph: LayerGraph, pixels: PixelSource) -> LayerGraph:
    """NeuronNorm (Wang et al., 2022): the threshold of each neuron is its own largest activation in the ANN.

    A neuron that is silent on all samples gets the largest threshold of its layer; published code gives it 0,
    with which it can send nothing.

    Args:
        pixels: unlabelled samples, ``(B, C, H, W)``.

    Returns:
        The graph with thresholds ``(C, H, W)`` and v(0) = 0.
    """
    largest = {p.name: torch.zeros(p.shape) for p in graph.spiking}
    at_once = batch_size(graph)
    for start in range(0, len(pixels), at_once):
        images = input_current(graph, pixels[start : start + at_once], torch.float32)
        for name, activation in float_activations(graph, images, clipped=False).items():
            largest[name] = torch.maximum(largest[name], activation.amax(dim=0))

    def normalized(population: SpikingPopulation) -> SpikingPopulation:
        found = largest[population.name]
        threshold = torch.where(found > 0, found, found.max() if found.any() else 1.0)
        return replace(
            population,
            threshold=threshold.double().numpy(),
            initial_potential=np.zeros(population.shape),
        )

    return graph.with_spiking(normalized)


def signed_neuron(
    population: SpikingPopulation, state: NeuronState, current: Tensor
) -> tuple[Tensor, Tensor]:
    """Integrate and fire with negative spikes, which take back positive ones (SNM, Wang et al., 2022).

    A neuron fires a negative spike at -v_th or below while its memory, the sum of its spikes, is positive.
    After the current has ended, the spikes sum to the ReLU of its sum, up to one.
    """
    potential = state.initial_potential.expand(current[:, 0].shape)
    memory = torch.zeros_like(potential)
    sent = []
    for step in range(population.timesteps):
        potential = potential + current[:, min(step, current.shape[1] - 1)]
        takes_back = (potential <= -state.threshold) & (memory > 0)
        spikes = (potential >= state.threshold).to(potential.dtype) - takes_back.to(potential.dtype)
        potential = torch.addcmul(potential, state.threshold, spikes, value=-1)
        memory = memory + spikes
        sent.append(spikes)
    return torch.stack(sent, dim=1), potential


def signed_logits(graph: LayerGraph, pixels: PixelSource, timesteps: int) -> np.ndarray:
    """Logits after 1 to T steps of signed neurons with memory, shape ``(T, B, classes)``.

    Args:
        graph: with thresholds of ``normalize_neurons``.
    """
    graph = frame_by_frame(graph, timesteps, initial_share=0.0)
    run = run_float_snn(graph, pixels, dtype=torch.float32, neuron=signed_neuron)
    return running_mean(run.step_logits)


def sign_gradient_neuron(
    population: SpikingPopulation, state: NeuronState, current: Tensor
) -> tuple[Tensor, Tensor]:
    """A value that steps towards the ReLU of the current, up or down by a step size that decays.

    Its spike is the sign of the gradient of ``|value - relu(current)|`` (SGDND, Oh & Lee, 2024). Readers make
    the same steps, weighted, so this sends the value, which is what they have reconstructed, and not the
    spike.
    """
    value = torch.zeros_like(current[:, 0])
    sent = []
    for step in range(population.timesteps):
        goal = torch.relu(current[:, min(step, current.shape[1] - 1)]) / state.threshold
        size = SIGN_GRADIENT_RATE * SIGN_GRADIENT_DECAY**step
        spikes = (value >= goal).to(value.dtype)
        value = value - size * (2 * spikes - 1)
        sent.append(value)
    return torch.stack(sent, dim=1), value


def sign_gradient_logits(graph: LayerGraph, pixels: PixelSource, timesteps: int) -> np.ndarray:
    """Logits after 1 to T steps of neurons that descend by signs, shape ``(T, B, classes)``.

    Those of the last step count and not their mean. The paper's input approaches the image in T steps too;
    here it is the image from the first step on, as for the other methods.

    Args:
        graph: with thresholds of ``normalize_neurons``, which the paper also uses as scales.
    """
    graph = frame_by_frame(graph, timesteps, initial_share=0.0)
    run = run_float_snn(graph, pixels, dtype=torch.float32, neuron=sign_gradient_neuron)
    return run.step_logits.transpose(1, 0, 2)


def switching_neuron(
    population: SpikingPopulation, state: NeuronState, current: Tensor
) -> tuple[Tensor, Tensor]:
    """On from the first step for as many steps as its input, integrated over the window, has thresholds.

    The neuron fires twice, as it switches on and off, so each synapse is read twice at most (TSC, Han & Roy,
    2020).
    """
    steps = population.timesteps
    integrated = state.initial_potential + current.mean(dim=1) * steps
    length = (integrated / state.threshold).floor().clamp(0, steps)
    clock = torch.arange(steps)[:, None, None, None]
    on = (clock < length[:, None]).to(current.dtype)
    return on, integrated - length * state.threshold


@torch.inference_mode()
def switching_logits(graph: LayerGraph, pixels: PixelSource, timesteps: int) -> np.ndarray:
    """Logits of temporal-switch coding (TSC, Han & Roy, 2020), shape ``(B, classes)``.

    Public are the paper's abstract and codes for its input: a pixel is two spikes whose distance is
    proportional to its intensity, a neuron's two spikes encode its ReLU, and a synapse takes two additions at
    most. How a layer starts before the one below has ended is not. Here the windows of layers, of T steps
    each, follow one another, and a network of L layers takes L T steps.
    """
    graph = averaged(graph, timesteps)
    graph = graph.with_spiking(lambda p: replace(p, initial_potential=0 * p.threshold))
    neurons = neuron_states(graph, torch.float32)
    logits = []
    at_once = batch_size(graph)
    for start in range(0, len(pixels), at_once):
        images = input_current(graph, pixels[start : start + at_once], torch.float64)
        intervals = pixel_intervals(images, graph.input.unit * graph.input.max_value, timesteps)
        run = propagate(graph, intervals.float(), neurons, switching_neuron)
        logits.append(run.step_logits.mean(dim=1).numpy())
    return np.concatenate(logits)


def pixel_intervals(images: Tensor, brightest: float, timesteps: int) -> Tensor:
    """Images whose pixels are on for a whole number of T steps, at least 0, as their mean over the steps."""
    share = (
        images / brightest + 1e-9
    )  # a pixel of 2/3 is on for two of three steps, however it is rounded
    return (share * timesteps).floor() * (brightest / timesteps)
