"""Compare a layer graph with the NIR graph it was made of, in every spike of every population and step.

The layer graph's spiking network runs with the spikes that the NIR graph fired. So the first population that
differs is the one that was read wrongly, and a tie does not affect what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from toolchain.datasets.size_limit import VARIABLE, size_limit
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import RuntimeAgreement
from toolchain.importers.nir_format.conventions import Convention
from toolchain.importers.nir_format.execution import Execution, batches, execute_graph
from toolchain.importers.nir_format.populations import NirPopulations
from toolchain.importers.torch_module import Normalization, as_network_input
from toolchain.method.float_snn import (
    input_current,
    integrate_and_fire,
    neuron_states,
    propagate,
)
from toolchain.method.guard import TOLERANCE, difference_of

RUNTIME = "the NIR graph, executed step by step"
NUM_STIMULATED = 2
"""Samples that run a second time with neurons that fire at random, in case some are silent."""

_BYTES_AT_ONCE = 2**28
_BYTES_PER_STEP = 48  # of one neuron: potentials, currents and spikes of both networks


@torch.inference_mode()
def compare_with_graph(
    read: NirPopulations,
    convention: Convention,
    pixels: np.ndarray,
    normalization: Normalization | None,
    input_shape: tuple[int, ...],
) -> RuntimeAgreement:
    """Execute both on the same pixels.

    Args:
        pixels: integers, ``(B, C, H, W)``.
        input_shape: shape of the Input.

    Raises:
        UnsupportedNetworkError: naming the first population that differs, or the logits.
    """
    num_spikes = num_ties = 0
    at_random = torch.Generator().manual_seed(0)
    runs = [(pixels, None), (pixels[-NUM_STIMULATED:], at_random)]
    size = max(1, _BYTES_AT_ONCE // _bytes_per_sample(read))
    for run_pixels, generator in runs:
        for part in batches(len(run_pixels), size):
            spikes, ties = _compare_batch(
                read, convention, run_pixels[part], normalization, input_shape, generator
            )
            num_spikes, num_ties = num_spikes + spikes, num_ties + ties
    return RuntimeAgreement(num_samples=len(pixels), num_counts=num_spikes, num_ties=num_ties)


def _bytes_per_sample(read: NirPopulations) -> int:
    """Memory of both networks, for one sample.

    Raises:
        UnsupportedNetworkError: it is above the limit.
    """
    graph = read.graph
    neurons = sum(int(np.prod(p.shape)) * p.timesteps for p in graph.populations)
    needed, limit = neurons * _BYTES_PER_STEP, size_limit(None)
    if needed > limit:
        raise UnsupportedNetworkError(
            f"{read.network.label}: comparing one sample takes {needed:,} bytes of memory, above the limit "
            f"of {limit:,}; use fewer timesteps, or set {VARIABLE}={needed}"
        )
    return needed


def _compare_batch(
    read: NirPopulations,
    convention: Convention,
    pixels: np.ndarray,
    normalization: Normalization | None,
    input_shape: tuple[int, ...],
    at_random: torch.Generator | None,
) -> tuple[int, int]:
    """Number of spikes that were compared, and of those that differ at equality."""
    graph = read.graph
    images = input_current(graph, pixels, torch.float64)
    inputs = as_network_input(images, normalization).reshape(-1, *input_shape)
    steps = graph.readout.timesteps
    theirs = execute_graph(read.network, convention, inputs, steps, at_random)
    comparison = _Comparison(read, theirs, compare_spikes=at_random is None)
    neurons = neuron_states(graph, torch.float64)
    ours = propagate(graph, images, neurons, partial(integrate_and_fire, spike=comparison.fired))
    logits = ours.step_logits.mean(dim=1)
    found = difference_of(theirs.logits.flatten(1), logits, 0.0)
    if found is not None:
        raise UnsupportedNetworkError(
            f"{read.network.label}: {graph.readout.name}: the converted network has other logits than "
            f"{RUNTIME}: {found}"
        )
    return comparison.num_spikes, comparison.num_ties


class _Comparison:
    """The layer graph's neurons, which fire as those of the NIR graph, after a comparison.

    ``propagate`` asks for the populations one after the other, and for the steps of each in order.
    """

    def __init__(self, read: NirPopulations, theirs: Execution, *, compare_spikes: bool) -> None:
        self.read, self.theirs, self.compare_spikes = read, theirs, compare_spikes
        self.num_spikes = self.num_ties = 0
        self._calls = self._in_order()
        # by how much more than v_threshold the spikes of the current population have subtracted
        self._reset_by = torch.zeros(())

    def _in_order(self) -> Iterator[tuple[str, str, int]]:
        node_of = {population: node for node, population in self.read.populations.items()}
        for population in self.read.graph.spiking:
            for step in range(population.timesteps):
                yield population.name, node_of[population.name], step

    def fired(self, potential: Tensor, threshold: Tensor) -> Tensor:
        name, node, step = next(self._calls)
        expected = self.theirs.potentials[node][:, step].reshape(potential.shape)
        spikes = self.theirs.spikes[node][:, step].reshape(potential.shape)
        unit = torch.from_numpy(self.read.thresholds[name])
        if step == 0:
            self._reset_by = torch.zeros_like(potential)
        own = potential * unit + self._reset_by
        found = difference_of(expected, own, float(unit.max()))
        if found is not None:
            raise UnsupportedNetworkError(
                f"{self.read.network.label}: {name}: its potential differs from that of {RUNTIME}, in step "
                f"{step}: {found}"
            )
        if self.compare_spikes:
            v_threshold = unit - self.read.margins[name]
            slack = TOLERANCE * (float(v_threshold.max()) + float(expected.abs().max()))
            tied = (expected - v_threshold).abs() <= slack
            self._compare(name, step, potential >= threshold, spikes, tied)
        fired = spikes.to(potential.dtype)
        self._reset_by += fired * self.read.margins[name]
        return fired

    def _compare(self, name: str, step: int, ours: Tensor, spikes: Tensor, tied: Tensor) -> None:
        """Compare spikes; those at the threshold itself, where rounding decides, may differ."""
        self.num_spikes += ours.numel()
        different = ours != spikes
        wrong = different & ~tied
        if wrong.any():
            at = tuple(int(i) for i in wrong.nonzero()[0])
            does, not_ = ("fires", "does not") if bool(ours[at]) else ("does not fire", "does")
            raise UnsupportedNetworkError(
                f"{self.read.network.label}: {name}: {does} in step {step} where {RUNTIME}, {not_}, at "
                f"sample and neuron {at}"
            )
        self.num_ties += int(different.sum())
