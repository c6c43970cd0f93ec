"""Checks that float and integer networks share: names, sizes, connections and shapes."""

from __future__ import annotations

from dataclasses import fields
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph.graph import PopulationGraph
from toolchain.networks.layer_graph.map_sizes import check_accumulations, verify_map_sizes
from toolchain.networks.layer_graph.populations import ALIGNMENT_METHODS
from toolchain.networks.limits import MAX_NEURONS, MAX_PIXEL, MAX_TIMESTEPS
from toolchain.networks.linear_maps import (
    LinearMap,
    Resample,
    SelectChannels,
    chain_output_shape,
)

MAX_REPEATS = 2**16  # how often resampling adds one row or column


def verify_structure(network: PopulationGraph[Any, Any, Any, Any]) -> None:
    """Check all that does not depend on the type of weights and thresholds.

    Raises:
        UnsupportedNetworkError: naming the population or synapse, the field, and what it must be.
    """
    image, readout = network.input, network.readout
    for population in network.populations:
        name, shape, incoming = population.name, population.shape, network.incoming(population.name)
        _require_printable("population", name)
        require(
            all(isinstance(n, int) and n >= 1 for n in shape),
            f"{name}: shape must be three positive integers, not {shape}",
        )
        require(
            prod(shape) <= MAX_NEURONS,
            f"{name}: shape {shape} has {prod(shape):,} neurons, above the limit of {MAX_NEURONS:,}",
        )
        require(
            isinstance(population.timesteps, int) and 1 <= population.timesteps <= MAX_TIMESTEPS,
            f"{name}: timesteps must be an integer from 1 to {MAX_TIMESTEPS:,}, not {population.timesteps}",
        )
        for field in fields(population):
            values = getattr(population, field.name)
            require(
                not isinstance(values, np.ndarray) or _broadcasts(values, shape),
                f"{name}: {field.name} of shape {np.shape(values)} does not broadcast to {shape}",
            )
        if population is image:
            require(not incoming, f"{name}: the input population must have no incoming synapse")
            require(
                1 <= image.max_value <= MAX_PIXEL,
                f"{name}: max_value must be from 1 to {MAX_PIXEL:,}, not {image.max_value}",
            )
            continue
        require(bool(incoming), f"{name}: no synapse reaches this population")
        require(
            len({s.alignment for s in incoming}) == 1,
            f"{name}: all synapses into one population must use the same alignment, "
            f"not {', '.join(f'{s.source}: {s.alignment}' for s in incoming)}",
        )
    _verify_outputs(readout)
    require(
        not network.outgoing(readout.name),
        f"{readout.name}: the readout population must have no outgoing synapse",
    )
    accumulations = 0
    for synapse in network.synapses:
        _verify_synapse(network, synapse)
        accumulations += _checked_accumulations(network, synapse)
        check_accumulations(accumulations)


def _require_printable(kind: str, name: str) -> None:
    """Names from a file are shown in terminals, where a control character could do anything."""
    require(
        name.isprintable(),
        f"name of {kind} {name!r:.100} must be printable characters; rename its layer",
    )


def _verify_outputs(readout: Any) -> None:
    """Check that several outputs of the readout have unique names and share its channels."""
    channels, height, width = readout.shape
    names = [output.name for output in readout.outputs]
    require(
        len(set(names)) == len(names),
        f"{readout.name}: each output must have its own name, not {', '.join(names)}",
    )
    start = 0
    for output in readout.outputs:
        _require_printable("output", output.name)
        require(
            output.start == start < output.stop,
            f"{readout.name}: output {output.name} must have at least one channel and start at channel "
            f"{start}, where the output before it stops; it has channels {output.start}:{output.stop}",
        )
        require(
            1 <= output.height <= height and 1 <= output.width <= width,
            f"{readout.name}: output {output.name} of {output.height}x{output.width} does not fit the "
            f"readout's maps of {height}x{width}",
        )
        start = output.stop
    require(
        not names or start == channels,
        f"{readout.name}: the outputs have {start} channels, but the readout has {channels}",
    )


def _verify_synapse(network: PopulationGraph[Any, Any, Any, Any], synapse: Any) -> None:
    for linear_map in synapse.maps:
        require(
            isinstance(linear_map, LinearMap),
            f"{synapse.source} -> {synapse.target}: {type(linear_map).__name__} is not a linear map",
        )
        _verify_indices(synapse, linear_map)
    require(
        synapse.alignment in ALIGNMENT_METHODS,
        f"{synapse}: alignment must be one of {', '.join(ALIGNMENT_METHODS)}",
    )
    try:
        shape = chain_output_shape(synapse.maps, network[synapse.source].shape)
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{synapse}: {error}") from None
    wanted = network[synapse.target].shape
    require(
        shape == wanted, f"{synapse}: gives shape {shape}, but the target population has {wanted}"
    )


def _checked_accumulations(network: PopulationGraph[Any, Any, Any, Any], synapse: Any) -> int:
    try:
        return verify_map_sizes(synapse.maps, network[synapse.source].shape)
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{synapse}: {error}") from None


def _verify_indices(synapse: Any, linear_map: LinearMap) -> None:
    match linear_map:
        case Resample(rows=rows, columns=columns):
            for matrix in (rows, columns):
                require(
                    matrix.dtype == np.int64
                    and bool((matrix >= 0).all() & (matrix <= MAX_REPEATS).all()),
                    f"{synapse}: its rows and columns must be added up to {MAX_REPEATS:,} times each, as "
                    f"int64; overlapping pools in a row multiply these numbers: leave some out",
                )
        case SelectChannels(channels=channels):
            require(
                channels.dtype == np.int64 and bool((channels >= -1).all()),
                f"{synapse}: channels must be int64 of at least -1",
            )


def require(condition: bool, message: str) -> None:
    """Raise UnsupportedNetworkError with a message unless a condition holds."""
    if not condition:
        raise UnsupportedNetworkError(message)


def _broadcasts(values: np.ndarray, shape: tuple[int, ...]) -> bool:
    try:
        return values.ndim == 3 and np.broadcast_shapes(values.shape, shape) == shape
    except ValueError:
        return False
