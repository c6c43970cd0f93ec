"""Merge the linear maps of each synapse into one with a weight."""

from __future__ import annotations

from dataclasses import replace

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph import LayerGraph, Synapse
from toolchain.networks.linear_maps import LinearMap
from toolchain.networks.map_algebra import merged_in_series


def merge_linear_maps(graph: LayerGraph) -> LayerGraph:
    """Give every synapse at most one map with a weight.

    Requires: a verified layer graph.
    Ensures: maps without a weight, at most one with a weight, and more without; at most one target channel
        reads each row of the weight. Values change by rounding at most.
    Refuses: maps that no single weight of reasonable size replaces, such as two convolutions with padding.
    """
    merged = [replace(s, maps=_merged(graph, s)) for s in graph.synapses]
    return LayerGraph.build(graph.populations, merged)


def _merged(graph: LayerGraph, synapse: Synapse) -> tuple[LinearMap, ...]:
    try:
        return merged_in_series(synapse.maps, graph[synapse.source].shape)
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{synapse.source} -> {synapse.target}: {error}") from None
