"""Connectivity of a network synapse by synapse, for recounts that share nothing with the models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.stepped import transmit
from toolchain.networks.integer_network.merged_weights import largest_merged_weight
from toolchain.networks.linear_maps import as_grouped_convolution, with_weight


def dense_synapses(network, synapse):
    """bool (targets, sources), by sending one spike at a time through positive weights."""
    source = network[synapse.source]
    ones = with_weight(synapse.weighted, stored(synapse, source.shape).astype(np.int8))
    one_hot = np.eye(int(np.prod(source.shape)), dtype=np.int64).reshape(-1, *source.shape)
    return transmit(replace(synapse, weighted=ones), one_hot).reshape(len(one_hot), -1).T > 0


def stored(synapse, source_shape):
    """Which entries of the weight a core stores: not whole channels, rows and columns of taps of zeros."""
    weighted = synapse.weighted
    weight = as_grouped_convolution(weighted, synapse.weighted_input_shape(source_shape)).weight
    groups = getattr(weighted, "groups", len(weight) if weight.shape[1] == 1 else 1)
    used = np.zeros(weight.shape, bool)
    for output, kernel in enumerate(weight):
        mates = weight.reshape(groups, -1, *weight.shape[1:])[output * groups // len(weight)]
        for tap in np.ndindex(kernel.shape):
            used[(output, *tap)] = (
                kernel.any()
                and mates[:, tap[0]].any()
                and weight[:, :, tap[1]].any()
                and weight[:, :, :, tap[2]].any()
            )
    return used.reshape(weighted.weight.shape)


def within_exponents(network):
    """The same network with exponents that leave room for the bit planes of the input.

    Weights that the paths through overlapping pools add up to more than 8 bits are smaller.
    """
    synapses = [
        replace(s, exponent=0, weighted=_smaller(s, network[s.source].shape))
        for s in network.synapses
    ]
    return type(network).build(network.populations, synapses)


def _smaller(synapse, source_shape):
    largest = largest_merged_weight(synapse, source_shape)
    if largest <= 127:
        return synapse.weighted
    weight = np.trunc(synapse.weighted.weight * 127 / largest)
    while True:
        weighted = with_weight(synapse.weighted, weight.astype(np.int8))
        if largest_merged_weight(replace(synapse, weighted=weighted), source_shape) <= 127:
            return weighted
        weight = np.trunc(weight / 2)
