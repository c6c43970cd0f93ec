"""From the integer network to the layers that the exact engine runs: which arithmetic, where, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim.linear_kernels import (
    EXACT_INTEGERS,
    LARGEST_BYTE,
    Kernel,
    convolution_kernel,
    dense_kernel,
    pool_kernel,
    scale_kernel,
)
from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.integer_network.accumulator_bounds import window_sum_bound
from toolchain.integer_network.network import largest_source_value
from toolchain.linear_maps import Convolution, Dense, Scale, SumPool


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikingLayer:
    """A spiking population with kernels that give its window sum or its current.

    Attributes:
        edges: source and kernels of each synapse; their outputs add up.
        constant: what is added to that sum; None where a kernel adds it.
        holds_window_sum: the sum is ``V0 + T A``, else A.
        is_usual: ``0 <= V0 < Theta`` for every neuron, so the floating-point forms hold.
        in_bytes: counts go on as unsigned bytes, else in the layer's type.
        threshold, initial: Theta and V0 in the layer's type.
    """

    population: IntegerSpiking
    edges: list[tuple[str, list[Kernel]]]
    constant: Tensor | None
    holds_window_sum: bool
    is_usual: bool
    in_bytes: bool
    threshold: Tensor
    initial: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadoutLayer:
    """The readout population; its kernels and constant add up to the logits."""

    population: IntegerReadout
    edges: list[tuple[str, list[Kernel]]]
    constant: Tensor | None


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What the layers are prepared for."""

    device: torch.device
    int8: bool
    with_trains: bool


def prepare_layers(
    network: IntegerNetwork, options: LayerOptions
) -> list[SpikingLayer | ReadoutLayer]:
    """All populations but the input, in topological order.

    Raises:
        UnsupportedNetworkError: a population's bound is past what doubles can hold.
    """
    return [
        _prepare(network, population, options)
        for population in network.populations
        if not isinstance(population, IntegerInput)
    ]


def travels_in_bytes(largest_value: int, options: LayerOptions) -> bool:
    """Whether a population's counts or pixels go to its readers as unsigned bytes."""
    return options.int8 and largest_value <= LARGEST_BYTE


def _prepare(
    network: IntegerNetwork, population: IntegerSpiking | IntegerReadout, options: LayerOptions
) -> SpikingLayer | ReadoutLayer:
    dtype = _exact_type(network, population.name)
    if isinstance(population, IntegerReadout):
        edges, constant = _edges(
            network, population, population.timesteps, np.zeros(1, np.int64), dtype, options
        )
        return ReadoutLayer(population=population, edges=edges, constant=constant)
    start, threshold = population.initial_potential, population.threshold
    is_usual = bool(((start >= 0) & (start < threshold)).all())
    holds_window_sum = is_usual and not options.with_trains
    steps, offset = (population.timesteps, start) if holds_window_sum else (1, start * 0)
    edges, constant = _edges(network, population, steps, offset, dtype, options)
    return SpikingLayer(
        population=population,
        edges=edges,
        constant=constant,
        holds_window_sum=holds_window_sum,
        is_usual=is_usual,
        in_bytes=travels_in_bytes(population.timesteps, options),
        threshold=torch.from_numpy(threshold).to(options.device, dtype),
        initial=torch.from_numpy(start).to(options.device, dtype),
    )


def _exact_type(network: IntegerNetwork, name: str) -> torch.dtype:
    bound = window_sum_bound(network, name)
    dtype = next((d for d, limit in EXACT_INTEGERS.items() if bound <= limit), None)
    if dtype is None:
        raise UnsupportedNetworkError(
            f"{name}: accumulator bound {bound:,} exceeds 2^53, the largest integer the "
            f"exact engine can hold; use the stepped engine"
        )
    return dtype


def _edges(
    network: IntegerNetwork,
    population: IntegerSpiking | IntegerReadout,
    steps: int,
    offset: np.ndarray,
    dtype: torch.dtype,
    options: LayerOptions,
) -> tuple[list[tuple[str, list[Kernel]]], Tensor | None]:
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
    largest = largest_source_value(network, synapse)
    in_bytes = travels_in_bytes(largest, options)
    weighted = {
        "factor": steps * 2**synapse.exponent,
        "bias": bias,
        "dtype": dtype,
        "device": options.device,
    }
    for linear_map in synapse.maps:
        int8 = in_bytes and dtype == torch.float32
        match linear_map:
            case Convolution():
                kernels.append(convolution_kernel(linear_map, **weighted, int8=int8))
                in_bytes = False
            case Scale():
                kernels.append(scale_kernel(linear_map, shape, **weighted, int8=int8))
                in_bytes = False
            case Dense():
                kernels.append(dense_kernel(linear_map, shape, **weighted, int8=int8))
                in_bytes = False
            case SumPool(kernel=window):
                largest *= window[0] * window[1]
                in_bytes = in_bytes and largest <= LARGEST_BYTE
                kernels.append(pool_kernel(linear_map, shape[0], dtype=dtype, int8=in_bytes))
        shape = linear_map.output_shape(shape)
    return kernels
