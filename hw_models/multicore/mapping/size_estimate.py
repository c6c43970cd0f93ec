"""Whether a network can fit a target at all, from the shapes of its maps, before it is lowered.

The cores are counted for a network of the same shapes whose weights take as few bits as a core can store.
A weight is taken to be there only if one look at its channel finds a number other than 0, so hardly any
weight is read. Every tile that fits with the weights' real width fits with this one, so the estimate is not
above the exact number, and a network that is far too large is refused in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from hw_models.multicore.mapping.core_profiles import FEWEST_WEIGHT_BITS
from hw_models.multicore.mapping.core_resources import NetworkOnTarget
from hw_models.multicore.mapping.partition import (
    all_grids,
    missing_cores,
    total_cores,
    what_would_fit,
)
from hw_models.multicore.pipeline.provisioning import Replicas, uniform_provisioning
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Scale,
    Shape,
    WeightedMap,
    with_weight,
)

MANY_WEIGHTS = 2**24
"""Weights from which on lowering takes so long that the size is estimated first."""

_MOST_READ = 2**22
"""Weights of the largest map of whose outputs one weight each is read, and with it a page of the file."""


def check_size(
    graph: LayerGraph, target: TargetDescription, slots: int, replicas: Replicas | None = None
) -> None:
    """Refuse a network with many weights that surely does not fit a target.

    Args:
        graph: its weights are hardly read, and may be mapped from a file.
        slots: D of each buffer, per replica of its target.

    Raises:
        MappingError: the message says how many cores are missing at least, and what would fit.
    """
    weights = (m.weight.size for s in graph.synapses for m in s.maps if isinstance(m, WeightedMap))
    if sum(weights) < MANY_WEIGHTS:
        return
    network = _of_shapes(graph, _seen)
    provisioning = uniform_provisioning(network, slots, replicas)
    context = NetworkOnTarget(network, target, provisioning, FEWEST_WEIGHT_BITS)
    num_cores = context.num_cores(all_grids(context))
    fewest = sum(num_cores.values())
    if fewest <= target.num_cores:
        return
    most = NetworkOnTarget(
        _of_shapes(graph, _all_ones), target, provisioning, target.widths.weight_bits
    )
    remedy = what_would_fit(most, total_cores(most, all_grids(most)))
    raise MappingError(
        f"the network needs at least {fewest:,} cores, {missing_cores(target, fewest)}; {remedy}",
        num_cores,
        remedy,
    )


_Weights: TypeAlias = Callable[[Convolution | Dense], np.ndarray]
"""Weights 0 and 1 in place of those of a map, int8."""


def _of_shapes(graph: LayerGraph, weights: _Weights) -> IntegerNetwork:
    """A network with the shapes of a graph. It averages."""
    populations: list[IntegerPopulation] = []
    for population in graph.populations:
        name, shape = population.name, population.shape
        one, nothing = (np.full((1, 1, 1), value, np.int64) for value in (1, 0))
        match population:
            case InputPopulation(max_value=largest):
                populations.append(
                    IntegerInput(name=name, shape=shape, max_value=largest, unit=1.0)
                )
            case SpikingPopulation(timesteps=steps):
                populations.append(
                    IntegerSpiking(
                        name=name,
                        shape=shape,
                        timesteps=steps,
                        threshold=one,
                        initial_potential=nothing,
                        bias=nothing,
                    )
                )
            case ReadoutPopulation():
                populations.append(IntegerReadout(name=name, shape=shape, bias=nothing, unit=1.0))
    synapses = [
        IntegerSynapse.of_maps(
            source=s.source,
            target=s.target,
            maps=_maps_of_shapes(s, graph[s.source].shape, weights),
            exponent=0,
        )
        for s in graph.synapses
    ]
    return IntegerNetwork.build(populations, synapses)


def _maps_of_shapes(synapse: Synapse, shape: Shape, weights: _Weights) -> list[LinearMap]:
    """The maps with weights of 0 and 1; one map holds the scales of all others, as after lowering."""
    scales = [m for m in synapse.maps if isinstance(m, Scale)]
    has_weight = any(isinstance(m, Convolution | Dense) for m in synapse.maps)
    maps: list[LinearMap] = []
    if not has_weight and not scales:
        maps.append(Scale(weight=np.broadcast_to(np.int8(1), shape[0])))
    for linear_map in synapse.maps:
        if isinstance(linear_map, Convolution | Dense):
            maps.append(with_weight(linear_map, weights(linear_map)))
        elif not isinstance(linear_map, Scale):
            maps.append(linear_map.without_divisor())
        elif not has_weight and linear_map is scales[0]:
            maps.append(with_weight(linear_map, (linear_map.weight != 0).astype(np.int8)))
    return maps


def _all_ones(linear_map: Convolution | Dense) -> np.ndarray:
    return np.broadcast_to(np.int8(1), linear_map.weight.shape)


def _seen(linear_map: Convolution | Dense) -> np.ndarray:
    """1 where the first weight of the same output, and that of the same input and tap, are not 0; int8."""
    weight = linear_map.weight
    groups = linear_map.groups if isinstance(linear_map, Convolution) else 1
    each = len(weight) // groups
    outputs = np.ones(len(weight), bool)
    if weight.size <= _MOST_READ:
        outputs = weight.reshape(len(weight), -1)[:, 0] != 0
    inputs = weight[::each] != 0  # the first output of each group
    if inputs.all() and outputs.all():
        return _all_ones(linear_map)
    of_output = outputs.reshape(-1, *[1] * (weight.ndim - 1))
    return (of_output & inputs.repeat(each, axis=0)).astype(np.int8)
