"""The rows of a synapse's weight and the target channels that read them."""

from __future__ import annotations

import numpy as np

from toolchain.networks.layer_graph import Synapse
from toolchain.networks.linear_maps import UnweightedMap, WeightedMap, chain_channel_sources


def weight_and_rows(synapse: Synapse) -> tuple[WeightedMap, np.ndarray]:
    """The weight of a synapse, and its row that each target channel reads, -1 for none.

    Args:
        synapse: one with exactly one weight.
    """
    ((at, weighted),) = ((i, m) for i, m in enumerate(synapse.maps) if isinstance(m, WeightedMap))
    after = (m for m in synapse.maps[at + 1 :] if isinstance(m, UnweightedMap))
    return weighted, chain_channel_sources(after, len(weighted.weight))


def value_of_each_row(synapse: Synapse, values: np.ndarray) -> np.ndarray:
    """A value per target channel as one per row, to divide the weight by; infinity for unread rows.

    Args:
        values: shape ``(channels,)``.

    Returns:
        Shape ``(rows, 1, ...)`` with as many axes as the weight.
    """
    weighted, rows = weight_and_rows(synapse)
    per_row = np.full(len(weighted.weight), np.inf)
    per_row[rows[rows >= 0]] = values[rows >= 0]
    return per_row.reshape(-1, *[1] * (weighted.weight.ndim - 1))
