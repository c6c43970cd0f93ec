"""Checks of every layer graph, made on load and between passes."""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from toolchain.networks.layer_graph.graph import LayerGraph
from toolchain.networks.layer_graph.maximum import verify_maxima
from toolchain.networks.layer_graph.populations import (
    InputPopulation,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.networks.layer_graph.structure import require, verify_structure
from toolchain.networks.linear_maps import WeightedMap

# No network needs values outside these limits. Products and sums of three values within them stay finite
# in float32, and quotients nonzero.
LARGEST_VALUE = 1e12
SMALLEST_SCALE = 1e-12  # of a threshold and of the input's unit


def verify_layer_graph(graph: LayerGraph) -> LayerGraph:
    """Check structure, shapes and values; return the graph unchanged.

    Raises:
        UnsupportedNetworkError: naming the population or synapse, the field, and what it must be.
    """
    if not isinstance(graph, LayerGraph):
        raise TypeError(f"must be a LayerGraph, not {type(graph).__name__}")
    verify_structure(graph)
    for population in graph.populations:
        match population:
            case InputPopulation(name=name, unit=unit):
                require(
                    SMALLEST_SCALE <= unit <= LARGEST_VALUE,
                    f"{name}: unit must be from {SMALLEST_SCALE:g} to {LARGEST_VALUE:g}, not {unit:g}",
                )
            case SpikingPopulation():
                _check_neurons(population)
                _check_magnitude(f"{population.name}: bias", population.bias)
                _check_integer_unit(population, population.shape[0])
            case ReadoutPopulation():
                _check_magnitude(f"{population.name}: bias", population.bias)
                _check_integer_unit(population, 1)
                continue
            case _:
                assert_never(population)
        require(
            bool(graph.outgoing(population.name)),
            f"{population.name}: nothing reads this population; remove it",
        )
    for synapse in graph.synapses:
        for linear_map in synapse.maps:
            if isinstance(linear_map, WeightedMap):
                _check_magnitude(f"{synapse}: weight", linear_map.weight)
    verify_maxima(graph)
    return graph


def _check_magnitude(what: str, values: np.ndarray) -> None:
    largest = max(float(values.max()), -float(values.min()))  # NaN if one of them is
    require(bool(np.isfinite(largest)), f"{what} must be finite, but holds NaN or infinity")
    require(
        largest <= LARGEST_VALUE,
        f"{what} must be at most {LARGEST_VALUE:g} in magnitude, not {largest:g}",
    )


def _check_integer_unit(population: SpikingPopulation | ReadoutPopulation, channels: int) -> None:
    unit, what = population.integer_unit, f"{population.name}: integer_unit"
    if unit is None:
        return
    require(
        unit.shape in ((1, 1, 1), (channels, 1, 1)),
        f"{what} must have one value"
        + (" per channel" if channels > 1 else "")
        + f", not {unit.shape}",
    )
    _check_magnitude(what, unit)
    require(bool((unit > 0).all()), f"{what} must be positive, not {float(unit.min()):g}")


def _check_neurons(population: SpikingPopulation) -> None:
    """Check the threshold and v(0): the closed form of the count needs v(0) in ``[0, threshold)``."""
    name, threshold, start = population.name, population.threshold, population.initial_potential
    _check_magnitude(f"{name}: threshold", threshold)
    _check_magnitude(f"{name}: initial_potential", start)
    smallest = float(threshold.min())
    require(smallest > 0, f"{name}: threshold must be positive, not {smallest:g}")
    require(
        smallest >= SMALLEST_SCALE,
        f"{name}: threshold must be at least {SMALLEST_SCALE:g}, not {smallest:g}",
    )
    require(
        bool((start >= 0).all()),
        f"{name}: initial_potential must be at least 0, not {float(start.min()):g}",
    )
    share = start / threshold
    require(
        bool((start < threshold).all()),
        f"{name}: initial_potential must be below the threshold, not {float(share.max()):g} times it",
    )
