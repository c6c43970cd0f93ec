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
    UnweightedMap,
    WeightedMap,
    chain_output_shape,
    with_weight,
)


def fold_source_scales(graph: LayerGraph) -> LayerGraph:
    """Rewrite weights as real current per source count, so that synapses read plain integers.

    Requires: the result of ``merge_linear_maps``.
    Ensures: every synapse holds one weighted map among maps of integers; its weight contains alpha_src,
        the 1/T_src of averaging (Eq. 12), the input's unit, and all divisors.
    Refuses: source thresholds that differ within a channel.
    """
    folded = [replace(s, maps=_fold(graph, s)) for s in graph.synapses]
    return LayerGraph.build(graph.populations, folded)


def _fold(graph: LayerGraph, synapse: Synapse) -> tuple[LinearMap, ...]:
    maps = _with_weight(synapse.maps, graph[synapse.source].shape[0])
    scale = _value_of_one_count(graph, synapse)  # of each channel that the next map reads
    folded: list[LinearMap] = []
    for at, linear_map in enumerate(maps):
        match linear_map:
            case AveragePool() | SumPool() | Resample() | SelectChannels():
                sources = linear_map.channel_sources(len(scale))
                scale = np.where(sources >= 0, scale[sources], 0) / linear_map.divisor
                folded.append(linear_map.without_divisor())
            case Convolution() | Dense() | Scale():
                shape = chain_output_shape(folded, graph[synapse.source].shape)
                after = maps[at + 1 :]
                assert all(isinstance(m, UnweightedMap) for m in after), f"{synapse}: two weights"
                weight = _scaled_inputs(linear_map, scale, shape)
                weight /= prod(m.divisor for m in after if isinstance(m, UnweightedMap))
                folded.append(with_weight(linear_map, weight))
                scale = np.ones(linear_map.output_shape(shape)[0])
            case _:
                assert_never(linear_map)
    return tuple(folded)


def _with_weight(maps: tuple[LinearMap, ...], channels: int) -> tuple[LinearMap, ...]:
    """A chain with a scale of ones if it holds no weight.

    The scale is last, or in front of a selection that adds channels of zeros and repeats none.

    Args:
        channels: of the source.
    """
    if any(isinstance(m, WeightedMap) for m in maps):
        return maps
    sizes = [channels]
    for linear_map in maps:
        assert isinstance(linear_map, UnweightedMap)
        sizes.append(len(linear_map.channel_sources(sizes[-1])))
    at = len(maps)
    if maps and isinstance(maps[-1], SelectChannels):
        read = maps[-1].channels[maps[-1].channels >= 0]
        at -= len(np.unique(read)) == len(read) < len(maps[-1].channels)
    return (*maps[:at], Scale(weight=np.ones(sizes[at])), *maps[at:])


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


def _scaled_inputs(linear_map: WeightedMap, scale: np.ndarray, shape: Shape) -> np.ndarray:
    """The weight with one factor per channel that it reads.

    Args:
        shape: of the feature map that it reads.
    """
    weight = linear_map.weight
    match linear_map:
        case Scale():
            return weight * scale
        case Dense():
            return weight * np.repeat(scale, prod(shape[1:]))
        case Convolution(groups=groups):
            out, per_group = weight.shape[:2]
            group = np.arange(out) // (out // groups)
            inputs = group[:, None] * per_group + np.arange(per_group)
            return weight * scale[inputs][..., None, None]
        case _:
            assert_never(linear_map)
