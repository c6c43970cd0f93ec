"""Spike counts of one population after another, for the float network and for the integer network.

Counts are integers in both, and so are all sums of the integer network: they do not depend on the machine or
on the order of addition. A potential of the float network that ends within ``TIES`` below a threshold counts
as a spike, so that the rounding of its sums does not decide either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from math import prod

import numpy as np
import torch
from torch import Tensor

from toolchain.method.float_snn import transmit
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import unit_bounds
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.rounding.output_error import TIES

_EXACT_IN_SINGLE = 2**20
"""Bound of sums whose error in single precision is far below a half, whatever algorithm computes them."""

_TIES_IN_SINGLE = 1e-5
"""Instead of ``TIES``, in single precision."""

_VALUES_PER_PASS = 2**22
"""Values of a feature map that are computed at once."""


def run_floats(
    graph: LayerGraph, pixels: np.ndarray, dtype: torch.dtype
) -> Iterator[tuple[SpikingPopulation | ReadoutPopulation, Tensor]]:
    """Counts of every population of the float network in turn, then its logits, ``(B, C, H, W)``.

    Args:
        graph: with folded scales, so that synapses read counts.
        dtype: of the currents. In float64, the same counts on every machine.
    """
    counts = {graph.input.name: torch.from_numpy(pixels).float()}
    for population in graph.populations:
        if isinstance(population, InputPopulation):
            continue
        current = _float_current(population, graph.incoming(population.name), counts, dtype)
        if isinstance(population, SpikingPopulation):
            current = counts[population.name] = _float_counts(population, current)
        yield population, current
        forget_read(graph, population.name, counts)


def _float_current(
    population: SpikingPopulation | ReadoutPopulation,
    incoming: Sequence[Synapse],
    counts: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> Tensor:
    """Real current of a population per step."""
    bias = torch.from_numpy(population.bias).to(dtype)

    def of(part: slice) -> Tensor:
        sums = (transmit(s.maps, counts[s.source][part].to(dtype)) for s in incoming)
        return reduce(torch.add, sums) + bias

    return _in_parts(of, population.shape, [counts[s.source] for s in incoming])


def _float_counts(population: SpikingPopulation, current: Tensor) -> Tensor:
    threshold, initial = (
        torch.from_numpy(v).to(current.dtype)
        for v in (population.threshold, population.initial_potential)
    )
    position = (initial + population.timesteps * current) / threshold
    slack = TIES if current.dtype == torch.float64 else _TIES_IN_SINGLE
    return position.add_(slack).floor_().clamp_(0, population.timesteps).float()


def accumulator(
    population: IntegerPopulation,
    incoming: Sequence[IntegerSynapse],
    sources: Iterable[IntegerPopulation],
    counts: Mapping[str, Tensor],
) -> Tensor:
    """Integer accumulator without the bias, float64 ``(B, C, H, W)``."""
    by_name = {source.name: source for source in sources}
    exact = {s.source: _type_of_sums(s, by_name[s.source]) for s in incoming}

    def of(part: slice) -> Tensor:
        sums = (
            transmit(s.maps, counts[s.source][part].to(exact[s.source])).round_().double()
            * 2.0**s.exponent
            for s in incoming
        )
        return reduce(torch.add, sums)

    return _in_parts(of, population.shape, [counts[s.source] for s in incoming])


def integer_counts(population: IntegerSpiking, sums: Tensor) -> Tensor:
    """Spike counts of the integer network, float32."""
    bias, threshold, initial = (
        torch.from_numpy(v).double()
        for v in (population.bias, population.threshold, population.initial_potential)
    )
    window = initial + population.timesteps * (sums + bias)
    return torch.floor(window / threshold).clamp_(0, population.timesteps).float()


def run_integers(network: IntegerNetwork, pixels: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits ``(B, values)`` in integers, and the counts of every spiking population."""
    counts = {network.input.name: torch.from_numpy(pixels).float()}
    spikes: dict[str, Tensor] = {}
    logits = torch.empty(0)
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        incoming = network.incoming(population.name)
        sources = [network[s.source] for s in incoming]
        sums = accumulator(population, incoming, sources, counts)
        if isinstance(population, IntegerSpiking):
            counts[population.name] = integer_counts(population, sums)
            spikes[population.name] = counts[population.name]
        else:
            logits = (sums + torch.from_numpy(population.bias)).flatten(1)
    return logits, spikes


def forget_read(graph: LayerGraph, name: str, counts: dict[str, Tensor]) -> None:
    """Drop the counts of sources that no population after this one reads."""
    names = [population.name for population in graph.populations]
    after = set(names[names.index(name) + 1 :])
    for synapse in graph.incoming(name):
        if not any(s.target in after for s in graph.outgoing(synapse.source)):
            counts.pop(synapse.source, None)


def _type_of_sums(synapse: IntegerSynapse, source: IntegerPopulation) -> torch.dtype:
    most = source.max_value if isinstance(source, IntegerInput) else source.timesteps
    bound = unit_bounds(synapse, source.shape).partial * most
    return torch.float32 if bound < _EXACT_IN_SINGLE else torch.float64


def _in_parts(
    compute: Callable[[slice], Tensor], shape: tuple[int, int, int], values: Sequence[Tensor]
) -> Tensor:
    """Apply a function to a few samples at a time."""
    samples = len(values[0])
    largest = max(prod(shape), *(v[0].numel() for v in values))
    step = max(1, _VALUES_PER_PASS // largest)
    return torch.cat([compute(slice(i, i + step)) for i in range(0, samples, step)])
