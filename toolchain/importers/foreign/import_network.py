"""Convert a quantized network of another tool, after it was compared with its runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from toolchain.datasets import PixelSource
from toolchain.importers.foreign.foreign_network import (
    ForeignNetwork,
    Imported,
    Judge,
    RuntimeValues,
)
from toolchain.importers.foreign.pixel_quantizers import LevelPopulation, fit_pixel_quantizers
from toolchain.importers.foreign.probe_inputs import (
    high_contrast_pixels,
    large_inputs,
)
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.torch_module import Normalization, as_network_input, convert
from toolchain.method.graph_comparison import probe_pixels
from toolchain.method.guard import execute
from toolchain.networks.linear_maps import Shape

NUM_OWN_SAMPLES = 16
"""Samples of the user's data set on which both are compared."""


def import_network(
    network: ForeignNetwork,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Compare a quantized network with its runtime, and convert it to a layer graph.

    Args:
        input_shape, max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: the first quantizer or the logits in which both differ, or an operation
            that has no spiking form.
    """
    parts = [probe_pixels(input_shape, max_value), high_contrast_pixels(input_shape, max_value)]
    if samples is not None:
        parts.insert(0, np.asarray(samples[:NUM_OWN_SAMPLES]))
    values = torch.from_numpy(np.concatenate(parts)).to(torch.float64) / max_value
    inputs = as_network_input(values, normalization).to(torch.float32)
    network = with_pixel_quantizers(network, input_shape, max_value, normalization)
    agreement = compare_with_runtime(network, inputs)
    if network.any_input:
        compare_with_runtime(network, large_inputs(inputs))
    notes = [*network.notes, *agreement.remarks]
    if agreement.num_ties:
        notes.append(_effect_of_ties(network, inputs))
    graph = convert(network.module, input_shape, max_value, normalization, samples=samples)
    return Imported(
        graph=graph,
        source=network.source,
        runtime=network.runtime,
        agreement=agreement,
        notes=tuple(notes),
    )


def _effect_of_ties(network: ForeignNetwork, inputs: Tensor) -> str:
    """What the ties change in the end, since the comparison goes on with the runtime's counts."""
    theirs = np.asarray(network.execute(inputs.numpy()).logits, np.float64).reshape(len(inputs), -1)
    ours = execute(network.module, inputs.to(torch.float64)).reshape(len(inputs), -1).numpy()
    share = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    others = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    return (
        f"ties: neurons round half up, {network.runtime} half to even. On the {len(inputs)} compared "
        f"samples, logits differ by up to {share:.1%} of their range; {others} of them get another class"
    )


def with_pixel_quantizers(
    network: ForeignNetwork,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
) -> ForeignNetwork:
    """The same network, whose quantizers of the input became what they do to pixels, also in its judge.

    Args:
        input_shape, max_value, normalization: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: as ``fit_pixel_quantizers``.
    """
    mean, std = (None, None) if normalization is None else (normalization.mean, normalization.std)
    notes = fit_pixel_quantizers(network.module, input_shape, max_value, mean, std)
    return replace(
        network,
        execute=_counting_levels(network),
        notes=(*network.notes, *notes),
        any_input=network.any_input and not notes,
    )


def _counting_levels(network: ForeignNetwork) -> Judge:
    """A network's judge that gives counts of the quantizers that count levels from the lowest."""
    of_levels = {
        f"{name}.counts": (name, population)
        for name, population in network.module.named_modules()
        if isinstance(population, LevelPopulation)
    }

    def execute(
        inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        theirs = dict(stimuli or {})
        for counts, (name, population) in of_levels.items():
            if counts in theirs:
                theirs[name] = population.values_of(theirs.pop(counts))
        found = network.execute(inputs, theirs or None)
        quantized, stimulated = dict(found.quantized), set(found.stimulated)
        for counts, (name, population) in of_levels.items():
            if name in quantized:
                quantized[counts] = population.counts_of(quantized.pop(name))
            if name in stimulated:
                stimulated ^= {name, counts}
        return replace(found, quantized=quantized, stimulated=frozenset(stimulated))

    return execute if of_levels else network.execute
