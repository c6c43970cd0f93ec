"""How the host injects pixels: bit by bit, each plane through weights shifted by its place."""

from __future__ import annotations

from toolchain.networks.integer_network.network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerSynapse,
)


def bit_planes(population: IntegerPopulation) -> int:
    """Axons a source needs for its values: pixels go as bit planes, spikes as they are."""
    return population.max_value.bit_length() if isinstance(population, IntegerInput) else 1


def highest_exponent(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Largest exponent that the weights of a synapse are stored with: that of the highest bit plane."""
    return synapse.exponent + bit_planes(network[synapse.source]) - 1
