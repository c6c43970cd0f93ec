"""The profiles and formats that compartments and synapses of a core share; a core has few of each.

A compartment has its own bias, but its threshold and its kind are given by the number of a threshold profile
and of a compartment profile, and a synapse's width and exponent by the number of a format. (After
nengo-loihi's ``hardware/builder.py``: ``cxCfg`` with ``bias``, ``vthProfile`` and ``cxProfile``;
``synapseFmt``.)
"""

from __future__ import annotations

import numpy as np

from hw_models.multicore.mapping.tile_grid import TileGrid
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    bit_planes,
)
from toolchain.networks.integer_network.merged_weights import largest_merged_weight

_WEIGHT_FORMATS = (2, 3, 4, 5, 6, 8)
"""Bits of a stored weight, sign included; there is no 7 (nengo-loihi, SynapseConfig.WEIGHT_BITS_MAP)."""


def threshold_profiles(population: IntegerPopulation, grid: TileGrid) -> np.ndarray:
    """Threshold profiles that each tile needs, int64 ``grid.shape``: one for each different threshold.

    One more is for the compartments of alignment buffers, which must not spike: no sum reaches its
    threshold (as in nengo-loihi's ``configure_nonspiking``).
    """
    if not isinstance(population, IntegerSpiking):
        return np.ones(grid.shape, np.int64)
    values, codes = np.unique(population.threshold, return_inverse=True)
    # all blocks along an axis on which thresholds are constant count as one
    blocks = [
        np.searchsorted(edges if size > 1 else (0,), np.arange(size), side="right") - 1
        for edges, size in zip(grid.edges, population.threshold.shape, strict=True)
    ]
    shape = [int(block[-1]) + 1 for block in blocks]
    block = np.ravel_multi_index(np.ix_(*blocks), shape)
    distinct = np.unique(block.reshape(-1) * len(values) + codes.reshape(-1))
    counts = np.bincount(distinct // len(values), minlength=np.prod(shape))
    return np.broadcast_to(1 + counts.reshape(shape), grid.shape)


def compartment_profiles(population: IntegerPopulation) -> int:
    """Kinds of compartment on its cores: buffer slots, and neurons, except on those of a readout."""
    return 1 if isinstance(population, IntegerReadout) else 2


def synapse_formats(network: IntegerNetwork, name: str) -> int:
    """Different pairs of weight width and exponent on the cores of a population.

    Each bit plane of a pixel has an exponent of its own.
    """
    formats = {
        (weight_bits(network, synapse), synapse.exponent + plane)
        for synapse in network.incoming(name)
        for plane in range(bit_planes(network[synapse.source]))
    }
    return len(formats)


def weight_bits(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Bits of the narrowest stored format that holds the largest weight between two neurons and its sign."""
    largest = largest_merged_weight(synapse, network[synapse.source].shape)
    return next(bits for bits in _WEIGHT_FORMATS if bits > largest.bit_length())
