"""Fold every real-valued scale on the way from a source to a target into one weight per synapse."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph import InputPopulation, LayerGraph, SpikingPopulation, Synapse
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Scale,
    Shape,
    UnweightedMap,
    with_weight,
)


def fold_source_scales(graph: LayerGraph) -> LayerGraph:
    """Rewrite weights as real current per source count, so that synapses read plain integers.

    Requires: a verified layer graph.
    Ensures: every synapse holds exactly one weighted map and otherwise sum pools; its weight contains
        alpha_src, the 1/T_src of averaging (Eq. 12), the input's unit, and all pool divisors.
    Refuses: two weighted maps in one synapse; per-neuron thresholds in front of a convolution.
    """
    folded = [replace(s, maps=_fold(graph, s)) for s in graph.synapses]
    return LayerGraph.build(graph.populations, folded)


def _fold(graph: LayerGraph, synapse: Synapse) -> tuple[LinearMap, ...]:
    source = graph[synapse.source]
    scale = _value_of_one_count(graph, synapse)  # per channel, walks forward to the weighted map
    weighted: Convolution | Dense | Scale | None = None
    before: list[LinearMap] = []
    after: list[LinearMap] = []
    shape = source.shape
    for linear_map in synapse.maps:
        if isinstance(linear_map, UnweightedMap):
            scale = scale / linear_map.divisor
            pools = before if weighted is None else after
            pools.append(linear_map.without_divisor())
        elif isinstance(linear_map, Scale):
            scale = scale * linear_map.weight
        else:
            if weighted is not None:
                raise UnsupportedNetworkError(
                    f"{synapse}: two weighted maps follow each other with no spiking population "
                    f"between; merge them into one, or put a quantizer between them"
                )
            weighted = _scale_input(linear_map, scale, shape)
            scale = np.ones(linear_map.output_shape(shape)[0])
        shape = linear_map.output_shape(shape)
    if weighted is None:
        weighted = Scale(weight=scale)
    elif isinstance(weighted, Convolution):
        weighted = with_weight(weighted, weighted.weight * scale[:, None, None, None])
    else:
        assert isinstance(weighted, Dense)
        weighted = with_weight(weighted, weighted.weight * scale[:, None])
    return (*before, weighted, *after)


def _value_of_one_count(graph: LayerGraph, synapse: Synapse) -> np.ndarray:
    """Real value of one spike (one pixel step) of the source, shape ``(channels,)``."""
    source = graph[synapse.source]
    channels = source.shape[0]
    if isinstance(source, InputPopulation):
        return np.full(channels, source.unit)
    assert isinstance(source, SpikingPopulation)
    threshold = source.threshold
    if threshold.shape[1:] != (1, 1):
        raise UnsupportedNetworkError(
            f"{synapse}: the source's thresholds differ within a channel, which no weight can "
            f"carry; calibrate thresholds per channel"
        )
    steps = source.timesteps if synapse.alignment == "average" else 1
    return np.broadcast_to(threshold.reshape(-1), channels) / steps


def _scale_input(
    linear_map: Convolution | Dense, scale: np.ndarray, shape: Shape
) -> Convolution | Dense:
    if isinstance(linear_map, Dense):
        return with_weight(linear_map, linear_map.weight * np.repeat(scale, prod(shape[1:])))
    out, per_group = linear_map.weight.shape[:2]
    group = np.arange(out) // (out // linear_map.groups)
    inputs = group[:, None] * per_group + np.arange(per_group)
    return with_weight(linear_map, linear_map.weight * scale[inputs][..., None, None])
