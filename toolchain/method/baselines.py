"""The conversion methods that the paper is compared with, as changes to one layer graph.

Those of this file use the paper's integrate-and-fire neurons with soft reset (RMP, Han et al., 2020) and
differ in the source of the threshold, in v(0), in the alignment, and in later corrections;
``toolchain.method.baseline_neurons`` has those with neurons of their own. All but the averaged one run every
population for the same T, frame by frame. The first t steps of a run are then the run of t steps, so
``logits_by_timestep`` gets the logits for all T from one simulation. Exact maxima compare counts of whole
windows, so networks with exact max pooling run averaged only; frame by frame they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from toolchain.datasets import PixelSource
from toolchain.method.float_snn import (
    NeuronModel,
    NeuronState,
    batch_size,
    heaviside,
    input_current,
    integrate_and_fire,
    neuron_states,
    propagate,
    run_float_snn,
    transmit,
)
from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.passes.align_edges import align_edges
from toolchain.passes.change_timesteps import use_uniform_timesteps


def frame_by_frame(graph: LayerGraph, timesteps: int, initial_share: float = 0.5) -> LayerGraph:
    """Run every population for T steps on its sources' frames of the same step.

    With ``initial_share=0.5`` (v(0) = v_th / 2) this is QCFS on a network trained with its quantizer (Bu
    et al., 2022), and OPI on a float ANN's balanced thresholds (Bu et al., 2022, "Optimized potential
    initialization"). With 0 it is RMP with threshold balancing (Han et al., 2020).
    """
    graph = align_edges(use_uniform_timesteps(graph, timesteps), "replicate")
    return graph.with_spiking(lambda p: replace(p, initial_potential=p.threshold * initial_share))


def averaged(graph: LayerGraph, timesteps: int) -> LayerGraph:
    """Run every population for T steps with temporal averaging: QCFS+aver on QCFS networks (Table 8)."""
    return align_edges(use_uniform_timesteps(graph, timesteps), "average")


def shifted(graph: LayerGraph, timesteps: int) -> LayerGraph:
    """RTS (Deng & Gu, 2021): v(0) = 0, and v_th / 2T more current in each of the T steps.

    The shift turns the floor of the spike count into rounding. The paper also trains the ANN with ReLUs that
    clip at the threshold; here the thresholds are those of the graph.
    """
    graph = frame_by_frame(graph, timesteps, initial_share=0.0)
    return graph.with_spiking(lambda p: replace(p, bias=p.bias + p.threshold / (2 * timesteps)))


def logits_by_timestep(
    graph: LayerGraph, pixels: PixelSource, dtype: torch.dtype = torch.float32
) -> np.ndarray:
    """Logits after 1, 2, ... T steps of a frame-by-frame network, shape ``(T, B, classes)``."""
    return running_mean(run_float_snn(graph, pixels, dtype=dtype).step_logits)


@torch.no_grad()
def calibrate_biases(graph: LayerGraph, pixels: np.ndarray) -> LayerGraph:
    """Shift each bias by the mean difference between the ANN's and the SNN's activation, layer by layer.

    This is the bias part of SNNC-AP (Li et al., 2021, section 4.2). Each network reads its own earlier
    layers; those of the SNN are already calibrated.

    Args:
        pixels: unlabelled samples, ``(B, C, H, W)``.
    """
    images = input_current(graph, pixels, torch.float32)
    activations = float_activations(graph, images)
    for name, activation in activations.items():
        population = graph[name]
        assert isinstance(population, SpikingPopulation)
        if is_maximum(population):  # it follows its sources
            continue
        rate = _firing_rates(graph, images)[name]
        spiking = rate * torch.from_numpy(population.threshold).float()
        shift = (activation - spiking).mean(dim=(0, 2, 3)).double().numpy()[:, None, None]
        changed = replace(population, bias=population.bias + shift)
        populations = [changed if p is population else p for p in graph.populations]
        graph = LayerGraph.build(populations, graph.synapses)
    return graph


@torch.inference_mode()
def silence_overfired(graph: LayerGraph, pixels: PixelSource, probe_steps: int) -> np.ndarray:
    """Logits after 1 to T steps with SRP (Hao et al., 2023, "residual membrane potential").

    A first run of ``probe_steps`` finds the neurons whose membrane potential ends below 0: they fired more
    often than their input calls for. They stay silent in a second run.
    """
    probe = use_uniform_timesteps(graph, probe_steps)
    neurons = neuron_states(graph, torch.float32)
    steps = []
    at_once = batch_size(graph)
    for start in range(0, len(pixels), at_once):
        images = input_current(graph, pixels[start : start + at_once], torch.float32)
        first = propagate(probe, images, neurons)
        silent = {name: potential < 0 for name, potential in first.final_potentials.items()}
        steps.append(propagate(graph, images, neurons, _silenced(silent)).step_logits.numpy())
    return running_mean(np.concatenate(steps))


def _silenced(silent: Mapping[str, Tensor]) -> NeuronModel:
    """Soft-reset neurons of which some never fire."""

    def neuron(
        population: SpikingPopulation, state: NeuronState, current: Tensor
    ) -> tuple[Tensor, Tensor]:
        mask = silent[population.name]

        def spike(potential: Tensor, threshold: Tensor) -> Tensor:
            return heaviside(potential, threshold).masked_fill(mask, 0)

        return integrate_and_fire(population, state, current, spike)

    return neuron


@torch.inference_mode()
def float_activations(
    graph: LayerGraph, images: Tensor, *, clipped: bool = True
) -> dict[str, Tensor]:
    """Activations of the ANN whose ReLUs clip at the thresholds, or of the ANN with plain ReLUs.

    Returns:
        ``(B, C, H, W)`` by spiking population.
    """
    values = {graph.input.name: images}
    for population in graph.spiking:
        current = torch.from_numpy(population.bias).float()
        for synapse in graph.incoming(population.name):
            current = current + transmit(synapse.maps, values[synapse.source])
        activation = torch.relu(current)
        if clipped:
            activation = torch.minimum(activation, torch.from_numpy(population.threshold).float())
        values[population.name] = activation
    del values[graph.input.name]
    return values


def running_mean(step_logits: np.ndarray) -> np.ndarray:
    """Mean over the first 1, 2, ... T steps of ``(B, T, classes)``, shape ``(T, B, classes)``."""
    steps = np.arange(1, step_logits.shape[1] + 1)
    return (step_logits.cumsum(axis=1) / steps[:, None]).transpose(1, 0, 2)


def _firing_rates(graph: LayerGraph, images: Tensor) -> dict[str, Tensor]:
    """Mean spikes per step of every population over its window, ``(B, C, H, W)``."""
    rates: dict[str, Tensor] = {}

    def note(name: str, spikes: Tensor) -> None:
        rates[name] = spikes.mean(dim=1)

    propagate(graph, images, neuron_states(graph, torch.float32), on_spikes=note)
    return rates
