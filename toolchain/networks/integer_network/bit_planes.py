"""Bit planes of pixels: the host injects each bit on its own, through weights shifted by its place."""

from __future__ import annotations

from toolchain.networks.integer_network.network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerSynapse,
)


def bit_planes(population: IntegerPopulation) -> int:
    """Axons that one neuron of a source needs: one per bit of a pixel, or one for spikes."""
    return population.max_value.bit_length() if isinstance(population, IntegerInput) else 1


def highest_exponent(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Largest exponent with which weights of a synapse are stored: that of the highest bit plane."""
    return synapse.exponent + bit_planes(network[synapse.source]) - 1
