"""The one pass from real numbers to integers: weights, exponents, biases, thresholds.

Each target channel c gets a unit u_c, the real value of one integer of its accumulator. ``Theta = alpha /
u_c`` carries the target's scales, so inference needs no multiplier. Per edge, ``W = w / (u_c * 2^x_e)``. A
larger common exponent refines Theta and B and keeps W; it is raised as far as the compile-time bounds allow.
If the neurons of a core share a few thresholds, units are chosen so that a population needs no more.
Neurons whose count no input changes get that count from their bias alone. A population that was trained with
the target's integers keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    IntegerWidths,
    verify_integer_widths,
)
from toolchain.networks.integer_network.merged_weights import largest_merged_weight
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import with_weight
from toolchain.passes.constant_neurons import ConstantNeurons, constant_neurons
from toolchain.passes.integer_populations import integer_readout, integer_spiking
from toolchain.passes.integer_units import units_of_integers
from toolchain.passes.quantize_maximum import quantize_maximum
from toolchain.passes.shared_thresholds import few_thresholds
from toolchain.passes.trained_integers import trained_integers
from toolchain.passes.weight_rows import value_of_each_row, weight_and_rows

FINEST_CHANNEL = 1 / 32
"""Least unit of a channel as a share of the layer's largest unit. Without it, one channel with tiny weights
and therefore a huge threshold would cost all others their resolution."""

CLIPPING_FRACTIONS = np.linspace(1, 0.3, 36)
"""Shares of a channel's largest weight that are tried as its quantization range, widest first."""

_VALUES_AT_ONCE = (
    2**15
)  # of a weight, so that all fractions are tried while the values are in the cache


def quantize_to_integers(graph: LayerGraph, widths: IntegerWidths) -> IntegerNetwork:
    """Lower a graph with folded scales to an integer network that fits a target's widths.

    Requires: the result of ``fold_source_scales``.
    Ensures: int8 weights, representable thresholds and biases, 0 <= V0 < Theta, all bounds within
        the target's widths.
    Refuses (IntegerWidthError): a layer whose bounds exceed the state width even with 4-bit weights, or
        with sums of weights over overlapping pools that exceed the weight width.
    """
    populations: dict[str, IntegerPopulation] = {}
    synapses: list[IntegerSynapse] = []
    for population in graph.populations:
        if isinstance(population, InputPopulation):
            populations[population.name] = IntegerInput(
                name=population.name,
                shape=population.shape,
                max_value=population.max_value,
                unit=population.unit,
            )
            continue
        sources = {s.source: populations[s.source] for s in graph.incoming(population.name)}
        if (trained := trained_integers(population, graph, sources, widths)) is not None:
            lowered, edges = trained
        elif isinstance(population, SpikingPopulation) and population.role == "maximum":
            incoming = graph.incoming(population.name)
            lowered, edges = quantize_maximum(population, incoming, sources, widths)
        else:
            lowered, edges = _finest_that_fits(population, graph, sources, widths)
        populations[population.name] = lowered
        synapses += edges
    return IntegerNetwork.build(populations.values(), synapses)


def _finest_that_fits(
    population: SpikingPopulation | ReadoutPopulation,
    graph: LayerGraph,
    sources: Mapping[str, IntegerPopulation],
    widths: IntegerWidths,
) -> tuple[IntegerPopulation, list[IntegerSynapse]]:
    """Lower a population with the most weight bits, then the largest common exponent, whose bounds fit.

    If all bits of the weights do not fit as they are, they are tried with coarser units and with neurons
    whose count no input changes set apart; then fewer bits are.
    """
    refusal: IntegerWidthError | None = None
    for max_weight in _weight_ranges(widths.max_weight):
        for prepare in (_plain_layer, _layer_within_limits):
            layer = _with_merged_weights(prepare, population, graph, sources, max_weight, widths)
            try:
                fitting, low = layer.at_exponent(0), 0
            except IntegerWidthError as error:
                refusal = refusal or error
                continue
            high = widths.max_exponent - max(edge.exponent for edge in layer.edges)
            while low < high:  # bounds grow with the exponent, so bisect
                middle = (low + high + 1) // 2
                try:
                    fitting, low = layer.at_exponent(middle), middle
                except IntegerWidthError:
                    high = middle - 1
            return fitting
    assert refusal is not None
    raise refusal


def _with_merged_weights(
    prepare: Callable[..., _Layer],
    population: SpikingPopulation | ReadoutPopulation,
    graph: LayerGraph,
    sources: Mapping[str, IntegerPopulation],
    max_weight: int,
    widths: IntegerWidths,
) -> _Layer:
    """Integer weights up to ``max_weight``, or up to less: cores hold their sums over all paths.

    Where pools overlap, a weight between two neurons is a sum of several. The weights are made smaller,
    and the unit larger, until all such sums fit.
    """
    while True:
        layer = prepare(population, graph, sources, max_weight, widths)
        merged = max(largest_merged_weight(s, sources[s.source].shape) for s in layer.edges)
        if merged <= widths.max_weight or max_weight == 1:
            return layer
        max_weight = max(min(max_weight * widths.max_weight // merged, max_weight - 1), 1)


def _plain_layer(
    population: SpikingPopulation | ReadoutPopulation,
    graph: LayerGraph,
    sources: Mapping[str, IntegerPopulation],
    max_weight: int,
    widths: IntegerWidths,
) -> _Layer:
    """Integer weights in units that the weights alone choose."""
    incoming = graph.incoming(population.name)
    unit, relative = _units_and_exponents(population, incoming, max_weight)
    if isinstance(population, SpikingPopulation):
        most = widths.distinct_thresholds
        unit = units_of_integers(population, incoming, relative, unit, max_weight, most)
    return _Layer.of(population, incoming, unit, relative, max_weight, sources, None, widths)


def _layer_within_limits(
    population: SpikingPopulation | ReadoutPopulation,
    graph: LayerGraph,
    sources: Mapping[str, IntegerPopulation],
    max_weight: int,
    widths: IntegerWidths,
) -> _Layer:
    """Integer weights in units in which the target holds thresholds and biases.

    Weights that are tiny beside the threshold or the bias lose bits. Neurons whose count no input changes
    lose theirs altogether and get a bias that gives this count.
    """
    incoming = graph.incoming(population.name)
    if isinstance(population, ReadoutPopulation):
        unit, relative = _units_and_exponents(population, incoming, max_weight)
        unit = np.maximum(unit, np.abs(population.bias).max() / widths.max_bias)
        return _Layer.of(population, incoming, unit, relative, max_weight, sources, None, widths)
    around = (*incoming, *graph.outgoing(population.name))
    averaged = all(s.alignment == "average" for s in around)
    constant = constant_neurons(population, incoming, sources, averaged)
    incoming = tuple(constant.without_weights(s) for s in incoming)
    unit, relative = _units_and_exponents(population, incoming, max_weight)
    unit = _units_within_limits(population, unit, constant.channels, widths)
    return _Layer.of(population, incoming, unit, relative, max_weight, sources, constant, widths)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A population with integer weights, before its common exponent is chosen.

    Attributes:
        unit: unit of each channel at exponent 0.
        thresholds: real thresholds in those units; empty for a readout.
    """

    population: SpikingPopulation | ReadoutPopulation
    unit: np.ndarray
    thresholds: np.ndarray
    edges: list[IntegerSynapse]
    sources: Mapping[str, IntegerPopulation]
    constant: ConstantNeurons | None
    widths: IntegerWidths

    @classmethod
    def of(
        cls,
        population: SpikingPopulation | ReadoutPopulation,
        incoming: tuple[Synapse, ...],
        unit: np.ndarray,
        relative: Mapping[str, int],
        max_weight: int,
        sources: Mapping[str, IntegerPopulation],
        constant: ConstantNeurons | None,
        widths: IntegerWidths,
    ) -> _Layer:
        """Round the weights in some units, of which there are no more than the target has thresholds."""
        thresholds = np.empty(0)
        if isinstance(population, SpikingPopulation):
            unit, thresholds = few_thresholds(population, unit, widths.distinct_thresholds)
        edges = [
            _lower_synapse(s, unit * 2 ** relative[s.source], relative[s.source], max_weight)
            for s in incoming
        ]
        return cls(population, unit, thresholds, edges, sources, constant, widths)

    def at_exponent(self, exponent: int) -> tuple[IntegerPopulation, list[IntegerSynapse]]:
        """The population and its synapses at a common exponent.

        Raises:
            IntegerWidthError: a bound exceeds the widths.
        """
        unit, thresholds = self.unit / 2**exponent, self.thresholds * 2**exponent
        lowered = _lower_population(self.population, unit, thresholds, self.constant, self.widths)
        edges = [replace(s, exponent=s.exponent + exponent) for s in self.edges]
        network = IntegerNetwork.build([*self.sources.values(), lowered], edges)
        verify_integer_widths(network, self.widths)
        return lowered, edges


def _weight_ranges(most: int) -> list[int]:
    """Largest weight integers to try: of all bits of the target, then of fewer, down to 4 bits."""
    return [most, *(n for n in (63, 31, 15, 7) if n < most)]


def _units_and_exponents(
    population: SpikingPopulation | ReadoutPopulation,
    incoming: tuple[Synapse, ...],
    max_weight: int,
) -> tuple[np.ndarray, dict[str, int]]:
    """Unit per channel at common exponent 0, and exponent of each edge above the smallest."""
    largest = {s.source: _range_per_channel(s, max_weight) for s in incoming}
    typical = {source: np.log2(max(float(w.max()), 1e-30)) for source, w in largest.items()}
    smallest = min(typical.values())
    # at most 2^4 between edges: beyond that, the one with the finest weights hardly matters
    relative = {source: min(int(np.floor(v - smallest + 0.5)), 4) for source, v in typical.items()}
    unit = np.max([largest[s] / (max_weight * 2 ** relative[s]) for s in largest], axis=0)
    if not unit.max() > 0:
        unit = np.ones_like(unit)
    if isinstance(population, ReadoutPopulation):
        return np.full_like(unit, unit.max()), relative  # one scale for all classes
    return np.maximum(unit, unit.max() * FINEST_CHANNEL), relative


def _units_within_limits(
    population: SpikingPopulation, unit: np.ndarray, constant: np.ndarray, widths: IntegerWidths
) -> np.ndarray:
    """Units no finer than those given, in which the target holds the threshold and the bias.

    Channels that no input changes are free in theirs. Their threshold is the least of the others, for a
    small bias, and at least so large that T steps of a bias end near the middle between two counts.
    """
    threshold, bias = (np.abs(v).max(axis=(1, 2)) for v in (population.threshold, population.bias))
    unit = np.maximum(unit, threshold / (widths.max_threshold / 2))
    unit = np.maximum(unit, np.where(constant, 0, bias) / widths.max_bias)
    least = max(1, population.timesteps / 8) * (1 << widths.threshold_shift)
    if not constant.all():
        least = max(least, (population.threshold.min(axis=(1, 2)) / unit)[~constant].min())
    return np.where(constant, population.threshold.min(axis=(1, 2)) / least, unit)


def _range_per_channel(synapse: Synapse, max_weight: int) -> np.ndarray:
    """Magnitude that becomes the largest integer of each target channel, with the least squared error.

    At 8 bits that is nearly the largest weight; at 2 or 4 bits it clips the few largest.
    """
    weighted, targets = weight_and_rows(synapse)
    weight = weighted.weight.reshape(len(weighted.weight), -1)
    rows = max(1, _VALUES_AT_ONCE // weight.shape[1])
    parts = [np.abs(weight[start : start + rows]) for start in range(0, len(weight), rows)]
    ranges = np.concatenate([_range_per_row(part, max_weight) for part in parts])
    return np.where(targets >= 0, ranges[targets], 0)


def _range_per_row(weight: np.ndarray, max_weight: int) -> np.ndarray:
    """Range of each row with the least squared error, for magnitudes of weights of shape ``(rows, in)``.

    The search ends when clipping the largest weight of each row alone costs as much as the best range so
    far: a narrower range clips it more.
    """
    largest = weight.max(axis=1)
    best, least_error = largest, np.full(len(weight), np.inf)
    rounded = np.empty_like(weight)
    for fraction in CLIPPING_FRACTIONS:
        step = np.maximum(largest * fraction / max_weight, np.finfo(float).tiny)
        if (np.square(max_weight * step - largest) >= least_error).all():
            break
        step = step[:, None]
        np.divide(weight, step, out=rounded)
        np.floor(np.add(rounded, 0.5, out=rounded), out=rounded)
        np.multiply(np.minimum(rounded, max_weight, out=rounded), step, out=rounded)
        np.square(np.subtract(rounded, weight, out=rounded), out=rounded)
        error = rounded.sum(axis=1)
        better = error < least_error
        best = np.where(better, largest * fraction, best)
        least_error = np.where(better, error, least_error)
    return best


def _lower_population(
    population: SpikingPopulation | ReadoutPopulation,
    unit: np.ndarray,
    thresholds: np.ndarray,
    constant: ConstantNeurons | None,
    widths: IntegerWidths,
) -> IntegerSpiking | IntegerReadout:
    unit = unit.reshape(-1, 1, 1)
    bias = widths.nearest_bias(population.bias / unit)
    if isinstance(population, ReadoutPopulation):
        return integer_readout(population, unit, bias)
    lowered = integer_spiking(population, widths.nearest_threshold(thresholds), bias)
    if constant is None:
        return lowered
    decided = constant.biases(
        population.timesteps, lowered.threshold, lowered.initial_potential, widths
    )
    return replace(lowered, bias=np.where(constant.channels[:, None, None], decided, bias))


def _lower_synapse(
    synapse: Synapse, unit: np.ndarray, exponent: int, max_weight: int
) -> IntegerSynapse:
    weighted, _ = weight_and_rows(synapse)
    weight, unit = weighted.weight, value_of_each_row(synapse, unit)
    integers = np.empty(weight.shape, np.int8)
    rows = max(1, _VALUES_AT_ONCE * len(weight) // weight.size)
    for start in range(0, len(weight), rows):
        some = slice(start, start + rows)
        rounded = np.floor(weight[some] / unit[some] + 0.5)
        integers[some] = np.clip(rounded, -max_weight, max_weight)
    maps = tuple(with_weight(weighted, integers) if m is weighted else m for m in synapse.maps)
    return IntegerSynapse.of_maps(
        source=synapse.source,
        target=synapse.target,
        maps=maps,
        exponent=exponent,
        alignment=synapse.alignment,
    )
