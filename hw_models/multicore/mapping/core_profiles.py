"""The profiles and formats that compartments and synapses of a core share; a core has few of each.

A compartment has its own bias, but its threshold and its kind are given by the number of a threshold profile
and of a compartment profile, and a synapse's width and exponent by the number of a format. (After
nengo-loihi's ``hardware/builder.py``: ``cxCfg`` with ``bias``, ``vthProfile`` and ``cxProfile``;
``synapseFmt``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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

FEWEST_WEIGHT_BITS = _WEIGHT_FORMATS[0]


@dataclass(frozen=True, eq=False)
class ThresholdCodes:
    """Which neurons have the same threshold.

    Attributes:
        codes: number of each neuron's threshold, of the shape in which the population stores them; None
            if its neurons have none.
        num_codes: number of different thresholds.
    """

    codes: np.ndarray | None
    num_codes: int


def threshold_codes(population: IntegerPopulation) -> ThresholdCodes:
    """Number the different thresholds of a population."""
    if not isinstance(population, IntegerSpiking):
        return ThresholdCodes(None, 0)
    values, codes = np.unique(population.threshold, return_inverse=True)
    return ThresholdCodes(codes.reshape(population.threshold.shape), len(values))


def threshold_profiles(thresholds: ThresholdCodes, grid: TileGrid) -> np.ndarray:
    """Threshold profiles that each tile needs, int64 ``grid.shape``: one for each different threshold.

    One more is for the compartments of alignment buffers, which must not spike: no sum reaches its
    threshold (as in nengo-loihi's ``configure_nonspiking``).
    """
    codes, num_codes = thresholds.codes, thresholds.num_codes
    if codes is None:
        return np.ones(grid.shape, np.int64)
    # all blocks along an axis on which thresholds are constant count as one
    blocks = [
        np.searchsorted(edges if size > 1 else (0,), np.arange(size), side="right") - 1
        for edges, size in zip(grid.edges, codes.shape, strict=True)
    ]
    shape = [int(block[-1]) + 1 for block in blocks]
    block = np.ravel_multi_index(np.ix_(*blocks), shape)
    used = np.zeros((int(np.prod(shape)), num_codes), bool)
    used[block.reshape(-1), codes.reshape(-1)] = True
    return np.broadcast_to(1 + used.sum(axis=1).reshape(shape), grid.shape)


def compartment_profiles(population: IntegerPopulation) -> int:
    """Kinds of compartment on its cores: buffer slots, and neurons, except on those of a readout."""
    return 1 if isinstance(population, IntegerReadout) else 2


def synapse_formats(network: IntegerNetwork, name: str, bits: Mapping[tuple[str, str], int]) -> int:
    """Different pairs of weight width and exponent on the cores of a population.

    Each bit plane of a pixel has an exponent of its own.

    Args:
        bits: weight width of each synapse, by source and target.
    """
    formats = {
        (bits[synapse.source, synapse.target], synapse.exponent + plane)
        for synapse in network.incoming(name)
        for plane in range(bit_planes(network[synapse.source]))
    }
    return len(formats)


def weight_bits(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Bits of the narrowest stored format that holds the largest weight between two neurons and its sign."""
    largest = largest_merged_weight(synapse, network[synapse.source].shape)
    return next(bits for bits in _WEIGHT_FORMATS if bits > largest.bit_length())
