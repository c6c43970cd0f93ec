"""The integers of a population that was trained with them (``toolchain.training.integer_aware``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    IntegerWidths,
    verify_integer_widths,
)
from toolchain.networks.layer_graph import (
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import with_weight
from toolchain.passes.integer_populations import integer_readout, integer_spiking
from toolchain.passes.weight_rows import value_of_each_row, weight_and_rows

_TOLERANCE = 1e-6
"""Of an integer: wider than the rounding of products, too narrow for other values to meet."""

_LARGEST = 2.0**53  # of integers that doubles hold; no target has wider ones


def trained_integers(
    population: SpikingPopulation | ReadoutPopulation,
    graph: LayerGraph,
    sources: Mapping[str, IntegerPopulation],
    widths: IntegerWidths,
) -> tuple[IntegerPopulation, list[IntegerSynapse]] | None:
    """The integers that weights, bias, threshold and potential are in the population's own unit.

    Args:
        graph: with folded scales.
        sources: lowered populations that it reads.

    Returns:
        None if it has no unit, if they are no integers in it (a pass changed T or the alignment since), or if
        the target cannot hold them. Lowering then chooses a unit.
    """
    incoming = graph.incoming(population.name)
    if population.integer_unit is None:
        return None
    unit = np.broadcast_to(population.integer_unit.reshape(-1), population.shape[0])
    edges = [_integer_synapse(s, unit, widths.max_weight) for s in incoming]
    lowered = _integer_population(population, widths)
    if lowered is None or not all(edges):
        return None
    found = [edge for edge in edges if edge is not None]
    try:
        network = IntegerNetwork.build([*sources.values(), lowered], found)
        verify_integer_widths(network, widths)
    except IntegerWidthError:
        return None
    return lowered, found


def uses_trained_integers(graph: LayerGraph, network: IntegerNetwork) -> list[str]:
    """Names of the populations of which an integer network has the integers that they were trained with.

    Args:
        graph: as lowering was given it.
    """
    populations: list[SpikingPopulation | ReadoutPopulation] = [*graph.spiking, graph.readout]
    return [
        p.name for p in populations if p.integer_unit is not None and _same_unit(p, network[p.name])
    ]


def _same_unit(
    population: SpikingPopulation | ReadoutPopulation, lowered: IntegerPopulation
) -> bool:
    assert population.integer_unit is not None
    if isinstance(lowered, IntegerReadout):
        values = np.asarray(lowered.unit * lowered.timesteps) / population.integer_unit
        return bool(np.abs(values - 1).max() <= _TOLERANCE)
    assert isinstance(population, SpikingPopulation)
    assert isinstance(lowered, IntegerSpiking)
    values = population.threshold / population.integer_unit / lowered.threshold
    return bool(np.abs(values - 1).max() <= _TOLERANCE)


def _integer_synapse(synapse: Synapse, unit: np.ndarray, max_weight: int) -> IntegerSynapse | None:
    if synapse.integer_exponent is None:
        return None
    weighted, _ = weight_and_rows(synapse)
    step = value_of_each_row(synapse, unit * 2.0**synapse.integer_exponent)
    integers = _as_integers(weighted.weight / step)
    if integers is None or np.abs(integers).max() > max_weight:
        return None
    lowered = with_weight(weighted, integers.astype(np.int8))
    return IntegerSynapse.of_maps(
        source=synapse.source,
        target=synapse.target,
        maps=tuple(lowered if m is weighted else m for m in synapse.maps),
        exponent=synapse.integer_exponent,
        alignment=synapse.alignment,
    )


def _integer_population(
    population: SpikingPopulation | ReadoutPopulation, widths: IntegerWidths
) -> IntegerSpiking | IntegerReadout | None:
    assert population.integer_unit is not None
    unit = population.integer_unit
    bias = _as_integers(population.bias / unit)
    if bias is None or not widths.allows_bias(bias).all():
        return None
    if isinstance(population, ReadoutPopulation):
        return integer_readout(population, unit, bias)
    threshold = _as_integers(population.threshold / unit)
    most = widths.distinct_thresholds
    if (
        threshold is None
        or not widths.allows_threshold(threshold).all()
        or (most is not None and len(np.unique(threshold)) > most)
    ):
        return None
    return integer_spiking(population, threshold, bias)


def _as_integers(values: np.ndarray) -> np.ndarray | None:
    """The integers that values are but for rounding, int64; None if they are not."""
    integers = np.rint(values)
    if np.abs(integers).max() > _LARGEST:
        return None
    # in a unit that is far too large all values are near 0, and none of them is 0
    allowed = np.where(integers != 0, np.abs(integers), np.abs(values).max() * _TOLERANCE)
    if (np.abs(values - integers) > _TOLERANCE * allowed).any():
        return None
    return integers.astype(np.int64)
