"""The exact engine: one integer-valued linear pass per synapse, whatever T_l is.

With averaging alignment the current is constant over a firing window, so counts are a closed form of
the accumulator. Convolutions run in float32 where the compile-time bound proves that every partial
sum is an integer below 2^24, else in float64 (below 2^53): the result is exact either way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim.closed_form import spike_train, spikes_after
from sim.simulation import Simulation, check_pixels
from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    has_constant_current,
)
from toolchain.integer_network.accumulator_bounds import window_sum_bound
from toolchain.linear_maps import Convolution, Dense, LinearMap, Scale, SumPool

EXACT_INTEGERS = {torch.float32: 2**24 - 1, torch.float64: 2**53 - 1}
"""Largest integer up to which sums, products and floored quotients of each type are exact."""


def run_exact(
    network: IntegerNetwork,
    pixels: np.ndarray,
    *,
    with_trains: bool = False,
    batch_size: int = 256,
    progress: Callable[[int], None] = lambda samples: None,
) -> Simulation:
    """Simulate by closed form.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        with_trains: also derive every spike train; costs time and memory in proportion to T.
        batch_size: samples computed at once; bounds memory, never changes a result.
        progress: called with the number of samples done after each batch.

    Raises:
        UnsupportedNetworkError: a synapse does not average, so no closed form holds.
        DataError: the pixels are not what the input population holds.
    """
    if not has_constant_current(network):
        raise UnsupportedNetworkError(
            "the exact engine needs 'average' alignment on every synapse: with 'replicate' or "
            "'truncate' the current varies and no closed form holds; use the stepped engine or Lava"
        )
    pixels = check_pixels(network, pixels)
    engine = _prepare(network)
    batches = []
    # NNPACK's Winograd transform divides: its sums are not integers, so it must stay off
    with torch.inference_mode(), torch.backends.nnpack.flags(enabled=False):
        for start in range(0, max(len(pixels), 1), batch_size):
            batches.append(_run_batch(engine, pixels[start : start + batch_size], with_trains))
            progress(min(start + batch_size, len(pixels)))
    return Simulation(
        logits=np.concatenate([b.logits for b in batches]),
        counts=_concatenate([b.counts for b in batches]),
        trains=_concatenate([b.trains for b in batches]),
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """One population with its weights as tensors of the type that is exact for it."""

    population: IntegerSpiking | IntegerReadout
    dtype: torch.dtype
    synapses: list[tuple[str, list[tuple[LinearMap, Tensor | None]]]]
    bias: Tensor
    in_normal_range: bool  # 0 <= V0 < Theta everywhere


def _prepare(network: IntegerNetwork) -> list[_Layer]:
    layers = []
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        bound = window_sum_bound(network, population.name)
        dtype = next((d for d, limit in EXACT_INTEGERS.items() if bound <= limit), None)
        if dtype is None:
            raise UnsupportedNetworkError(
                f"{population.name}: accumulator bound {bound:,} exceeds 2^53, the largest integer the "
                f"exact engine can hold; use the stepped engine"
            )
        layers.append(
            _Layer(
                population=population,
                dtype=dtype,
                synapses=[
                    (s.source, _maps_as_tensors(s, dtype))
                    for s in network.incoming(population.name)
                ],
                bias=torch.from_numpy(population.bias).to(dtype),
                in_normal_range=isinstance(population, IntegerSpiking)
                and bool(
                    (
                        (population.initial_potential >= 0)
                        & (population.initial_potential < population.threshold)
                    ).all()
                ),
            )
        )
    return layers


def _maps_as_tensors(
    synapse: IntegerSynapse, dtype: torch.dtype
) -> list[tuple[LinearMap, Tensor | None]]:
    """Weights with the exponent multiplied in: ``2^x_e W_e`` is still exact under the bound."""
    prepared: list[tuple[LinearMap, Tensor | None]] = []
    for linear_map in synapse.maps:
        if isinstance(linear_map, Convolution | Dense | Scale):
            weight = torch.from_numpy(linear_map.weight).to(dtype) * 2**synapse.exponent
            prepared.append((linear_map, weight))
        else:
            prepared.append((linear_map, None))
    return prepared


def _run_batch(engine: list[_Layer], pixels: np.ndarray, with_trains: bool) -> Simulation:
    outputs: dict[str, Tensor] = {}
    pixel_tensor = torch.from_numpy(pixels)
    counts: dict[str, np.ndarray] = {}
    trains: dict[str, np.ndarray] = {}
    logits = np.empty(0)
    for layer in engine:
        population = layer.population
        current = layer.bias
        for source, maps in layer.synapses:
            current = current + _transmit(maps, outputs.get(source, pixel_tensor).to(layer.dtype))
        if isinstance(population, IntegerReadout):
            logits = (
                (current.reshape(len(pixels), -1) * population.timesteps).to(torch.int64).numpy()
            )
            continue
        outputs[population.name] = _count(layer, population, current)
        counts[population.name] = outputs[population.name].to(torch.int64).numpy()
        if with_trains:
            trains[population.name] = spike_train(
                population.timesteps,
                current.to(torch.int64),
                torch.from_numpy(population.threshold),
                torch.from_numpy(population.initial_potential),
            ).numpy()
    return Simulation(logits=logits, counts=counts, trains=trains)


def _transmit(maps: list[tuple[LinearMap, Tensor | None]], values: Tensor) -> Tensor:
    for linear_map, weight in maps:
        match linear_map:
            case Convolution(stride=stride, padding=padding, groups=groups):
                assert weight is not None
                values = F.conv2d(values, weight, stride=stride, padding=padding, groups=groups)
            case Dense():
                assert weight is not None
                values = F.linear(values.flatten(1), weight)[:, :, None, None]
            case Scale():
                assert weight is not None
                values = values * weight[:, None, None]
            case SumPool(kernel=kernel, stride=stride, padding=padding):
                values = F.avg_pool2d(values, kernel, stride, padding, divisor_override=1)
    return values


def _count(layer: _Layer, population: IntegerSpiking, current: Tensor) -> Tensor:
    threshold = torch.from_numpy(population.threshold)
    initial = torch.from_numpy(population.initial_potential)
    steps = population.timesteps
    if not layer.in_normal_range:
        return spikes_after(steps, current.to(torch.int64), threshold, initial)
    # both operands are integers below EXACT_INTEGERS, so the floor of the rounded quotient is exact
    reached = current.mul(steps).add_(initial.to(layer.dtype))
    return reached.div_(threshold.to(layer.dtype)).floor_().clamp_(0, steps)


def _concatenate(parts: list) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
