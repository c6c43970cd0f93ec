"""Neurons whose count no input changes: their bias alone decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.networks.integer_network import IntegerInput, IntegerPopulation, IntegerWidths
from toolchain.networks.integer_network.accumulator_bounds import largest_sums
from toolchain.networks.layer_graph import SpikingPopulation, Synapse
from toolchain.networks.linear_maps import with_weight
from toolchain.passes.weight_rows import value_of_each_row, weight_and_rows

_MARGIN = 1e-9
"""Of a potential over the threshold: wider than the rounding of sums, narrower than any unit."""


@dataclass(frozen=True, eq=False)
class ConstantNeurons:
    """Channels of which every neuron has the same count for all inputs.

    Attributes:
        channels: bool ``(channels,)``.
        counts: int64, broadcastable to the population's shape; of no meaning in other channels.
    """

    channels: np.ndarray
    counts: np.ndarray

    def without_weights(self, synapse: Synapse) -> Synapse:
        """The synapse with weights of 0 into these channels."""
        if not self.channels.any():
            return synapse
        weighted, _ = weight_and_rows(synapse)
        kept = value_of_each_row(synapse, np.where(self.channels, np.inf, 1.0))
        zeroed = with_weight(weighted, weighted.weight / kept)
        return replace(synapse, maps=tuple(zeroed if m is weighted else m for m in synapse.maps))

    def biases(
        self, timesteps: int, threshold: np.ndarray, start: np.ndarray, widths: IntegerWidths
    ) -> np.ndarray:
        """Integer biases that give these counts: the potential ends halfway between two counts."""
        ends = self.counts * threshold + threshold // 2
        return widths.nearest_bias(np.where(self.counts > 0, (ends - start) / timesteps, 0))


def constant_neurons(
    population: SpikingPopulation,
    incoming: Iterable[Synapse],
    sources: Mapping[str, IntegerPopulation],
    averaged: bool,
) -> ConstantNeurons:
    """Find the channels whose counts the bounds of their weighted sums leave no choice.

    Args:
        incoming: synapses with folded scales.
        averaged: whether the population and its readers see counts of whole windows. If not, only neurons
            that never fire or fire in every step have one spike train.
    """
    low = high = np.zeros(population.shape[0])
    for synapse in incoming:
        source = sources[synapse.source]
        if isinstance(source, IntegerInput):
            most = source.max_value
        else:
            most = source.timesteps if synapse.alignment == "average" else 1
        least, largest = largest_sums(synapse.maps, source.shape)
        low, high = low + most * least, high + most * largest
    steps = population.timesteps
    fewest, highest = (
        np.clip(
            np.floor(
                (population.initial_potential + steps * (population.bias + sums.reshape(-1, 1, 1)))
                / population.threshold
                + margin
            ),
            0,
            steps,
        ).astype(np.int64)
        for sums, margin in ((low, -_MARGIN), (high, _MARGIN))
    )
    decided = fewest == highest
    if not averaged:
        decided &= (fewest == 0) | (fewest == steps)
    return ConstantNeurons(decided.all(axis=(1, 2)), fewest)
