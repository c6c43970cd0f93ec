"""Which activations share one T and one clipping level, because exact maxima compare their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.networks.layer_graph.maximum import (
    compared_populations,
    is_maximum,
    keep_their_channels,
)


@dataclass(frozen=True, kw_only=True)
class ActivationGroup:
    """Activations with one T, and the maxima of their counts.

    Attributes:
        activations: populations of the trained network, nearly always one.
        maxima: populations that exact max pooling of them needs.
        per_channel: whether each channel may have a clipping level of its own.
    """

    activations: tuple[str, ...]
    maxima: tuple[str, ...] = ()
    per_channel: bool = True

    @property
    def name(self) -> str:
        return self.activations[0]

    @property
    def populations(self) -> tuple[str, ...]:
        return self.activations + self.maxima


def activation_groups(graph: LayerGraph) -> tuple[ActivationGroup, ...]:
    """The activations of a network in topological order, together with what they are compared with."""
    groups = []
    for compared in compared_populations(graph):
        activations = tuple(p.name for p in compared if not is_maximum(p))
        maxima = tuple(p.name for p in compared if is_maximum(p))
        per_channel = keep_their_channels(graph, compared)
        groups.append(
            ActivationGroup(activations=activations, maxima=maxima, per_channel=per_channel)
        )
    grouped = {name for group in groups for name in group.populations}
    groups += [
        ActivationGroup(activations=(p.name,)) for p in graph.spiking if p.name not in grouped
    ]
    position = {p.name: at for at, p in enumerate(graph.spiking)}
    return tuple(sorted(groups, key=lambda group: position[group.name]))


def mean_timesteps(groups: tuple[ActivationGroup, ...], timesteps: Mapping[str, int]) -> float:
    """Mean T over the activations, as ``train --mean-timesteps`` limits it; maxima do not count."""
    steps = [timesteps[group.name] for group in groups for _ in group.activations]
    return sum(steps) / len(steps)


def with_levels(
    graph: LayerGraph,
    groups: tuple[ActivationGroup, ...],
    timesteps: Mapping[str, int],
    clipping: Mapping[str, np.ndarray],
) -> LayerGraph:
    """Give each group its T and clipping level, and its neurons v(0) = v_th / 2.

    Args:
        timesteps: by name of the group.
        clipping: by name of the group, shape ``(channels, 1, 1)`` or ``(1, 1, 1)``.
    """
    group_of = {name: group.name for group in groups for name in group.populations}

    def change(population: SpikingPopulation) -> SpikingPopulation:
        level = clipping[group_of[population.name]]
        return replace(
            population,
            timesteps=timesteps[group_of[population.name]],
            threshold=level.copy(),
            initial_potential=level / 2,
        )

    return graph.with_spiking(change)
