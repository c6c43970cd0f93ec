"""The layer graph of an integer network: the same counts in real numbers, lowered to the same integers."""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import UnweightedMap, chain_channel_sources, with_weight


def integers_as_graph(network: IntegerNetwork) -> LayerGraph:
    """Write an integer network in real numbers, with the units in which they are integers.

    Every threshold alpha_l becomes T_l, so that one spike of a window counts 1, and one integer of the
    accumulator counts ``T_l / Theta_l``. v(0) lies half an integer higher: the potential never comes closer
    to a threshold than that, so that the rounding of sums changes no count.

    Requires: the result of ``lower_to_integers``, or a network like it: each channel has one threshold, and
        channels with different ones read different rows of a weight.
    Ensures: a float SNN with the same spikes, and logits that are those of the integer network times its
        unit; ``lower_to_integers`` gives the integer network again.
    Refuses (UnsupportedNetworkError): other thresholds, and potentials that start below 0 or at the
        threshold.
    """
    populations = [_population(network, p) for p in network.populations]
    return LayerGraph.build(populations, [_synapse(network, s) for s in network.synapses])


def unit_per_channel(population: IntegerSpiking | IntegerReadout) -> np.ndarray:
    """Real value of one integer of the accumulator if one count is worth 1, float64 ``(channels,)``.

    Raises:
        UnsupportedNetworkError: thresholds differ within a channel.
    """
    channels = population.shape[0]
    if isinstance(population, IntegerReadout):
        return np.full(channels, population.unit * population.timesteps)
    threshold = population.threshold.reshape(len(population.threshold), -1)
    if (threshold != threshold[:, :1]).any():
        raise UnsupportedNetworkError(
            f"{population.name}: thresholds that differ within a channel have no common unit; use one "
            f"threshold per channel"
        )
    return population.timesteps / np.broadcast_to(threshold[:, 0], channels)


def _population(network: IntegerNetwork, population: IntegerPopulation) -> Population:
    name, shape = population.name, population.shape
    match population:
        case IntegerInput(max_value=most):
            return InputPopulation(name=name, shape=shape, max_value=most, unit=population.unit)
        case IntegerReadout(timesteps=steps, outputs=outputs, bias=bias):
            unit = unit_per_channel(population).reshape(-1, 1, 1)
            return ReadoutPopulation(
                name=name,
                shape=shape,
                bias=bias * unit,
                timesteps=steps,
                outputs=outputs,
                integer_unit=unit[:1],
            )
        case IntegerSpiking(timesteps=steps, threshold=threshold, initial_potential=start):
            if (start < 0).any() or (start >= threshold).any():
                raise UnsupportedNetworkError(
                    f"{name}: V0 must be from 0 to below the threshold, not {int(start.min())} to "
                    f"{int(start.max())}"
                )
            unit = unit_per_channel(population)[: len(threshold)].reshape(-1, 1, 1)
            return SpikingPopulation(
                name=name,
                shape=shape,
                timesteps=steps,
                threshold=np.full((1, 1, 1), float(steps)),
                initial_potential=(start + 0.5) / threshold * steps,
                bias=population.bias * unit,
                role=population.role,
                integer_unit=unit,
            )
        case _:
            assert_never(population)


def _synapse(network: IntegerNetwork, synapse: IntegerSynapse) -> Synapse:
    source, target = network[synapse.source], network[synapse.target]
    assert isinstance(target, IntegerSpiking | IntegerReadout)
    weight = synapse.weighted.weight.astype(float)
    unit = _unit_per_row(synapse, unit_per_channel(target))
    unit = unit.reshape(-1, *[1] * (weight.ndim - 1)) * 2.0**synapse.exponent
    if isinstance(source, IntegerInput):
        unit = unit / source.unit
    elif synapse.alignment != "average":  # a frame is worth T, a mean over T of them 1
        unit = unit / source.timesteps
    weighted = with_weight(synapse.weighted, weight * unit)
    return Synapse(
        source=synapse.source,
        target=synapse.target,
        maps=(*synapse.pools_before, weighted, *synapse.pools_after),
        alignment=synapse.alignment,
        integer_exponent=synapse.exponent,
    )


def _unit_per_row(synapse: IntegerSynapse, unit: np.ndarray) -> np.ndarray:
    """Unit of the target channel that reads each row of the weight, 0 for rows that none reads."""
    rows = len(synapse.weighted.weight)
    behind = (m for m in synapse.pools_after if isinstance(m, UnweightedMap))
    read_by = chain_channel_sources(behind, rows)
    reads = read_by >= 0
    found = np.zeros(rows)
    found[read_by[reads]] = unit[reads]
    if (found[read_by[reads]] != unit[reads]).any():
        raise UnsupportedNetworkError(
            f"{synapse}: channels with different thresholds read one row of the weight; compile the network "
            f"from a layer graph"
        )
    return found
