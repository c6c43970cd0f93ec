"""The two changes of a layer: weights rounded by the error of its output, and biases by its mean counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    IntegerWidths,
    verify_integer_widths,
)
from toolchain.networks.layer_graph import ReadoutPopulation, SpikingPopulation
from toolchain.networks.linear_maps import with_weight
from toolchain.rounding.layer_inputs import LayerWeight, at_positions, sampled_positions
from toolchain.rounding.output_error import damped, round_by_output_error

MOST_INPUTS = 2304
"""Inputs of a weight above which rounding to nearest is kept: the work grows with their cube."""

_HALVINGS = 12
"""Of the range that is searched for a bias: a threshold over T, in the end a few units of the bias."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A population with its synapses, in both networks.

    Attributes:
        real: with folded scales.
        lowered: the same in integers.
        sources: of the synapses, in their order.
    """

    real: SpikingPopulation | ReadoutPopulation
    lowered: IntegerSpiking | IntegerReadout
    edges: tuple[IntegerSynapse, ...]
    sources: tuple[IntegerPopulation, ...]

    @classmethod
    def of(
        cls,
        real: SpikingPopulation | ReadoutPopulation,
        network: IntegerNetwork,
        populations: Mapping[str, IntegerPopulation],
    ) -> Layer:
        """The layer of a population.

        Args:
            populations: of the network, or changed ones, by name.
        """
        lowered = network[real.name]
        assert isinstance(lowered, IntegerSpiking | IntegerReadout)
        edges = network.incoming(real.name)
        sources = tuple(populations[edge.source] for edge in edges)
        return cls(real=real, lowered=lowered, edges=tuple(edges), sources=sources)

    @property
    def unit(self) -> np.ndarray:
        """Real value of one integer of the accumulator, per channel."""
        if isinstance(self.real, ReadoutPopulation):
            assert isinstance(self.lowered, IntegerReadout)
            return np.full(self.real.shape[0], self.lowered.unit * self.lowered.timesteps)
        assert isinstance(self.lowered, IntegerSpiking)
        channels = self.real.shape[0]
        return _of_channels(self.real.threshold, channels) / _of_channels(
            self.lowered.threshold, channels
        )


def rounded_weights(
    layer: Layer, weights: Sequence[LayerWeight], counts: Mapping[str, Tensor]
) -> Layer:
    """The layer with weights that change its currents less than those rounded to nearest.

    Units and exponents stay, and channels without any weight stay without.

    Args:
        weights: those to round anew.
        counts: of the sources in the integer network, ``(B, C, H, W)``.
    """
    edges = {edge.source: edge for edge in layer.edges}
    shape = layer.real.shape
    positions = sampled_positions(len(next(iter(counts.values()))), shape)
    for weight in weights:
        own = [edges[source] for source in weight.sources]
        scale = layer.unit * 2.0 ** own[0].exponent
        kernel = weight.convolution.weight
        wanted = weight.by_group(kernel.reshape(len(kernel), -1) / scale[:, None])
        plain = weight.by_group(own[0].weighted.weight)
        inputs = weight.patches(counts, positions, shape[2])
        moments = inputs @ inputs.transpose(0, 2, 1)  # sums of integers: exact in any order
        most = int(np.abs(plain.astype(np.int64)).max())
        rounded = round_by_output_error(wanted, damped(moments), most)
        rounded = np.where(plain.any(axis=2, keepdims=True), rounded, 0).astype(np.int8)
        for edge in own:
            integers = rounded.reshape(edge.weighted.weight.shape)
            edges[edge.source] = replace(edge, weighted=with_weight(edge.weighted, integers))
    return replace(layer, edges=tuple(edges[edge.source] for edge in layer.edges))


def fitted_to_widths(layer: Layer, widths: IntegerWidths) -> Layer | None:
    """The layer, or with exponents smaller by 1 if its bounds exceed the widths; None if that does too."""
    for tried in (layer, _with_lower_exponents(layer, widths)):
        if tried is None:
            continue
        network = IntegerNetwork.build([*tried.sources, tried.lowered], tried.edges)
        try:
            verify_integer_widths(network, widths)
        except IntegerWidthError:
            continue
        return tried
    return None


def _with_lower_exponents(layer: Layer, widths: IntegerWidths) -> Layer | None:
    """Weights as they are, in units twice as large; None if an exponent is 0 already."""
    if min(edge.exponent for edge in layer.edges) < 1:
        return None
    lowered = layer.lowered
    bias = widths.nearest_bias(lowered.bias / 2)
    edges = tuple(replace(edge, exponent=edge.exponent - 1) for edge in layer.edges)
    if isinstance(lowered, IntegerReadout):
        return replace(
            layer, lowered=replace(lowered, bias=bias, unit=2 * lowered.unit), edges=edges
        )
    threshold = widths.nearest_threshold(lowered.threshold / 2)
    share = lowered.initial_potential / lowered.threshold
    initial = np.clip(np.floor(share * threshold), 0, threshold - 1).astype(np.int64)
    halved = replace(lowered, bias=bias, threshold=threshold, initial_potential=initial)
    return replace(layer, lowered=halved, edges=edges)


def mean_of_float(population: SpikingPopulation | ReadoutPopulation, values: Tensor) -> np.ndarray:
    """Mean of counts or logits per channel, at the positions that biases are corrected at."""
    return at_positions(values, sampled_positions(len(values), population.shape)).mean(axis=1)


def corrected_bias(
    layer: Layer, sums: Tensor, expected: np.ndarray, widths: IntegerWidths
) -> Layer:
    """The layer with biases that give each channel the mean count, or logit, of the float network.

    Of all biases that do, that nearest to the present one is taken. Channels without any weight, and biases
    that differ within a channel, stay.

    Source: Nagel et al., 2019, "Data-free quantization through weight equalization and bias correction",
    section 4.2, with counts in place of currents, since a count is what the next layer reads.

    Args:
        sums: accumulator without the bias, ``(B, C, H, W)``.
        expected: mean per channel, see ``mean_of_float``.
    """
    lowered = layer.lowered
    channels = layer.real.shape[0]
    if lowered.bias.shape[1:] != (1, 1):
        return layer
    present = np.broadcast_to(lowered.bias, (channels, 1, 1)).reshape(-1).astype(np.float64)
    read = at_positions(sums, sampled_positions(len(sums), layer.real.shape))
    if isinstance(lowered, IntegerReadout):
        wanted = expected / layer.unit - read.mean(axis=1)
    else:
        wanted = _bias_of_mean_count(lowered, present, read, expected)
    has_weights = np.zeros(channels, bool)
    for edge in layer.edges:
        has_weights |= _reached(edge, channels)
    # rounded first, so that the rounding of sums does not decide on a tie
    bias = np.where(has_weights, np.round(wanted, 6), present)
    return replace(
        layer, lowered=replace(lowered, bias=widths.nearest_bias(bias.reshape(-1, 1, 1)))
    )


def _bias_of_mean_count(
    population: IntegerSpiking, present: np.ndarray, sums: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Bisect between the present bias and one that adds or removes half a count of each neuron."""
    steps, channels = population.timesteps, len(present)
    threshold, initial = (
        _of_channels(v, channels)[:, None]
        for v in (population.threshold, population.initial_potential)
    )

    def mean_counts(bias: np.ndarray) -> np.ndarray:
        window = initial + steps * (sums + bias[:, None])
        return np.clip(np.floor(window / threshold), 0, steps).mean(axis=1)

    difference = expected - mean_counts(present)
    rises = difference > 0
    near, far = present, present + np.where(rises, 0.5, -0.5) * threshold[:, 0] / steps
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        found = mean_counts(middle)
        is_short = np.where(rises, found < expected, found > expected)
        near, far = np.where(is_short, middle, near), np.where(is_short, far, middle)
    return np.where(difference == 0, present, far)


def _reached(edge: IntegerSynapse, channels: int) -> np.ndarray:
    """Which channels a synapse has weights into; all of them where maps follow the weight."""
    if edge.pools_after:
        return np.ones(channels, bool)
    weight = edge.weighted.weight
    return np.asarray(weight.reshape(len(weight), -1).any(axis=1))


def _of_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """Mean per channel of values that broadcast to the neurons."""
    spread = np.broadcast_to(values, (channels, *values.shape[1:])).reshape(channels, -1)
    return np.asarray(spread.mean(axis=1))
