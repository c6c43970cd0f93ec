"""What must hold for every layer graph, checked on load and between passes."""

from __future__ import annotations

from math import prod

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

# Far outside of what any network needs, and near enough that products and sums of three of them stay
# finite in float32 and their quotients nonzero.
LARGEST_VALUE = 1e12
SMALLEST_SCALE = 1e-12  # of a threshold and of the input's unit
MAX_TIMESTEPS = 65_536  # a firing window longer than any in use
MAX_PIXEL = 2**24  # the integers that float32 holds exactly
MAX_NEURONS = 2**27  # of one population


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
            prod(population.shape) <= MAX_NEURONS,
            f"{name}: shape {population.shape} has {prod(population.shape):,} neurons, above the limit of "
            f"{MAX_NEURONS:,}",
        )
        _require(
            isinstance(population.timesteps, int) and 1 <= population.timesteps <= MAX_TIMESTEPS,
            f"{name}: timesteps must be an integer from 1 to {MAX_TIMESTEPS:,}, not {population.timesteps}",
        )
        incoming, outgoing = graph.incoming(name), graph.outgoing(name)
        match population:
            case InputPopulation():
                _require(
                    1 <= population.max_value <= MAX_PIXEL,
                    f"{name}: max_value must be from 1 to {MAX_PIXEL:,}, not {population.max_value}",
                )
                _require(
                    SMALLEST_SCALE <= population.unit <= LARGEST_VALUE,
                    f"{name}: unit must be from {SMALLEST_SCALE:g} to {LARGEST_VALUE:g}, not "
                    f"{population.unit:g}",
                )
            case SpikingPopulation():
                _check_neurons(population)
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
                _check_magnitude(f"{synapse}: weight", linear_map.weight)
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
    _check_magnitude(f"{name}: {field}", values)


def _check_magnitude(what: str, values: np.ndarray) -> None:
    _require(bool(np.isfinite(values).all()), f"{what} must be finite, but holds NaN or infinity")
    largest = float(np.abs(values).max())
    _require(
        largest <= LARGEST_VALUE,
        f"{what} must be at most {LARGEST_VALUE:g} in magnitude, not {largest:g}",
    )


def _check_neurons(population: SpikingPopulation) -> None:
    """Threshold and v(0), which lies in ``[0, threshold)`` where the closed form of the count holds."""
    name, threshold, start = population.name, population.threshold, population.initial_potential
    _check_values(name, "threshold", threshold, population.shape)
    _check_values(name, "initial_potential", start, population.shape)
    smallest = float(threshold.min())
    _require(smallest > 0, f"{name}: threshold must be positive, not {smallest:g}")
    _require(
        smallest >= SMALLEST_SCALE,
        f"{name}: threshold must be at least {SMALLEST_SCALE:g}, not {smallest:g}",
    )
    _require(
        bool((start >= 0).all()),
        f"{name}: initial_potential must be at least 0, not {float(start.min()):g}",
    )
    share = start / threshold
    _require(
        bool((start < threshold).all()),
        f"{name}: initial_potential must be below the threshold, not {float(share.max()):g} times it",
    )
