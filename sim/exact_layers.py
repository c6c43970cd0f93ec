"""From the integer network to the layers that the exact engine runs: which arithmetic, where, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sim.closed_form import (
    bytes_of_levels,
    bytes_of_window_sums,
    counts_of_window_sums,
    spike_train,
    spikes_after,
    trains_of_currents,
)
from sim.fused_counts import fused_counts
from sim.linear_kernels import (
    LARGEST_BYTE,
    Kernel,
    as_convolution,
    channels_last_is_trusted,
    convolution_kernel,
    dense_kernel,
    pool_kernel,
    scaling_kernel,
    sum_as_convolution,
)
from sim.torch_maps import exact_type
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.integer_network.accumulator_bounds import synapse_interval
from toolchain.integer_network.network import largest_source_value
from toolchain.linear_maps import Convolution, Dense, Scale, Shape, SumPool

PROBE_SAMPLES = 8

Edges: TypeAlias = list[tuple[str, list[Kernel]]]
"""Source and kernels of each synapse; the outputs add up."""


Holds: TypeAlias = Literal["counts", "small levels", "levels", "window sum", "current"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikingLayer:
    """A spiking population with kernels that give its counts, its window sum or its current.

    Attributes:
        constant: what is added to the sum over edges; None where a kernel adds it.
        holds: what that sum is then: the counts themselves, levels that count when they are cut off (small
            ones fit a signed byte), ``V0 + T A``, or A.
        is_usual: ``0 <= V0 < Theta`` for every neuron, so the floating-point forms hold.
        in_bytes: counts go on as unsigned bytes, else in the layer's type.
        threshold, initial: Theta and V0 in the layer's type.
    """

    population: IntegerSpiking
    edges: Edges
    constant: Tensor | None
    holds: Holds
    is_usual: bool
    in_bytes: bool
    threshold: Tensor
    initial: Tensor

    def counts(self, values: Mapping[str, Tensor]) -> Tensor:
        """Counts ``(B, C, H, W)`` from those of the sources."""
        sums, steps = _accumulate(self, values), self.population.timesteps
        if self.holds == "counts":
            return sums
        if self.holds in ("small levels", "levels"):
            return bytes_of_levels(steps, sums, fit_bytes=self.holds == "small levels")
        if self.holds == "current":
            integers = sums.long(), self.threshold.long(), self.initial.long()
            counts = spikes_after(steps, *integers)
            return counts.to(torch.uint8 if self.in_bytes else sums.dtype)
        if self.in_bytes:
            return bytes_of_window_sums(steps, sums, self.threshold)
        return counts_of_window_sums(steps, sums, self.threshold)

    def counts_and_spikes(self, values: Mapping[str, Tensor], spikes: Tensor) -> Tensor:
        """The same, and writes what fires in each step; for layers that hold A.

        Args:
            spikes: bytes ``(T, B, H, W, C)`` to write 0 and 1 into, on whatever device.
        """
        currents, steps = _accumulate(self, values), self.population.timesteps
        if self.is_usual and steps <= LARGEST_BYTE:
            counts = trains_of_currents(steps, currents, self.threshold, self.initial, spikes)
        else:
            integers = currents.long(), self.threshold.long(), self.initial.long()
            counts = spike_train(steps, *integers, spikes)
        return counts.to(torch.uint8 if self.in_bytes else currents.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadoutLayer:
    """The readout population; its kernels and constant add up to the logits."""

    population: IntegerReadout
    edges: Edges
    constant: Tensor | None

    def logits(self, values: Mapping[str, Tensor]) -> Tensor:
        """int64 ``(B, classes)`` from the counts of the sources."""
        return _accumulate(self, values).flatten(1).to(torch.int64)


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What the layers are prepared for.

    Attributes:
        largest_factor: largest value that 8-bit arithmetic takes; 0 for floating point alone.
    """

    device: torch.device
    largest_factor: int
    with_trains: bool


def prepare_layers(
    network: IntegerNetwork, options: LayerOptions
) -> list[SpikingLayer | ReadoutLayer]:
    """All populations but the input, in topological order.

    A layer in 8-bit arithmetic is tried against the same layer in floating point, on random values of
    its own shape, and gives way to it if they differ: what a library computes is not ours to prove.

    Raises:
        UnsupportedNetworkError: a population's bound is past what doubles can hold.
    """
    layers = []
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        layer = _prepare(network, population, options)
        if options.largest_factor:
            plain = _prepare(network, population, replace(options, largest_factor=0))
            layer = layer if _agree(network, layer, plain, options) else plain
        layers.append(layer)
    return layers


def _agree(
    network: IntegerNetwork,
    layer: SpikingLayer | ReadoutLayer,
    plain: SpikingLayer | ReadoutLayer,
    options: LayerOptions,
) -> bool:
    rng = np.random.default_rng(0)
    values = {}
    for synapse in network.incoming(layer.population.name):
        largest = largest_source_value(network, synapse)
        shape = (PROBE_SAMPLES, *network[synapse.source].shape)
        probe = torch.from_numpy(rng.integers(0, largest + 1, shape))
        in_bytes = travels_in_bytes(largest, options)
        probe = probe.to(options.device, torch.uint8 if in_bytes else torch.float64)
        values[synapse.source] = probe.contiguous(memory_format=torch.channels_last)
    if isinstance(layer, ReadoutLayer):
        assert isinstance(plain, ReadoutLayer)
        return torch.equal(layer.logits(values), plain.logits(values))
    assert isinstance(plain, SpikingLayer)
    if options.with_trains:
        channels, rows, columns = layer.population.shape
        frames = (layer.population.timesteps, PROBE_SAMPLES, rows, columns, channels)
        ours, theirs = torch.empty((2, *frames), dtype=torch.uint8)
        counts = layer.counts_and_spikes(values, ours), plain.counts_and_spikes(values, theirs)
        return torch.equal(*counts) and torch.equal(ours, theirs)
    return torch.equal(layer.counts(values), plain.counts(values))


def _accumulate(layer: SpikingLayer | ReadoutLayer, values: Mapping[str, Tensor]) -> Tensor:
    total: Tensor | None = None
    for source, kernels in layer.edges:
        added = values[source]
        for kernel in kernels:
            added = kernel(added)
        total = added if total is None else total.add_(added)
    assert total is not None
    return total if layer.constant is None else total.add_(layer.constant)


def travels_in_bytes(largest_value: int, options: LayerOptions) -> bool:
    """Whether a population's counts or pixels go to its readers as unsigned bytes."""
    return options.largest_factor > 0 and largest_value <= LARGEST_BYTE


def _prepare(
    network: IntegerNetwork, population: IntegerSpiking | IntegerReadout, options: LayerOptions
) -> SpikingLayer | ReadoutLayer:
    if isinstance(population, IntegerReadout):
        dtype = exact_type(network, population.name)
        zero = np.zeros(1, np.int64)
        edges, constant = _edges(network, population, population.timesteps, zero, dtype, options)
        return ReadoutLayer(population=population, edges=edges, constant=constant)
    start, threshold = population.initial_potential, population.threshold
    is_usual = bool(((start >= 0) & (start < threshold)).all())
    in_bytes = travels_in_bytes(population.timesteps, options)
    holds: Holds = "current"
    fused: tuple[Edges, Holds] | None = None
    if is_usual and not options.with_trains:
        holds = "window sum"
        if in_bytes:
            fused = _fused_edges(network, population, options)
    if fused is not None:
        dtype, constant = torch.float32, None
        edges, holds = fused
    else:
        dtype = exact_type(network, population.name)
        steps, offset = (1, start * 0) if holds == "current" else (population.timesteps, start)
        edges, constant = _edges(network, population, steps, offset, dtype, options)
    return SpikingLayer(
        population=population,
        edges=edges,
        constant=constant,
        holds=holds,
        is_usual=is_usual,
        in_bytes=in_bytes,
        threshold=_along_rows(threshold, population.shape, dtype, options.device),
        initial=_along_rows(start, population.shape, dtype, options.device),
    )


def _along_rows(
    values: np.ndarray, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """One row of neurons where all rows are alike: torch runs over it at full width, channels last."""
    whole = np.broadcast_to(values, shape if values.shape[1] > 1 else (shape[0], 1, shape[2]))
    rows_last = np.require(whole.transpose(1, 2, 0), requirements=["C", "W"])
    return torch.from_numpy(rows_last).to(device, dtype).permute(2, 0, 1)


def _fused_edges(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> tuple[Edges, Holds] | None:
    """Kernels from bytes to the counts or levels of ``sim.fused_counts``, or None."""
    sums = {s: synapse_interval(network, s) for s in network.incoming(population.name)}
    synapses = sorted(sums, key=lambda s: sums[s].magnitude << s.exponent)
    if not all(
        all(_on_bytes(network, s, options)) and isinstance(s.maps[-1], Convolution | Scale)
        for s in synapses
    ):
        return None
    exponents = [s.exponent for s in synapses]
    fused = fused_counts(population, exponents, [sums[s] for s in synapses])
    if fused is None:
        return None
    holds: Holds = "counts"
    if len(synapses) > 1:
        holds = "levels" if fused.limits is None else "small levels"
    edges: Edges = []
    for synapse, scale in zip(synapses, fused.scales, strict=True):
        *pools, last = synapse.maps
        kernels: list[Kernel] = []
        for pool in pools:
            assert isinstance(pool, SumPool)  # a synapse has one weighted map
            channels = network[synapse.source].shape[0]
            kernels.append(pool_kernel(pool, channels, int8=True, device=options.device))
        assert isinstance(last, Convolution | Scale)
        kernel = scaling_kernel(
            as_convolution(last) if isinstance(last, Scale) else last,
            scale,
            None if edges else fused.offset,
            fused.limits if synapse is synapses[-1] else None,
            torch.uint8 if holds == "counts" else torch.float32,
            device=options.device,
        )
        edges.append((synapse.source, [*kernels, kernel]))
    return edges, holds


def _on_bytes(
    network: IntegerNetwork, synapse: IntegerSynapse, options: LayerOptions
) -> list[bool]:
    """For each map, whether it can read bytes in 8-bit arithmetic."""
    shape, largest = network[synapse.source].shape, largest_source_value(network, synapse)
    possible, on_bytes = largest <= options.largest_factor, []
    for linear_map in synapse.maps:
        match linear_map:
            case Convolution():
                on_bytes.append(possible and channels_last_is_trusted(linear_map, shape))
                possible = False  # sums are wider
            case Scale():
                on_bytes.append(
                    possible and channels_last_is_trusted(as_convolution(linear_map), shape)
                )
                possible = False
            case Dense():
                on_bytes.append(possible)
                possible = False
            case SumPool():
                largest *= prod(linear_map.kernel)
                ones = sum_as_convolution(linear_map, shape[0])
                possible = possible and largest <= options.largest_factor
                possible = possible and channels_last_is_trusted(ones, shape)
                on_bytes.append(possible)
        shape = linear_map.output_shape(shape)
    return on_bytes


def _edges(
    network: IntegerNetwork,
    population: IntegerSpiking | IntegerReadout,
    steps: int,
    offset: np.ndarray,
    dtype: torch.dtype,
    options: LayerOptions,
) -> tuple[Edges, Tensor | None]:
    """Kernels and a constant that add up to ``steps * A + offset``; the first edge adds it if it can."""
    constant = steps * population.bias + offset
    incoming = network.incoming(population.name)
    in_kernel = constant.shape[1:] == (1, 1) and not isinstance(incoming[0].maps[-1], SumPool)
    bias = np.broadcast_to(constant.reshape(-1), population.shape[:1]) if in_kernel else None
    edges = [
        (s.source, _kernels(network, s, steps, bias if s is incoming[0] else None, dtype, options))
        for s in incoming
    ]
    return edges, None if in_kernel else torch.from_numpy(constant).to(options.device, dtype)


def _kernels(
    network: IntegerNetwork,
    synapse: IntegerSynapse,
    steps: int,
    bias: np.ndarray | None,
    dtype: torch.dtype,
    options: LayerOptions,
) -> list[Kernel]:
    """``steps * 2^x_e * op(W, N) + bias``, in bytes as far as they hold the values."""
    kernels: list[Kernel] = []
    shape = network[synapse.source].shape
    weighted = {
        "factor": steps * 2**synapse.exponent,
        "bias": bias,
        "dtype": dtype,
        "device": options.device,
    }
    on_bytes = _on_bytes(network, synapse, options)
    for linear_map, reads_bytes in zip(synapse.maps, on_bytes, strict=True):
        int8 = reads_bytes and dtype == torch.float32
        match linear_map:
            case Convolution():
                kernels.append(convolution_kernel(linear_map, shape, **weighted, int8=int8))
            case Scale():
                as_conv = as_convolution(linear_map)
                kernels.append(convolution_kernel(as_conv, shape, **weighted, int8=int8))
            case Dense():
                kernels.append(dense_kernel(linear_map, shape, **weighted, int8=int8))
            case SumPool():
                kernels.append(
                    pool_kernel(
                        linear_map, shape[0], dtype=dtype, int8=reads_bytes, device=options.device
                    )
                )
        shape = linear_map.output_shape(shape)
    return kernels
