"""What populations of the role ``maximum`` rely on: counts of one scale, compared after a whole window."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
from typing_extensions import assert_never

from toolchain.networks.layer_graph.graph import LayerGraph, PopulationGraph
from toolchain.networks.layer_graph.populations import (
    ALIGNMENT_METHODS,
    AlignmentMethod,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.layer_graph.structure import require
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
)

REMEDY = "train with --max-pool average"


def is_maximum(population: Any) -> bool:
    """Whether a population of a float or integer network computes a maximum of counts."""
    return population.kind == "spiking" and population.role == "maximum"


def possible_alignments(
    network: PopulationGraph[Any, Any, Any, Any], name: str
) -> tuple[AlignmentMethod, ...]:
    """Alignments that the synapses into a population can have: a part of a maximum is averaged."""
    around = [network[name], *(network[s.source] for s in network.incoming(name))]
    return ("average",) if any(is_maximum(p) for p in around) else ALIGNMENT_METHODS


def compared_populations(graph: LayerGraph) -> list[list[SpikingPopulation]]:
    """Groups of populations whose counts are compared with each other, maxima included, sources first."""
    compared = nx.Graph((s.source, s.target) for s in graph.synapses if is_maximum(graph[s.target]))
    groups = [set(group) for group in nx.connected_components(compared)]
    return [[p for p in graph.spiking if p.name in group] for group in groups]


def keep_their_channels(graph: LayerGraph, group: list[SpikingPopulation]) -> bool:
    """Whether the populations of a group are compared channel by channel, each with its own index."""
    names = {p.name for p in group}
    for synapse in graph.synapses:
        if {synapse.source, synapse.target} <= names and is_maximum(graph[synapse.target]):
            indices = np.arange(graph[synapse.source].shape[0], dtype=float)
            reached = _thresholds_behind(synapse, indices)
            own = np.arange(len(reached))
            if not (np.isnan(reached) | (reached == own)).all():
                return False
    return len({p.shape[0] for p in group}) == 1


def verify_maxima(graph: LayerGraph) -> None:
    """Check that each population with the role ``maximum`` can compare the counts of its sources.

    Raises:
        UnsupportedNetworkError: a bias; sources of other thresholds or timesteps, or that do not spike; an
            alignment other than average, with which single frames and not counts arrive.
    """
    for synapse in graph.synapses:
        for name in (synapse.target, synapse.source):
            require(
                not is_maximum(graph[name]) or synapse.alignment == "average",
                f"{synapse.source} -> {synapse.target}: {name} is part of an exact maximum, which compares "
                f"counts of whole windows, so the alignment must be average, not {synapse.alignment}; use "
                f"average, or {REMEDY}",
            )
    for population in graph.spiking:
        if is_maximum(population):
            _verify_maximum(graph, population)


def _verify_maximum(graph: LayerGraph, population: SpikingPopulation) -> None:
    name, steps = population.name, population.timesteps
    require(
        not population.bias.any(),
        f"{name}: an exact maximum has no bias, not one of up to {np.abs(population.bias).max():g}",
    )
    own = _per_channel(population)
    for synapse in graph.incoming(name):
        source = graph[synapse.source]
        require(
            isinstance(source, SpikingPopulation),
            f"{name}: an exact maximum compares counts of spikes, but {synapse.source} is no spiking "
            f"population; {REMEDY}",
        )
        assert isinstance(source, SpikingPopulation)
        require(
            source.timesteps == steps,
            f"{name}: an exact maximum compares counts of equally many timesteps, but {source.name} has "
            f"{source.timesteps} and {name} {steps}; give them one T, or {REMEDY}",
        )
        reaching = _thresholds_behind(synapse, _per_channel(source))
        other = ~np.isnan(reaching) & (np.abs(reaching - own) > 1e-9 * own)
        require(
            not other.any(),
            f"{name}: an exact maximum compares counts of one scale, but thresholds of up to "
            f"{float(np.nanmax(reaching)):g} reach it from {source.name} and its own is "
            f"{float(own.max()):g}; give them one threshold, or {REMEDY}",
        )


def _per_channel(population: SpikingPopulation) -> np.ndarray:
    """Threshold of each channel, float64 ``(channels,)``."""
    flat = population.threshold.reshape(population.threshold.shape[0], -1)
    require(
        bool((flat == flat[:, :1]).all()),
        f"{population.name}: thresholds that differ within a channel cannot be compared in an exact maximum; "
        f"calibrate with one threshold per channel or layer, or {REMEDY}",
    )
    return np.broadcast_to(flat[:, 0], population.shape[0]).astype(float)


def _thresholds_behind(synapse: Synapse, thresholds: np.ndarray) -> np.ndarray:
    """Threshold of the source channels that each target channel reads; NaN for none.

    Where a map mixes channels of different thresholds, infinity: there is no one scale.
    """
    for linear_map in synapse.maps:
        thresholds = _behind_map(linear_map, thresholds)
    return thresholds


def _behind_map(linear_map: LinearMap, thresholds: np.ndarray) -> np.ndarray:
    match linear_map:
        case AveragePool() | SumPool() | Resample() | SelectChannels():
            sources = linear_map.channel_sources(len(thresholds))
            return np.where(sources >= 0, thresholds[sources], np.nan)
        case Scale():
            return thresholds
        case Convolution() | Dense():
            groups = linear_map.groups if isinstance(linear_map, Convolution) else 1
            inputs = thresholds.reshape(groups, -1)
            one = np.nanmax(inputs, axis=1) if not np.isnan(inputs).all() else inputs[:, 0]
            mixed = (~np.isnan(inputs) & (inputs != one[:, None])).any(axis=1)
            return np.repeat(np.where(mixed, np.inf, one), len(linear_map.weight) // groups)
        case _:
            assert_never(linear_map)
