"""Lowering on images: each step is measured on images it has not seen, and undone if it does not help.

Equalising scales across layers (Nagel et al., 2019, section 4.1) is no step: a reader sees spike counts,
which have no scale, and the weights, bias and threshold of every channel share a unit of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toolchain.datasets import Dataset
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerSpiking,
    IntegerWidths,
    verify_integer_network,
    verify_integer_widths,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    SpikingPopulation,
    has_classes,
)
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.passes.pipeline import lower_folded, lower_to_integers, with_folded_scales
from toolchain.passes.trained_integers import uses_trained_integers
from toolchain.post_training.logit_errors import logit_error
from toolchain.rounding.counts import (
    accumulator,
    forget_read,
    integer_counts,
    run_floats,
    run_integers,
)
from toolchain.rounding.layer_changes import (
    MOST_INPUTS,
    Layer,
    corrected_bias,
    fitted_to_widths,
    mean_of_float,
    rounded_weights,
)
from toolchain.rounding.layer_inputs import LayerWeight, layer_weights
from toolchain.rounding.plan import (
    ALL_TRAINED,
    Lowering,
    LoweringImages,
    LoweringStep,
    lowering_images,
    why_not_fitted,
)

NEAREST, ROUNDING, BIASES = "nearest", "rounding by output error", "biases by mean counts"
"""Names of the steps."""


def lower_on_images(graph: LayerGraph, widths: IntegerWidths, images: LoweringImages) -> Lowering:
    """Compile a layer graph to the integer network of a target, with integers fitted to images.

    Args:
        graph: a layer graph; it stays untouched.

    Returns:
        With a note, and the network of ``lower_to_integers``, if images are of no use to this graph.

    Raises:
        UnsupportedNetworkError, IntegerWidthError: those of ``lower_to_integers``.
    """
    folded = with_folded_scales(graph)
    network = lower_folded(folded, widths)
    trained = uses_trained_integers(folded, network)
    if len(trained) == len(network.populations) - 1:
        return Lowering(network=network, notes=(ALL_TRAINED,))
    reason = why_not_fitted(graph)
    if reason is not None:
        return Lowering(network=network, notes=(f"weights are rounded to nearest: {reason}",))
    with torch.inference_mode():
        return _Fit.of(folded, widths, images, trained).steps(network)


def lower_on_dataset(graph: LayerGraph, widths: IntegerWidths, dataset: Dataset) -> Lowering:
    """Compile a layer graph with integers fitted to training images of a data set, if it has enough."""
    images = lowering_images(graph, dataset)
    if images is None:
        return Lowering(network=lower_to_integers(graph, widths))
    return lower_on_images(graph, widths, images)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """The float network's behaviour on the images.

    Attributes:
        graph: with folded scales.
        trained: populations that keep the integers that they were trained with.
        means: mean count, or logit, of each population per channel on the fitted images.
        logits, counts: on the held-out images.
    """

    graph: LayerGraph
    widths: IntegerWidths
    images: LoweringImages
    trained: Collection[str]
    means: Mapping[str, np.ndarray]
    logits: Tensor
    counts: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        graph: LayerGraph,
        widths: IntegerWidths,
        images: LoweringImages,
        trained: Collection[str],
    ) -> _Fit:
        """Run the float network, in double precision where integers depend on it."""
        means = {
            population.name: mean_of_float(population, values)
            for population, values in run_floats(graph, images.fitted, torch.float64)
        }
        counts: dict[str, Tensor] = {}
        logits = torch.empty(0)
        for population, values in run_floats(graph, images.held_out, torch.float32):
            if isinstance(population, SpikingPopulation):
                counts[population.name] = values.to(torch.int32)
            else:
                logits = values.flatten(1).double()
        return cls(
            graph=graph,
            widths=widths,
            images=images,
            trained=trained,
            means=means,
            logits=logits,
            counts=counts,
        )

    def steps(self, network: IntegerNetwork) -> Lowering:
        """Round by the output's error, then correct biases; keep what lowers the logit error."""
        notes: list[str] = []
        if self.trained:
            notes.append(
                f"keep the integers that they were trained with: {', '.join(self.trained)}"
            )
        done = [self._measured(NEAREST, network)]
        for name, change in ((ROUNDING, self._rounded), (BIASES, self._biased)):
            changed, kept = self._through_layers(network, change)
            step = self._measured(name, changed)
            least = min(before.logit_error for before in done if before.kept)
            step = replace(step, kept=step.logit_error < least)
            done.append(step)
            if step.kept:
                network = changed
                notes += [
                    f"{name}: {layer} is left out, since its accumulator would exceed the state"
                    for layer in kept
                ]
        wide = [
            f"{weight.sources[0]} -> {p.name}"
            for p in self.graph.populations
            for weight in layer_weights(self.graph, p.name)
            if _num_inputs(weight) > MOST_INPUTS
        ]
        if wide:
            notes.append(
                f"weights with more than {MOST_INPUTS:,} inputs are rounded to nearest: {', '.join(wide)}"
            )
        return Lowering(
            network=verify_integer_widths(verify_integer_network(network), self.widths),
            images=self.images,
            steps=tuple(done),
            notes=tuple(notes),
        )

    def _rounded(self, layer: Layer, counts: Mapping[str, Tensor]) -> tuple[Layer, Tensor]:
        weights = layer_weights(self.graph, layer.real.name)
        few = [w for w in weights if _num_inputs(w) <= MOST_INPUTS]
        changed = rounded_weights(layer, few, counts)
        return changed, _accumulator(changed, counts)

    def _biased(self, layer: Layer, counts: Mapping[str, Tensor]) -> tuple[Layer, Tensor]:
        sums = _accumulator(layer, counts)
        return corrected_bias(layer, sums, self.means[layer.real.name], self.widths), sums

    def _through_layers(
        self, network: IntegerNetwork, change: _Change
    ) -> tuple[IntegerNetwork, list[str]]:
        """Change one population after the other; each reads counts of those that are changed already.

        Returns:
            The network, and the populations that stay as they are, since their bounds would not fit.
        """
        counts = {network.input.name: torch.from_numpy(self.images.fitted).float()}
        populations = {p.name: p for p in network.populations}
        edges = {(s.source, s.target): s for s in network.synapses}
        kept = []
        for real in self.graph.populations:
            if isinstance(real, InputPopulation):
                continue
            layer = Layer.of(real, network, populations)
            changed, sums = layer, None
            if not is_maximum(real) and real.name not in self.trained:
                changed, sums = change(layer, counts)
                fitting = fitted_to_widths(changed, self.widths)
                if fitting is not changed:
                    sums = None
                if fitting is None:
                    kept.append(real.name)
                changed = fitting or layer
            if sums is None:
                sums = _accumulator(changed, counts)
            populations[real.name] = changed.lowered
            edges.update({(s.source, s.target): s for s in changed.edges})
            if isinstance(changed.lowered, IntegerSpiking):
                counts[real.name] = integer_counts(changed.lowered, sums)
            forget_read(self.graph, real.name, counts)
        synapses = [edges[s.source, s.target] for s in network.synapses]
        return IntegerNetwork.build(populations.values(), synapses), kept

    def _measured(self, name: str, network: IntegerNetwork) -> LoweringStep:
        integers, spikes = run_integers(network, self.images.held_out)
        logits = integers * network.readout.unit
        equal = sum(int((spikes[n] == counts).sum()) for n, counts in self.counts.items())
        total = sum(counts.numel() for counts in self.counts.values())
        readout = self.graph.readout
        same = None
        if has_classes(readout):
            same = float((logits.argmax(dim=1) == self.logits.argmax(dim=1)).double().mean())
        return LoweringStep(
            name=name,
            equal_counts=equal / total if total else 1.0,
            same_class=same,
            logit_error=float(logit_error(readout)(logits, self.logits).mean()),
            kept=True,
        )


_Change = Callable[[Layer, Mapping[str, Tensor]], tuple[Layer, Tensor]]
"""A layer and the counts of its sources to the changed layer, and its accumulator without the bias."""


def _accumulator(layer: Layer, counts: Mapping[str, Tensor]) -> Tensor:
    return accumulator(layer.lowered, layer.edges, layer.sources, counts)


def _num_inputs(weight: LayerWeight) -> int:
    return weight.convolution.weight[0].size
