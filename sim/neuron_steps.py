"""Neurons of one population, step by step: what adds to a potential, what it reaches, what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from typing_extensions import assert_never

from sim.stepped import integrate_and_fire, synapse_currents
from toolchain.networks.integer_network import IntegerNetwork, IntegerReadout, IntegerSpiking


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronSteps:
    """The steps of n neurons over B samples. A readout adds up its input and never spikes.

    Attributes:
        inputs: current of each step through each synapse, by source, int64 ``(B, T, n)``.
        bias: current of each step that depends on no spike, int64 ``(n,)``.
        threshold: int64 ``(n,)``; None for a readout.
        initial: potential before the first step, int64 ``(n,)``.
        potentials: after each step, int64 ``(B, T, n)``.
        spikes: bool ``(B, T, n)``.
    """

    inputs: Mapping[str, np.ndarray]
    bias: np.ndarray
    threshold: np.ndarray | None
    initial: np.ndarray
    potentials: np.ndarray
    spikes: np.ndarray

    @property
    def currents(self) -> np.ndarray:
        """Whole input of each step, bias included, ``(B, T, n)``."""
        return self.bias + sum(self.inputs.values(), np.zeros_like(self.potentials))

    @property
    def before(self) -> np.ndarray:
        """Potential before each step, ``(B, T, n)``."""
        first = np.broadcast_to(self.initial, self.potentials[:, :1].shape)
        return np.concatenate([first, self.potentials[:, :-1]], axis=1)

    @property
    def reached(self) -> np.ndarray:
        """Potential that is compared with the threshold, ``(B, T, n)``."""
        return self.before + self.currents

    def of_samples(self, samples: Sequence[int]) -> NeuronSteps:
        """The steps of some of the samples, by position."""
        at = list(samples)
        return replace(
            self,
            inputs={source: values[at] for source, values in self.inputs.items()},
            potentials=self.potentials[at],
            spikes=self.spikes[at],
        )

    def only(self, neurons: Sequence[int]) -> NeuronSteps:
        """The steps of some of the neurons, by position."""
        at = list(neurons)
        return replace(
            self,
            inputs={source: values[..., at] for source, values in self.inputs.items()},
            bias=self.bias[at],
            threshold=None if self.threshold is None else self.threshold[at],
            initial=self.initial[at],
            potentials=self.potentials[..., at],
            spikes=self.spikes[..., at],
        )


def joined_steps(parts: Sequence[NeuronSteps]) -> NeuronSteps:
    """The steps of the same neurons over all samples, from those of consecutive batches; at least one."""
    return replace(
        parts[0],
        inputs={
            source: np.concatenate([part.inputs[source] for part in parts])
            for source in parts[0].inputs
        },
        potentials=np.concatenate([part.potentials for part in parts]),
        spikes=np.concatenate([part.spikes for part in parts]),
    )


def neuron_steps(
    network: IntegerNetwork,
    population: IntegerSpiking | IntegerReadout,
    frames: Mapping[str, np.ndarray],
) -> NeuronSteps:
    """The steps of all neurons of a population, in row-major order ``(C, H, W)``, by the stepped engine.

    Args:
        frames: values that each source sends in each of its steps, int64 ``(B, T, C, H, W)``.
    """
    window = (len(next(iter(frames.values()))), population.timesteps, *population.shape)
    inputs = {
        synapse.source: np.broadcast_to(synapse_currents(network, synapse, frames), window)
        for synapse in network.incoming(population.name)
    }
    threshold: np.ndarray | None = None
    currents = population.bias + sum(inputs.values(), np.zeros(window, np.int64))
    match population:
        case IntegerSpiking():
            spikes, potentials = integrate_and_fire(population, currents)
            threshold, initial = population.threshold, population.initial_potential
        case IntegerReadout():
            spikes, potentials = np.zeros_like(currents), np.cumsum(currents, axis=1)
            initial = np.zeros(1, np.int64)
        case _:
            assert_never(population)

    def per_neuron(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, population.shape).reshape(-1)

    def in_steps(values: np.ndarray) -> np.ndarray:
        return values.reshape(*window[:2], -1)

    return NeuronSteps(
        inputs={source: in_steps(values) for source, values in inputs.items()},
        bias=per_neuron(population.bias),
        threshold=None if threshold is None else per_neuron(threshold),
        initial=per_neuron(initial),
        potentials=in_steps(potentials),
        spikes=in_steps(spikes).astype(bool),
    )
