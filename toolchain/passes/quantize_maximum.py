"""Exact integers for the populations that compute the maximum of two counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerPopulation,
    IntegerSpiking,
    IntegerSynapse,
    IntegerWidths,
    verify_integer_widths,
)
from toolchain.networks.layer_graph import SpikingPopulation, Synapse
from toolchain.networks.linear_maps import LinearMap, WeightedMap, with_weight
from toolchain.passes.weight_rows import value_of_each_row, weight_and_rows

_TOLERANCE = 1e-6
"""Of a weight over alpha / T, which would be -1, 0 or 1 but for the rounding of merged weights."""


def quantize_maximum(
    population: SpikingPopulation,
    incoming: tuple[Synapse, ...],
    sources: Mapping[str, IntegerPopulation],
    widths: IntegerWidths,
) -> tuple[IntegerPopulation, list[IntegerSynapse]]:
    """Lower a population with the role ``maximum``: its count is exactly ``clip(N_b - N_a, 0, T)``.

    The weights are ``w = 2^m`` or its negative, and ``Theta = T * w``: T steps of ``w * (N_b - N_a)`` are
    ``N_b - N_a`` thresholds, so any start below the threshold gives the difference itself.

    Args:
        population: verified, with the sources' threshold and T.
        incoming: its synapses, with folded scales.

    Raises:
        UnsupportedNetworkError: a weight is none of -1, 0 and 1 times the value of one count.
        IntegerWidthError: the target has no such threshold, or the potential leaves its state.
    """
    name, steps = population.name, population.timesteps
    shift = _threshold_shift(name, steps, widths)
    exponent = min(shift, widths.max_exponent)
    size = 1 << (shift - exponent)
    if size > widths.max_weight:
        raise IntegerWidthError(
            f"{name}: an exact maximum of {steps} timesteps needs weights of 2^{shift}, above the target's "
            f"{widths.max_weight} * 2^{widths.max_exponent}; train with --max-pool average"
        )
    threshold = np.full((1, 1, 1), steps << shift)
    share = population.initial_potential / population.threshold
    start = np.clip(np.floor(share * threshold), 0, threshold - 1).astype(np.int64)
    lowered = IntegerSpiking(
        name=name,
        shape=population.shape,
        timesteps=steps,
        threshold=threshold,
        initial_potential=start,
        bias=np.zeros((population.shape[0], 1, 1), np.int64),
        role="maximum",
    )
    edges = [
        IntegerSynapse.of_maps(
            source=synapse.source,
            target=name,
            maps=_integer_maps(synapse, population, size),
            exponent=exponent,
        )
        for synapse in incoming
    ]
    network = IntegerNetwork.build([*sources.values(), lowered], edges)
    try:
        verify_integer_widths(network, widths)
    except IntegerWidthError as error:
        raise IntegerWidthError(
            f"{str(error).split(';')[0]} in an exact maximum of {steps} timesteps; train the layers in front "
            f"of it with fewer timesteps, or train with --max-pool average"
        ) from None
    return lowered, edges


def _threshold_shift(name: str, steps: int, widths: IntegerWidths) -> int:
    """Smallest m for which the target has the threshold ``steps * 2^m``."""
    for shift in range(widths.max_threshold.bit_length()):
        if widths.allows_threshold(np.array(steps << shift)):
            return shift
    raise IntegerWidthError(
        f"{name}: an exact maximum of {steps} timesteps needs a threshold of {steps} times a power of two, "
        f"but the target has multiples of {1 << widths.threshold_shift} up to {widths.max_threshold:,}; "
        f"train the layers in front of it with fewer timesteps, or train with --max-pool average"
    )


def _integer_maps(synapse: Synapse, population: SpikingPopulation, size: int) -> list[LinearMap]:
    """The maps with weights of ``-size``, 0 and ``size``, which are -1, 0 and 1 counts of the source."""
    weighted, _ = weight_and_rows(synapse)
    alpha = np.broadcast_to(population.threshold[:, :1, :1], (population.shape[0], 1, 1)).reshape(
        -1
    )
    counts = weighted.weight / value_of_each_row(synapse, alpha / population.timesteps)
    signs = np.rint(counts)
    if np.abs(signs).max() > 1 or np.abs(counts - signs).max() > _TOLERANCE:
        raise UnsupportedNetworkError(
            f"{synapse}: weights of an exact maximum must be -1, 0 or 1, not up to "
            f"{float(np.abs(counts).max()):g}; train with --max-pool average"
        )
    integers = (signs * size).astype(np.int8)
    return [with_weight(m, integers) if isinstance(m, WeightedMap) else m for m in synapse.maps]
