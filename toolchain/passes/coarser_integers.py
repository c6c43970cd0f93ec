"""Halve the integers of populations whose bounds exceed a target's widths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerWidths,
    verify_integer_widths,
)
from toolchain.networks.integer_network.accumulator_bounds import (
    accumulator_interval,
    potential_interval,
)
from toolchain.networks.integer_network.merged_weights import largest_merged_weight
from toolchain.networks.linear_maps import with_weight

_MOST_HALVINGS = 64
"""Enough for any integer to become 0."""


def within_bounds(network: IntegerNetwork, widths: IntegerWidths) -> IntegerNetwork:
    """Halve exponents, thresholds, potentials and biases, population by population, until all bounds fit.

    Counts change only as the halves are rounded. Where an exponent is 0 already, the weights are halved.

    Raises:
        IntegerWidthError: an integer is no value of the target for another reason.
    """
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        for _ in range(_MOST_HALVINGS):
            if _fits(network, population.name, widths):
                break
            network = _halved(network, population.name, widths)
    return verify_integer_widths(network, widths)


def _fits(network: IntegerNetwork, name: str, widths: IntegerWidths) -> bool:
    if any(
        largest_merged_weight(s, network[s.source].shape) > widths.max_weight
        for s in network.incoming(name)
    ):
        return False
    intervals = potential_interval(network, name), accumulator_interval(network, name)
    return max(interval.magnitude for interval in intervals) <= widths.max_state


def _halved(network: IntegerNetwork, name: str, widths: IntegerWidths) -> IntegerNetwork:
    incoming = network.incoming(name)
    from_weights = any(s.exponent == 0 for s in incoming) or any(
        largest_merged_weight(s, network[s.source].shape) > widths.max_weight for s in incoming
    )
    synapses = []
    for synapse in network.synapses:
        if synapse.target != name:
            synapses.append(synapse)
        elif from_weights:
            weight = np.rint(synapse.weighted.weight / 2).astype(np.int8)  # 1 becomes 0
            synapses.append(replace(synapse, weighted=with_weight(synapse.weighted, weight)))
        else:
            synapses.append(replace(synapse, exponent=synapse.exponent - 1))
    populations = [_half(p, widths) if p.name == name else p for p in network.populations]
    return IntegerNetwork.build(populations, synapses)


def _half(population: object, widths: IntegerWidths) -> IntegerSpiking | IntegerReadout:
    assert isinstance(population, IntegerSpiking | IntegerReadout)
    bias = widths.nearest_bias(population.bias / 2)
    if isinstance(population, IntegerReadout):
        return replace(population, bias=bias, unit=population.unit * 2)
    threshold = widths.nearest_threshold(population.threshold / 2)
    share = population.initial_potential / population.threshold
    start = np.clip(np.floor(share * threshold), 0, threshold - 1).astype(np.int64)
    return replace(population, threshold=threshold, initial_potential=start, bias=bias)
