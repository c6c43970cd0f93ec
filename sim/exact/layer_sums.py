"""Kernels for the sums of a population's synapses: the exact engine's choice of arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim.exact.fused_counts import FusedCounts, fused_counts
from sim.exact.linear_kernels import (
    LARGEST_BYTE,
    Kernel,
    convolution_kernel,
    dense_kernel,
    pool_kernel,
    reads_bytes_exactly,
    scaling_kernel,
)
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import synapse_interval
from toolchain.networks.integer_network.network import largest_source_value
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Scale,
    WeightedMap,
    as_grouped_convolution,
)


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Options for which layers are prepared.

    Attributes:
        largest_factor: largest value for 8-bit arithmetic; 0 for floating point alone.
        with_trains: whether spike trains are asked for.
        among_byte_layers: whether other layers send and read bytes, although this one computes in floats.
    """

    device: torch.device
    largest_factor: int
    with_trains: bool
    among_byte_layers: bool = False


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One synapse: kernels, each applied to the result of the one before."""

    source: str
    kernels: Sequence[Kernel]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """The sum over the edges into a population, and a constant.

    Attributes:
        constant: None if a kernel adds it.
    """

    edges: Sequence[Edge]
    constant: Tensor | None = None

    @property
    def sources(self) -> list[str]:
        return [edge.source for edge in self.edges]

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Sums ``(B, C, H, W)`` from the counts or pixels of the sources."""
        total: Tensor | None = None
        for edge in self.edges:
            added = values[edge.source]
            for kernel in edge.kernels:
                added = kernel(added)
            total = added if total is None else total.add_(added)
        assert total is not None
        return total if self.constant is None else total.add_(self.constant)


def travels_in_bytes(largest_value: int, options: LayerOptions) -> bool:
    """Whether a population's counts or pixels go to its readers as unsigned bytes."""
    in_bytes = options.largest_factor > 0 or options.among_byte_layers
    return in_bytes and largest_value <= LARGEST_BYTE


def integer_sums(
    network: IntegerNetwork,
    population: IntegerSpiking | IntegerReadout,
    dtype: torch.dtype,
    options: LayerOptions,
    *,
    steps: int = 1,
    offset: np.ndarray | int = 0,
) -> Sums:
    """``steps * A + offset`` in a floating-point type that holds it.

    Args:
        offset: integers that broadcast to the population's shape.
    """
    constant = steps * population.bias + offset
    incoming = network.incoming(population.name)
    # the first edge adds the constant, if it can
    in_kernel = constant.shape[1:] == (1, 1) and not incoming[0].pools_after
    bias = np.broadcast_to(constant.reshape(-1), population.shape[:1]) if in_kernel else None
    edges = []
    for synapse in incoming:
        kernels = _kernels(network, synapse, steps, bias, dtype, options)
        edges.append(Edge(source=synapse.source, kernels=kernels))
        bias = None
    left = None if in_kernel else torch.from_numpy(constant).to(options.device, dtype)
    return Sums(edges=edges, constant=left)


def _kernels(
    network: IntegerNetwork,
    synapse: IntegerSynapse,
    steps: int,
    bias: np.ndarray | None,
    dtype: torch.dtype,
    options: LayerOptions,
) -> list[Kernel]:
    """``steps * 2^x_e * op(W, N) + bias``, in bytes as long as they hold the values."""
    kernels: list[Kernel] = []
    shape, device = network[synapse.source].shape, options.device
    factor = steps * 2**synapse.exponent
    on_bytes = _on_bytes(network, synapse, options)
    for linear_map, reads_bytes in zip(synapse.maps, on_bytes, strict=True):
        int8 = reads_bytes and dtype == torch.float32
        match linear_map:
            case Convolution() | Scale():
                convolution = as_grouped_convolution(linear_map, shape)
                kernel = convolution_kernel(
                    convolution, shape, factor=factor, bias=bias, dtype=dtype, int8=int8,
                    device=device,
                )  # fmt: skip
            case Dense():
                kernel = dense_kernel(
                    linear_map, shape, factor=factor, bias=bias, dtype=dtype, int8=int8,
                    device=device,
                )  # fmt: skip
            case _:  # a map without a weight
                kernel = pool_kernel(
                    linear_map, shape[0], dtype=dtype, int8=reads_bytes, device=device
                )
        kernels.append(kernel)
        shape = linear_map.output_shape(shape)
    return kernels


def _on_bytes(
    network: IntegerNetwork, synapse: IntegerSynapse, options: LayerOptions
) -> list[bool]:
    """For each map, whether 8-bit arithmetic holds the values that it reads and their sums."""
    shape, largest = network[synapse.source].shape, largest_source_value(network, synapse)
    possible, on_bytes = largest <= options.largest_factor, []
    for linear_map in synapse.maps:
        if not isinstance(linear_map, WeightedMap):
            largest *= linear_map.fan_in
        possible = possible and largest <= options.largest_factor
        on_bytes.append(possible and reads_bytes_exactly(linear_map, shape))
        possible = on_bytes[-1] and linear_map is not synapse.weighted  # its sums are no bytes
        shape = linear_map.output_shape(shape)
    return on_bytes


def fused_sums(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> tuple[Sums, FusedCounts] | None:
    """Kernels from bytes to the counts or levels of ``sim.exact.fused_counts``; None if they have none.

    Counts of a single synapse come in bytes, levels of several in float32.
    """
    intervals = {s: synapse_interval(network, s) for s in network.incoming(population.name)}
    synapses = sorted(intervals, key=lambda s: intervals[s].magnitude << s.exponent)
    if not all(
        all(_on_bytes(network, s, options))
        and isinstance(s.weighted, Convolution | Scale)
        and not s.pools_after
        for s in synapses
    ):
        return None
    fused = fused_counts(
        population, [s.exponent for s in synapses], [intervals[s] for s in synapses]
    )
    if fused is None:
        return None
    edges: list[Edge] = []
    for synapse, scales in zip(synapses, fused.scales, strict=True):
        shape, device = network[synapse.source].shape, options.device
        kernels = [
            pool_kernel(pool, shape[0], int8=True, device=device) for pool in synapse.pools_before
        ]
        kernel = scaling_kernel(
            as_grouped_convolution(synapse.weighted, shape),
            scales,
            None if edges else fused.offset,
            fused.limits if synapse is synapses[-1] else None,
            torch.uint8 if len(synapses) == 1 else torch.float32,
            device=device,
        )
        edges.append(Edge(source=synapse.source, kernels=[*kernels, kernel]))
    return Sums(edges=edges), fused
