"""Checks of every integer network, and of the widths that a target sets to its integers."""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network.accumulator_bounds import (
    accumulator_interval,
    potential_interval,
)
from toolchain.networks.integer_network.bit_planes import highest_exponent
from toolchain.networks.integer_network.integer_widths import IntegerWidths
from toolchain.networks.integer_network.merged_weights import largest_merged_weight
from toolchain.networks.integer_network.network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.networks.layer_graph.structure import require, verify_structure
from toolchain.networks.linear_maps import IntegerPool, WeightedMap


def verify_integer_network(network: IntegerNetwork) -> IntegerNetwork:
    """Check structure, shapes, types and signs; return the network unchanged.

    Raises:
        UnsupportedNetworkError: naming the population or synapse, the field, and what it must be.
    """
    if not isinstance(network, IntegerNetwork):
        raise TypeError(f"must be an IntegerNetwork, not {type(network).__name__}")
    for synapse in network.synapses:
        pools = (*synapse.pools_before, *synapse.pools_after)
        require(
            isinstance(synapse.weighted, WeightedMap)
            and all(isinstance(pool, IntegerPool) for pool in pools),
            f"{synapse.source} -> {synapse.target}: an integer synapse must hold one map with a weight "
            f"between sum pools and the like, not {', '.join(type(m).__name__ for m in synapse.maps)}",
        )
        require(synapse.weighted.weight.dtype == np.int8, f"{synapse}: weight must be int8")
        require(synapse.exponent >= 0, f"{synapse}: exponent must be at least 0")
    verify_structure(network)
    for population in network.populations:
        match population:
            case IntegerInput():
                continue
            case IntegerSpiking(threshold=threshold):
                arrays = {
                    "threshold": threshold,
                    "initial_potential": population.initial_potential,
                    "bias": population.bias,
                }
                require(
                    bool((threshold > 0).all()),
                    f"{population.name}: threshold must be positive, not {threshold.min()}",
                )
            case IntegerReadout():
                arrays = {"bias": population.bias}
            case _:
                assert_never(population)
        for field, values in arrays.items():
            require(
                values.dtype == np.int64,
                f"{population.name}: {field} must be int64, not {values.dtype}",
            )
        if isinstance(population, IntegerSpiking) and population.role == "maximum":
            _verify_maximum(network, population)
    return network


def _verify_maximum(network: IntegerNetwork, population: IntegerSpiking) -> None:
    """Check that a population gives ``clip(N_b - N_a, 0, T)``: weights of one size w, and Theta = T * w."""
    name, steps, threshold = population.name, population.timesteps, population.threshold
    require(not population.bias.any(), f"{name}: an exact maximum must have no bias")
    require(
        bool(
            ((population.initial_potential >= 0) & (population.initial_potential < threshold)).all()
        ),
        f"{name}: an exact maximum must start from 0 to below its threshold",
    )
    for synapse in network.incoming(name):
        source = network[synapse.source]
        require(
            isinstance(source, IntegerSpiking) and source.timesteps == steps,
            f"{name}: an exact maximum must read counts of {steps} timesteps, not of {source.name} with "
            f"{source.timesteps}",
        )
        require(
            synapse.alignment == "average",
            f"{synapse}: the alignment of an exact maximum must be average",
        )
        sizes = np.abs(synapse.weighted.weight.astype(np.int64)) << synapse.exponent
        require(
            bool(((sizes == 0) | (sizes * steps == threshold.max())).all())
            and threshold.max() == threshold.min(),
            f"{name}: the threshold of an exact maximum must be {steps} times each weight other than 0, "
            f"but it is {int(threshold.min()):,} and weights from {synapse.source} are up to "
            f"{int(sizes.max()):,}",
        )


def verify_integer_widths(network: IntegerNetwork, widths: IntegerWidths) -> IntegerNetwork:
    """Check that no integer of the network can exceed the target's widths.

    Raises:
        IntegerWidthError: naming the layer, the bound, the limit and the remedy.
    """
    for synapse in network.synapses:
        weight = synapse.weighted.weight
        largest = max(int(weight.max()), -int(weight.min()))
        if largest > widths.max_weight:
            raise IntegerWidthError(
                f"{synapse}: weight {largest} exceeds {widths.weight_bits} bits "
                f"({widths.max_weight}); compile the model for this target"
            )
        merged = largest_merged_weight(synapse, network[synapse.source].shape)
        if merged > widths.max_weight:
            raise IntegerWidthError(
                f"{synapse}: the paths through its pools add up to a weight of {merged}, which exceeds "
                f"{widths.weight_bits} bits ({widths.max_weight}); compile the model for this target, or "
                f"use pools whose windows do not overlap"
            )
        exponent = highest_exponent(network, synapse)
        if exponent > widths.max_exponent:
            raise IntegerWidthError(
                f"{synapse}: exponent {exponent} exceeds the target's {widths.max_exponent}; compile the "
                f"model for this target, or use pixels of fewer bits"
            )
    for population in network.populations:
        name = population.name
        if isinstance(population, IntegerInput):
            continue
        if not widths.allows_bias(population.bias).all():
            raise IntegerWidthError(
                f"{name}: bias up to {int(np.abs(population.bias).max()):,} is not a "
                f"{widths.bias_mantissa_bits}-bit mantissa with a {widths.bias_exponent_bits}-bit "
                f"exponent (at most {widths.max_bias:,}); train with a smaller bias or threshold"
            )
        if isinstance(population, IntegerSpiking):
            allowed = widths.allows_threshold(population.threshold)
            if not allowed.all():
                raise IntegerWidthError(
                    f"{name}: threshold {int(population.threshold[~allowed].max()):,} must be a multiple of "
                    f"{1 << widths.threshold_shift} up to {widths.max_threshold:,}; compile the model for "
                    f"this target, or train with a smaller threshold"
                )
        bound = max(
            potential_interval(network, name).magnitude,
            accumulator_interval(network, name).magnitude,
        )
        if bound > widths.max_state:
            raise IntegerWidthError(
                f"{name}: accumulator bound {bound:,} exceeds the {widths.state_bits}-bit state "
                f"({widths.max_state:,}); use fewer weight bits or fewer timesteps"
            )
    return network
