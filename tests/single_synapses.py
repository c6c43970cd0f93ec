"""Connectivity of a network synapse by synapse, for recounts that share nothing with the models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.stepped import transmit
from toolchain.networks.linear_maps import with_weight


def dense_synapses(network, synapse):
    """bool (targets, sources), by sending one spike at a time through positive weights."""
    source = network[synapse.source]
    ones = with_weight(synapse.weighted, np.ones_like(synapse.weighted.weight))
    one_hot = np.eye(int(np.prod(source.shape)), dtype=np.int64).reshape(-1, *source.shape)
    return transmit(replace(synapse, weighted=ones), one_hot).reshape(len(one_hot), -1).T > 0


def within_exponents(network):
    """The same network with exponents that leave room for the bit planes of the input."""
    synapses = [replace(s, exponent=0) for s in network.synapses]
    return type(network).build(network.populations, synapses)
