"""What must hold for every integer network, and the bounds it must keep on a target."""

from __future__ import annotations

import numpy as np

from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.integer_network.accumulator_bounds import accumulator_interval, potential_interval
from toolchain.integer_network.bit_planes import highest_exponent
from toolchain.integer_network.integer_widths import IntegerWidths
from toolchain.integer_network.network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.linear_maps import AveragePool, Convolution, Dense, Scale, chain_output_shape


def verify_integer_network(network: IntegerNetwork) -> IntegerNetwork:
    """Check structure, shapes, types and signs; return the network unchanged.

    Raises:
        UnsupportedNetworkError: naming the population or synapse, the field, and what it must be.
    """
    for kind, noun in ((IntegerInput, "input"), (IntegerReadout, "readout")):
        found = [p.name for p in network.populations if isinstance(p, kind)]
        if len(found) != 1:
            raise UnsupportedNetworkError(
                f"an integer network must have exactly one {noun} population, not {len(found)}"
            )
    for population in network.populations:
        name = population.name
        _require(population.timesteps >= 1, f"{name}: timesteps must be at least 1")
        alignments = {s.alignment for s in network.incoming(name)}
        if isinstance(population, IntegerInput):
            _require(not alignments, f"{name}: the input population must have no incoming synapse")
            _require(population.max_value >= 1, f"{name}: max_value must be at least 1")
            continue
        _require(len(alignments) == 1, f"{name}: needs incoming synapses of one alignment")
        arrays = {"bias": population.bias}
        if isinstance(population, IntegerSpiking):
            arrays |= {
                "threshold": population.threshold,
                "initial_potential": population.initial_potential,
            }
        for field, values in arrays.items():
            _require(values.dtype == np.int64, f"{name}: {field} must be int64, not {values.dtype}")
            try:
                fits = np.broadcast_shapes(values.shape, population.shape) == population.shape
            except ValueError:
                fits = False
            _require(
                fits and values.ndim == 3,
                f"{name}: {field} of shape {values.shape} does not broadcast to {population.shape}",
            )
        if isinstance(population, IntegerSpiking):
            _require(
                bool((population.threshold > 0).all()),
                f"{name}: threshold must be positive, not {population.threshold.min()}",
            )
    for synapse in network.synapses:
        _require(synapse.exponent >= 0, f"{synapse}: exponent must be at least 0")
        weighted = [m for m in synapse.maps if isinstance(m, Convolution | Dense | Scale)]
        _require(len(weighted) == 1, f"{synapse}: exactly one map must carry a weight")
        _require(weighted[0].weight.dtype == np.int8, f"{synapse}: weight must be int8")
        _require(
            not any(isinstance(m, AveragePool) for m in synapse.maps),
            f"{synapse}: an integer synapse must hold sum pools, not average pools",
        )
        shape = chain_output_shape(synapse.maps, network[synapse.source].shape)
        _require(shape == network[synapse.target].shape, f"{synapse}: gives shape {shape}")
    return network


def verify_integer_widths(network: IntegerNetwork, widths: IntegerWidths) -> IntegerNetwork:
    """Check that no integer of the network can exceed the target's widths.

    Raises:
        IntegerWidthError: naming the layer, the bound, the limit and the remedy.
    """
    for synapse in network.synapses:
        (weight,) = (m.weight for m in synapse.maps if isinstance(m, Convolution | Dense | Scale))
        largest = max(int(weight.max()), -int(weight.min()))
        if largest > widths.max_weight:
            raise IntegerWidthError(
                f"{synapse}: weight {largest} exceeds {widths.weight_bits} bits "
                f"({widths.max_weight}); lower the weights for this target again"
            )
        exponent = highest_exponent(network, synapse)
        if exponent > widths.max_exponent:
            raise IntegerWidthError(
                f"{synapse}: exponent {exponent} exceeds the target's {widths.max_exponent}"
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
                    f"{1 << widths.threshold_shift} up to {widths.max_threshold:,}"
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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UnsupportedNetworkError(message)
