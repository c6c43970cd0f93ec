"""Refuse networks that are too large to compile in seconds, before any work is done."""

from __future__ import annotations

from math import prod

from deploy.design.limits import (
    MOST_NEURONS,
    MOST_POPULATIONS,
    MOST_SIDE,
    MOST_SPIKES,
    MOST_SYNAPSES,
)
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph import LayerGraph


def check_extent(graph: LayerGraph) -> None:
    """Check the numbers of populations, synapses, neurons and spikes.

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
        "compile a part of it, or join fewer layers by each concatenation",
    )
    smaller = "use a smaller input, or larger strides"
    for population in graph.populations:
        name = population.name
        _check(f"{name} has", prod(population.shape), MOST_NEURONS, "neurons", smaller)
        _check(f"{name} has", max(population.shape[1:]), MOST_SIDE, "rows or columns", smaller)
    spikes = sum(p.timesteps * prod(p.shape) for p in graph.spiking)
    _check(
        "the network has",
        spikes,
        MOST_SPIKES,
        "neurons times timesteps",
        "use fewer timesteps, or a smaller input",
    )


def _check(subject: str, number: int, most: int, counted: str, remedy: str) -> None:
    if number > most:
        raise UnsupportedNetworkError(
            f"{subject} {number:,} {counted}, more than the {most:,} that can be compiled; {remedy}"
        )
