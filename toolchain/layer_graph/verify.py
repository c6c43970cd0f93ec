"""What must hold for every layer graph, checked on load and between passes."""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.layer_graph.graph import LayerGraph
from toolchain.layer_graph.populations import (
    ALIGNMENT_METHODS,
    InputPopulation,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.linear_maps import LinearMap, Shape, WeightedMap, chain_output_shape


def verify_layer_graph(graph: LayerGraph) -> LayerGraph:
    """Check structure, shapes and values; return the graph unchanged.

    Raises:
        UnsupportedNetworkError: naming the population or synapse, the field, and what it must be.
    """
    if not isinstance(graph, LayerGraph):
        raise TypeError(f"must be a LayerGraph, not {type(graph).__name__}")
    image, readout = graph.input, graph.readout
    _require(
        not graph.incoming(image.name),
        f"{image.name}: the input population must have no incoming synapse",
    )
    _require(
        not graph.outgoing(readout.name),
        f"{readout.name}: the readout population must have no outgoing synapse",
    )
    for population in graph.populations:
        name = population.name
        _require(
            all(isinstance(n, int) and n >= 1 for n in population.shape),
            f"{name}: shape must be three positive integers, not {population.shape}",
        )
        _require(
            isinstance(population.timesteps, int) and population.timesteps >= 1,
            f"{name}: timesteps must be an integer of at least 1, not {population.timesteps}",
        )
        incoming, outgoing = graph.incoming(name), graph.outgoing(name)
        match population:
            case InputPopulation():
                _require(
                    population.max_value >= 1
                    and np.isfinite(population.unit)
                    and population.unit > 0,
                    f"{name}: max_value must be at least 1 and unit positive, "
                    f"not {population.max_value} and {population.unit}",
                )
            case SpikingPopulation():
                _check_values(name, "threshold", population.threshold, population.shape)
                _check_values(
                    name, "initial_potential", population.initial_potential, population.shape
                )
                _require(
                    bool(np.all(population.threshold > 0)),
                    f"{name}: threshold must be positive, not {population.threshold.min():g}",
                )
            case ReadoutPopulation():
                pass
            case _:
                assert_never(population)
        if not isinstance(population, InputPopulation):
            _check_values(name, "bias", population.bias, population.shape)
            _require(bool(incoming), f"{name}: no synapse reaches this population")
            _require(
                len({s.alignment for s in incoming}) == 1,
                f"{name}: all synapses into one population must use the same alignment, "
                f"not {', '.join(f'{s.source}: {s.alignment}' for s in incoming)}",
            )
        if population is not readout:
            _require(bool(outgoing), f"{name}: nothing reads this population; remove it")
    for synapse in graph.synapses:
        for linear_map in synapse.maps:
            _require(
                isinstance(linear_map, LinearMap),
                f"{synapse.source} -> {synapse.target}: {type(linear_map).__name__} is no linear map of a "
                f"layer graph",
            )
        _require(
            synapse.alignment in ALIGNMENT_METHODS,
            f"{synapse}: alignment must be one of {', '.join(ALIGNMENT_METHODS)}",
        )
        for linear_map in synapse.maps:
            if isinstance(linear_map, WeightedMap):
                _require(
                    bool(np.all(np.isfinite(linear_map.weight))),
                    f"{synapse}: weight must be finite, but holds NaN or infinity",
                )
        try:
            shape = chain_output_shape(synapse.maps, graph[synapse.source].shape)
        except UnsupportedNetworkError as error:
            raise UnsupportedNetworkError(f"{synapse}: {error}") from None
        _require(
            shape == graph[synapse.target].shape,
            f"{synapse}: gives shape {shape}, but the target population has {graph[synapse.target].shape}",
        )
    return graph


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UnsupportedNetworkError(message)


def _check_values(name: str, field: str, values: np.ndarray, shape: Shape) -> None:
    try:
        fits = np.broadcast_shapes(values.shape, shape) == shape and values.ndim == 3
    except ValueError:
        fits = False
    _require(fits, f"{name}: {field} of shape {values.shape} does not broadcast to {shape}")
    _require(bool(np.all(np.isfinite(values))), f"{name}: {field} must be finite")
