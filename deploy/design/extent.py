"""Refuse networks that are too large to compile in seconds, before any work is done."""

from __future__ import annotations

from math import prod

from deploy.design.limits import (
    MOST_AXIS_PATHS,
    MOST_CHANNEL_PAIRS,
    MOST_NEURONS,
    MOST_POPULATIONS,
    MOST_SPIKES,
    MOST_SYNAPSES,
)
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph import LayerGraph, Synapse
from toolchain.networks.linear_maps import Convolution, Dense


def check_extent(graph: LayerGraph) -> None:
    """Check the numbers of populations, synapses, connections, neurons and spikes.

    Raises:
        UnsupportedNetworkError: one is above its limit in ``deploy.design.limits``.
    """
    _check(
        "the network has",
        len(graph.populations),
        MOST_POPULATIONS,
        "populations",
        "compile a part of it, or use average pools, which need no populations, for exact max pooling",
    )
    _check(
        "the network has",
        graph.digraph.number_of_edges(),
        MOST_SYNAPSES,
        "synapses",
        "compile a part of it, or join fewer layers in each concatenation",
    )
    smaller = "use a smaller input, or larger strides"
    for population in graph.populations:
        name = population.name
        _check(f"{name} has", prod(population.shape), MOST_NEURONS, "neurons", smaller)
    for synapse in graph.synapses:
        channels, *paths = _table_sizes(graph, synapse)
        _check(
            f"{synapse.source} -> {synapse.target} has",
            channels,
            MOST_CHANNEL_PAIRS,
            "pairs of channels",
            "use fewer",
        )
        for axis, number in zip(("rows", "columns"), paths, strict=True):
            _check(
                f"{synapse.source} -> {synapse.target} has",
                number,
                MOST_AXIS_PATHS,
                f"{axis} of its source times {axis} of its target times {axis} of its kernel",
                smaller,
            )
    spikes = sum(p.timesteps * prod(p.shape) for p in graph.spiking)
    _check(
        "the network has",
        spikes,
        MOST_SPIKES,
        "neurons times timesteps",
        "use fewer timesteps, or a smaller input",
    )


def _table_sizes(graph: LayerGraph, synapse: Synapse) -> tuple[int, int, int]:
    """Entries of the tables that say which channels, rows and columns of two populations connect."""
    shape = source = graph[synapse.source].shape
    taps = (1, 1)
    for linear_map in synapse.maps:
        match linear_map:
            case Convolution():
                taps = linear_map.kernel
            case Dense():
                taps = shape[1], shape[2]
        shape = linear_map.output_shape(shape)
    channels, rows, columns = (a * b for a, b in zip(source, shape, strict=True))
    return channels, rows * taps[0], columns * taps[1]


def _check(subject: str, number: int, most: int, counted: str, remedy: str) -> None:
    if number > most:
        raise UnsupportedNetworkError(
            f"{subject} {number:,} {counted}, more than the {most:,} that can be compiled; {remedy}"
        )
