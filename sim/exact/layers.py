"""From the integer network to the layers that the exact engine runs: sums, and counts from these sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from typing_extensions import assert_never

from sim.exact.closed_form import (
    bytes_of_levels,
    bytes_of_window_sums,
    counts_of_window_sums,
    spike_train,
    spikes_after,
    trains_of_currents,
)
from sim.exact.count_differences import CountDifferences, count_differences
from sim.exact.layer_sums import LayerOptions, Sums, fused_sums, integer_sums, travels_in_bytes
from sim.exact.linear_kernels import LARGEST_BYTE
from sim.torch_maps import exact_type
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.networks.integer_network.network import largest_source_value
from toolchain.networks.linear_maps import Shape

PROBE_SAMPLES = 8


class Form(Enum):
    """The meaning of a layer's sums; tests see by it which arithmetic is in use."""

    DIFFERENCES = "the counts themselves, in bytes, without a product"
    COUNTS = "the counts themselves, in bytes"
    SMALL_LEVELS = "levels that fit a signed byte; cut off, they are the counts"
    LEVELS = "levels; cut off, they are the counts"
    WINDOW_SUM = "V0 + T A"
    CURRENT = "A"


@dataclass(frozen=True, kw_only=True, eq=False)
class CountLayer:
    """A spiking population whose counts are asked for.

    Attributes:
        finish: computes counts from the sums, which it may overwrite.
        form: the meaning of the sums; only tests depend on it.
    """

    population: IntegerSpiking
    sums: Sums | CountDifferences
    finish: Callable[[Tensor], Tensor]
    form: Form

    def counts(self, values: Mapping[str, Tensor]) -> Tensor:
        """Counts ``(B, C, H, W)`` from those of the sources."""
        return self.finish(self.sums(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainLayer:
    """A spiking population whose counts and spike trains are asked for.

    Attributes:
        sums: the current A.
        fire: computes counts from the current, which it may overwrite; writes the spikes of each step.
    """

    population: IntegerSpiking
    sums: Sums
    fire: Callable[[Tensor, Tensor], Tensor]

    def counts_and_spikes(self, values: Mapping[str, Tensor], spikes: Tensor) -> Tensor:
        """Counts ``(B, C, H, W)`` from those of the sources.

        Args:
            spikes: bytes ``(T, B, H, W, C)`` to write 0 and 1 into, on any device.
        """
        return self.fire(self.sums(values), spikes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadoutLayer:
    """The readout population; its sums are the logits."""

    population: IntegerReadout
    sums: Sums

    def logits(self, values: Mapping[str, Tensor]) -> Tensor:
        """int64 ``(B, classes)`` from the counts of the sources."""
        return self.sums(values).flatten(1).to(torch.int64)


Layer: TypeAlias = CountLayer | TrainLayer | ReadoutLayer


def prepare_layers(network: IntegerNetwork, options: LayerOptions) -> list[Layer]:
    """All populations but the input, in topological order.

    A layer in 8-bit arithmetic is compared with the same layer in floating point, on random values of its
    own shape, and replaced by it if they differ: we cannot prove what a library computes.

    Raises:
        UnsupportedNetworkError: a population's bound exceeds the integers that doubles hold.
    """
    layers = []
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        layer = _prepare(network, population, options)
        if options.largest_factor:
            plain = _prepare(
                network, population, replace(options, largest_factor=0, among_byte_layers=True)
            )
            layer = layer if _agree(network, layer, plain, options) else plain
        layers.append(layer)
    return layers


def _agree(network: IntegerNetwork, layer: Layer, plain: Layer, options: LayerOptions) -> bool:
    """Whether both layers compute the same integers from random values of their sources."""
    rng = np.random.default_rng(0)
    values = {}
    for synapse in network.incoming(layer.population.name):
        largest = largest_source_value(network, synapse)
        shape = (PROBE_SAMPLES, *network[synapse.source].shape)
        probe = torch.from_numpy(rng.integers(0, largest + 1, shape))
        in_bytes = travels_in_bytes(largest, options)
        probe = probe.to(options.device, torch.uint8 if in_bytes else torch.float64)
        values[synapse.source] = probe.contiguous(memory_format=torch.channels_last)
    ours, theirs = _integers(layer, values), _integers(plain, values)
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _integers(layer: Layer, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """All integers that a layer computes."""
    match layer:
        case ReadoutLayer():
            return (layer.logits(values),)
        case CountLayer():
            return (layer.counts(values),)
        case TrainLayer(population=population):
            channels, rows, columns = population.shape
            frames = (population.timesteps, PROBE_SAMPLES, rows, columns, channels)
            spikes = torch.empty(frames, dtype=torch.uint8)
            return layer.counts_and_spikes(values, spikes), spikes
        case _:
            assert_never(layer)


def _prepare(
    network: IntegerNetwork, population: IntegerSpiking | IntegerReadout, options: LayerOptions
) -> Layer:
    match population:
        case IntegerReadout():
            dtype = exact_type(network, population.name)
            sums = integer_sums(network, population, dtype, options, steps=population.timesteps)
            return ReadoutLayer(population=population, sums=sums)
        case IntegerSpiking():
            if options.with_trains:
                return _train_layer(network, population, options)
            if not _is_usual(population):
                return _layer_of_currents(network, population, options)
            subtracted = _layer_of_differences(network, population, options)
            fused = subtracted or _fused_layer(network, population, options)
            return fused or _layer_of_window_sums(network, population, options)
        case _:
            assert_never(population)


def _is_usual(population: IntegerSpiking) -> bool:
    """``0 <= V0 < Theta`` for every neuron, so the floating-point forms hold."""
    start = population.initial_potential
    return bool(((start >= 0) & (start < population.threshold)).all())


def _layer_of_differences(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> CountLayer | None:
    """Counts that are the difference of others, as those of a maximum, in bytes; else None."""
    incoming = network.incoming(population.name)
    if options.largest_factor == 0 or not all(
        travels_in_bytes(largest, options)
        for largest in (population.timesteps, *(largest_source_value(network, s) for s in incoming))
    ):
        return None
    differences = count_differences(network, population, largest_byte=LARGEST_BYTE)
    if differences is None:
        return None
    return CountLayer(
        population=population, sums=differences, finish=lambda counts: counts, form=Form.DIFFERENCES
    )


def _fused_layer(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> CountLayer | None:
    """Counts or levels straight from 8-bit convolutions, if these are exact; else None."""
    steps = population.timesteps
    if not travels_in_bytes(steps, options):
        return None
    if (fused := fused_sums(network, population, options)) is None:
        return None
    sums, scaled = fused
    if len(sums.edges) == 1:
        return CountLayer(
            population=population, sums=sums, finish=lambda counts: counts, form=Form.COUNTS
        )
    fit_bytes = scaled.limits is not None
    return CountLayer(
        population=population,
        sums=sums,
        finish=lambda levels: bytes_of_levels(steps, levels, fit_bytes=fit_bytes),
        form=Form.SMALL_LEVELS if fit_bytes else Form.LEVELS,
    )


def _layer_of_window_sums(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> CountLayer:
    """One division per neuron."""
    steps, dtype = population.timesteps, exact_type(network, population.name)
    sums = integer_sums(
        network, population, dtype, options, steps=steps, offset=population.initial_potential
    )
    threshold = _along_rows(population.threshold, population.shape, dtype, options.device)
    in_bytes = travels_in_bytes(steps, options)
    counts_of = bytes_of_window_sums if in_bytes else counts_of_window_sums
    return CountLayer(
        population=population,
        sums=sums,
        finish=lambda window_sums: counts_of(steps, window_sums, threshold),
        form=Form.WINDOW_SUM,
    )


def _layer_of_currents(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> CountLayer:
    """In int64, for any V0."""
    neurons = _Neurons.of(network, population, options)
    threshold, initial = neurons.threshold.long(), neurons.initial.long()
    steps, sent = population.timesteps, neurons.sent
    return CountLayer(
        population=population,
        sums=neurons.currents,
        finish=lambda currents: spikes_after(steps, currents.long(), threshold, initial).to(sent),
        form=Form.CURRENT,
    )


def _train_layer(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> TrainLayer:
    neurons = _Neurons.of(network, population, options)
    threshold, initial = neurons.threshold, neurons.initial
    steps, sent = population.timesteps, neurons.sent
    if _is_usual(population) and steps <= LARGEST_BYTE:

        def fire(currents: Tensor, spikes: Tensor) -> Tensor:
            return trains_of_currents(steps, currents, threshold, initial, spikes).to(sent)
    else:
        integers = threshold.long(), initial.long()

        def fire(currents: Tensor, spikes: Tensor) -> Tensor:
            return spike_train(steps, currents.long(), *integers, spikes).to(sent)

    return TrainLayer(population=population, sums=neurons.currents, fire=fire)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Neurons:
    """A, Theta and V0 in a type that holds every sum, and the type in which counts are sent."""

    currents: Sums
    threshold: Tensor
    initial: Tensor
    sent: torch.dtype

    @staticmethod
    def of(network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions) -> _Neurons:
        dtype = exact_type(network, population.name)
        threshold, initial = (
            _along_rows(values, population.shape, dtype, options.device)
            for values in (population.threshold, population.initial_potential)
        )
        in_bytes = travels_in_bytes(population.timesteps, options)
        zeros = 0 * population.initial_potential  # of its shape, so that torch adds it the same way
        return _Neurons(
            currents=integer_sums(network, population, dtype, options, offset=zeros),
            threshold=threshold,
            initial=initial,
            sent=torch.uint8 if in_bytes else dtype,
        )


def _along_rows(
    values: np.ndarray, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A tensor with one row if all rows are equal, channels last: torch runs over it at full width."""
    whole = np.broadcast_to(values, shape if values.shape[1] > 1 else (shape[0], 1, shape[2]))
    rows_last = np.require(whole.transpose(1, 2, 0), requirements=["C", "W"])
    return torch.from_numpy(rows_last).to(device, dtype).permute(2, 0, 1)
