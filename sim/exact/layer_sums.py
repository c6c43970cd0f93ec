"""Kernels for the sums of a population's synapses: the exact engine's choice of arithmetic."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from typing_extensions import assert_never

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
from toolchain.networks.integer_network.accumulator_bounds import Interval, synapse_interval
from toolchain.networks.integer_network.network import largest_source_value
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Scale,
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
class Branch:
    """A source, and the kernels of the maps before a weight, each applied to the result of the one before."""

    source: str
    kernels: Sequence[Kernel]

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        return _applied(self.kernels, values[self.source])


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One synapse, or several with the same weight, which is applied once, to the sum of their sources.

    Attributes:
        kernels: from the weight on.
        sum_type: holds the sum of several branches.
    """

    branches: Sequence[Branch]
    kernels: Sequence[Kernel]
    sum_type: torch.dtype

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        first, *others = self.branches
        added = first(values)
        for branch in others:  # never in place: without a kernel, these are the source's own counts
            added = added.to(self.sum_type) + branch(values).to(self.sum_type)
        return _applied(self.kernels, added)


def _applied(kernels: Sequence[Kernel], values: Tensor) -> Tensor:
    for kernel in kernels:
        values = kernel(values)
    return values


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
        return [branch.source for edge in self.edges for branch in edge.branches]

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Sums ``(B, C, H, W)`` from the counts or pixels of the sources."""
        first, *others = self.edges
        total = first(values)
        for edge in others:
            total.add_(edge(values))
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
    groups = same_weights(network, population.name)
    # the first edge adds the constant, if it can
    in_kernel = constant.shape[1:] == (1, 1) and not groups[0][0].pools_after
    bias = np.broadcast_to(constant.reshape(-1), population.shape[:1]) if in_kernel else None
    edges = []
    for synapses in groups:
        edges.append(_integer_edge(network, synapses, steps, bias, dtype, options))
        bias = None
    left = None if in_kernel else torch.from_numpy(constant).to(options.device, dtype)
    return Sums(edges=edges, constant=left)


def same_weights(network: IntegerNetwork, name: str) -> list[list[IntegerSynapse]]:
    """The synapses into a population, in groups that apply the same weight to feature maps of one shape.

    So do those that read a maximum, a sum of several populations: one convolution serves all of them.
    """
    groups: dict[Hashable, list[IntegerSynapse]] = {}
    for synapse in network.incoming(name):
        weighted = synapse.weighted
        geometry = [getattr(weighted, f.name) for f in fields(weighted) if f.name != "weight"]
        key = (
            synapse.weighted_input_shape(network[synapse.source].shape),
            (type(weighted), *geometry, weighted.weight.shape, weighted.weight.tobytes()),
            synapse.exponent,
            synapse.pools_after,
        )
        groups.setdefault(key, []).append(synapse)
    return list(groups.values())


def _integer_edge(
    network: IntegerNetwork,
    synapses: Sequence[IntegerSynapse],
    steps: int,
    bias: np.ndarray | None,
    dtype: torch.dtype,
    options: LayerOptions,
) -> Edge:
    """``steps * 2^x_e * op(W, N) + bias``, in bytes as long as they hold the values."""
    last, device = synapses[-1], options.device
    factor = steps * 2**last.exponent
    shape = last.weighted_input_shape(network[last.source].shape)
    pools_on_bytes, weight_on_bytes = _on_bytes(network, synapses, options)
    branches = [
        _branch(network, synapse, on_bytes, dtype, device)
        for synapse, on_bytes in zip(synapses, pools_on_bytes, strict=True)
    ]
    int8 = weight_on_bytes and dtype == torch.float32
    match last.weighted:
        case Convolution() | Scale():
            convolution = as_grouped_convolution(last.weighted, shape)
            kernel = convolution_kernel(
                convolution, shape, factor=factor, bias=bias, dtype=dtype, int8=int8, device=device
            )
        case Dense():
            kernel = dense_kernel(
                last.weighted, shape, factor=factor, bias=bias, dtype=dtype, int8=int8,
                device=device,
            )  # fmt: skip
        case _:
            assert_never(last.weighted)
    kernels, shape = [kernel], last.weighted.output_shape(shape)
    for pool in last.pools_after:
        kernels.append(pool_kernel(pool, shape[0], dtype=dtype, int8=False, device=device))
        shape = pool.output_shape(shape)
    return Edge(
        branches=branches, kernels=kernels, sum_type=torch.uint8 if weight_on_bytes else dtype
    )


def _branch(
    network: IntegerNetwork,
    synapse: IntegerSynapse,
    on_bytes: Sequence[bool],
    dtype: torch.dtype,
    device: torch.device,
) -> Branch:
    kernels, shape = [], network[synapse.source].shape
    for pool, int8 in zip(synapse.pools_before, on_bytes, strict=True):
        kernels.append(pool_kernel(pool, shape[0], int8=int8, dtype=dtype, device=device))
        shape = pool.output_shape(shape)
    return Branch(source=synapse.source, kernels=kernels)


def _on_bytes(
    network: IntegerNetwork, synapses: Sequence[IntegerSynapse], options: LayerOptions
) -> tuple[list[list[bool]], bool]:
    """For each map before the weight of each synapse, and for the weight that they share, whether 8-bit
    arithmetic holds the values that it reads and their sums."""
    pools_on_bytes, total, possible = [], 0, True
    for synapse in synapses:
        shape, largest = network[synapse.source].shape, largest_source_value(network, synapse)
        in_bytes, on_bytes = largest <= options.largest_factor, []
        for pool in synapse.pools_before:
            largest *= pool.fan_in
            in_bytes = (
                in_bytes and largest <= options.largest_factor and reads_bytes_exactly(pool, shape)
            )
            on_bytes.append(in_bytes)
            shape = pool.output_shape(shape)
        pools_on_bytes.append(on_bytes)
        total, possible = total + largest, possible and in_bytes
    weighted = synapses[-1].weighted
    possible = possible and total <= options.largest_factor
    return pools_on_bytes, possible and reads_bytes_exactly(weighted, shape)


def fused_sums(
    network: IntegerNetwork, population: IntegerSpiking, options: LayerOptions
) -> tuple[Sums, FusedCounts] | None:
    """Kernels from bytes to the counts or levels of ``sim.exact.fused_counts``; None if they have none.

    Counts of a single synapse come in bytes, levels of several in float32.
    """
    intervals = [
        (group, _sum_interval(network, group)) for group in same_weights(network, population.name)
    ]
    intervals.sort(key=lambda pair: pair[1].magnitude << pair[0][0].exponent)
    groups = [group for group, _ in intervals]
    if not all(
        _on_bytes(network, group, options)[1]
        and isinstance(group[0].weighted, Convolution | Scale)
        and not group[0].pools_after
        for group in groups
    ):
        return None
    fused = fused_counts(
        population, [group[0].exponent for group in groups], [sums for _, sums in intervals]
    )
    if fused is None:
        return None
    edges: list[Edge] = []
    for group, scales in zip(groups, fused.scales, strict=True):
        last, device = group[-1], options.device
        kernel = scaling_kernel(
            as_grouped_convolution(
                last.weighted, last.weighted_input_shape(network[last.source].shape)
            ),
            scales,
            None if edges else fused.offset,
            fused.limits if group is groups[-1] else None,
            torch.uint8 if len(groups) == 1 else torch.float32,
            device=device,
        )
        branches = [
            _branch(network, s, [True] * len(s.pools_before), torch.float32, device) for s in group
        ]
        edges.append(Edge(branches=branches, kernels=[kernel], sum_type=torch.uint8))
    return Sums(edges=edges), fused


def _sum_interval(network: IntegerNetwork, synapses: Sequence[IntegerSynapse]) -> Interval:
    """Bounds of the sum of synapses with the same weight, before their exponent."""
    intervals = [synapse_interval(network, synapse) for synapse in synapses]
    return Interval(
        low=np.sum([i.low for i in intervals], axis=0),
        high=np.sum([i.high for i in intervals], axis=0),
    )
