"""Fold every real-valued scale between a source and its target into one weight per synapse."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph import InputPopulation, LayerGraph, SpikingPopulation, Synapse
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    with_weight,
)


def fold_source_scales(graph: LayerGraph) -> LayerGraph:
    """Rewrite weights as real current per source count, so that synapses read plain integers.

    Requires: a verified layer graph.
    Ensures: every synapse holds exactly one weighted map and otherwise sum pools; its weight contains
        alpha_src, the 1/T_src of averaging (Eq. 12), the input's unit, and all pool divisors.
    Refuses: two weighted maps in one synapse; source thresholds that differ within a channel.
    """
    folded = [replace(s, maps=_fold(graph, s)) for s in graph.synapses]
    return LayerGraph.build(graph.populations, folded)


def _fold(graph: LayerGraph, synapse: Synapse) -> tuple[LinearMap, ...]:
    scale = _value_of_one_count(graph, synapse)  # per channel, not yet in a weight
    weighted: Convolution | Dense | None = None
    before: list[LinearMap] = []
    after: list[LinearMap] = []
    shape = graph[synapse.source].shape
    for linear_map in synapse.maps:
        match linear_map:
            case AveragePool() | SumPool() | Resample() | SelectChannels():
                scale = scale[linear_map.channel_sources(len(scale))] / linear_map.divisor
                pools = before if weighted is None else after
                pools.append(linear_map.without_divisor())
            case Scale(weight=weight):
                scale = scale * weight
            case Convolution() | Dense():
                if weighted is not None:
                    raise UnsupportedNetworkError(
                        f"{synapse}: two weighted maps follow each other with no spiking population "
                        f"between; merge them into one, or put a quantizer between them"
                    )
                weighted = _scale_input(linear_map, scale, shape)
                scale = np.ones(linear_map.output_shape(shape)[0])
            case _:
                assert_never(linear_map)
        shape = linear_map.output_shape(shape)
    if weighted is None:
        return (*before, Scale(weight=scale), *after)
    per_output = scale.reshape(-1, *[1] * (weighted.weight.ndim - 1))
    return (*before, with_weight(weighted, weighted.weight * per_output), *after)


def _value_of_one_count(graph: LayerGraph, synapse: Synapse) -> np.ndarray:
    """Real value of one spike of the source, or of one step of a pixel, shape ``(channels,)``."""
    source = graph[synapse.source]
    channels = source.shape[0]
    if isinstance(source, InputPopulation):
        return np.full(channels, source.unit)
    assert isinstance(source, SpikingPopulation)
    threshold = source.threshold
    if threshold.shape[1:] != (1, 1):
        raise UnsupportedNetworkError(
            f"{synapse}: the source's thresholds differ within a channel, which has one weight; calibrate "
            f"with one threshold per channel"
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
