"""The frame-by-frame engine: any alignment, with convolutions by torch.

If a synapse averages, its current is the same in every step and is computed once. If it selects frames, its
current is computed once for each frame that a step reads. Neurons then fire step by step. The type holds all
sums (see ``sim.exact.linear_kernels``), so the result is exact.

A search over alignments runs nearly the same network again and again, so populations whose spike trains are
known from an earlier run are not computed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from typing_extensions import assert_never

from sim.exact.linear_kernels import exact_arithmetic
from sim.results import Simulation, check_pixels
from sim.torch_maps import exact_type, transmit
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.networks.integer_network.network import step_frames

_VALUES_OF_A_BATCH = 2**22
_MOST_AT_ONCE = 256  # samples
_MOST_VALUES = 2**28
_VALUES_AT_ONCE = 2**16
"""Values of the frames that a synapse carries in one call, which stay in a processor's caches."""


def run_frame_by_frame(
    network: IntegerNetwork,
    pixels: np.ndarray,
    *,
    known: Mapping[str, np.ndarray] | None = None,
    with_counts: bool = True,
    with_trains: bool = True,
    on_counts: Callable[[str, Tensor], None] | None = None,
    batch_size: int | None = None,
) -> Simulation:
    """Simulate all populations but those whose spike trains are known.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        known: spike trains ``(B, T_l, C, H, W)`` from a run of another network in which these
            populations, and all upstream of them, are the same.
        with_counts, with_trains: keep the counts and the spike trains of every population.
        on_counts: see ``sim.engines.OnCounts``.
        batch_size: samples computed at once; bounds memory, never changes a result. By default as many as
            ``_VALUES_OF_A_BATCH`` allow.

    Raises:
        UnsupportedNetworkError: a bound exceeds the integers that doubles hold, or there are more spikes
            in a sample than ``_MOST_VALUES``.
        DataError: type, shape or range of the pixels do not fit the input population.
    """
    _check_values(network)
    pixels, known = check_pixels(network, pixels).astype(np.int64), known or {}
    logits: list[np.ndarray] = []
    counts: dict[str, list[np.ndarray]] = defaultdict(list)
    trains: dict[str, list[np.ndarray]] = defaultdict(list)

    def keep(name: str, spikes: Tensor) -> None:
        if with_counts or on_counts is not None:
            sums = spikes.sum(dim=1)
            if on_counts is not None:
                on_counts(name, sums)
            if with_counts:
                counts[name].append(sums.numpy())
        if with_trains:
            trains[name].append(spikes.numpy())

    types = {  # the same in every batch, and bounds take a while
        p.name: exact_type(network, p.name)
        for p in network.populations
        if not isinstance(p, IntegerInput) and p.name not in known
    }
    batch_size = batch_size or _samples_at_once(network)
    with exact_arithmetic():
        for start in range(0, max(len(pixels), 1), batch_size):
            batch = slice(start, start + batch_size)
            from_known = {name: train[batch] for name, train in known.items()}
            logits.append(_run_batch(network, pixels[batch], from_known, types, keep))
    return Simulation(
        logits=np.concatenate(logits),
        counts={name: np.concatenate(parts) for name, parts in counts.items()},
        trains={name: np.concatenate(parts) for name, parts in trains.items()},
    )


def _check_values(network: IntegerNetwork) -> None:
    values = sum(p.timesteps * math.prod(p.shape) for p in network.spiking)
    if values > _MOST_VALUES:
        raise UnsupportedNetworkError(
            f"the network has {values:,} neurons times timesteps, more than the {_MOST_VALUES:,} of which "
            f"every step is simulated; use fewer timesteps, a smaller input, or another engine"
        )


def _samples_at_once(network: IntegerNetwork) -> int:
    """Many samples of a small network, whose steps then take no longer than one's; few of a large one."""
    values = sum(p.timesteps * math.prod(p.shape) for p in network.spiking)
    return min(max(_VALUES_OF_A_BATCH // max(values, 1), 1), _MOST_AT_ONCE)


def _run_batch(
    network: IntegerNetwork,
    pixels: np.ndarray,
    known: Mapping[str, np.ndarray],
    types: Mapping[str, torch.dtype],
    on_spikes: Callable[[str, Tensor], None],
) -> np.ndarray:
    """Logits, int64 ``(B, classes)``; ``on_spikes`` gets each population's spikes ``(B, T, C, H, W)``."""
    frames: dict[str, Tensor] = {}  # values that each population sends, (B, T, C, H, W)
    logits = np.empty(0)
    for population in network.populations:
        name = population.name
        match population:
            case IntegerInput():
                frames[name] = torch.from_numpy(pixels)[:, None]
            case IntegerSpiking():
                if name in known:
                    frames[name] = torch.from_numpy(known[name])
                else:
                    frames[name] = _fire(
                        population, _currents(network, population, types[name], frames)
                    )
                on_spikes(name, frames[name])
            case IntegerReadout():
                sums = _currents(network, population, types[name], frames).sum(
                    dim=1, dtype=torch.float64
                )
                logits = sums.reshape(len(pixels), -1).to(torch.int64).numpy()
            case _:
                assert_never(population)
    return logits


def _currents(
    network: IntegerNetwork,
    target: IntegerSpiking | IntegerReadout,
    dtype: torch.dtype,
    frames: Mapping[str, Tensor],
) -> Tensor:
    """Input current of each step of the target's window, ``(B, T, C, H, W)``."""
    batch = len(next(iter(frames.values())))
    bias = torch.from_numpy(target.bias).to(dtype)
    currents = bias.expand(batch, target.timesteps, *target.shape).clone()
    for synapse in network.incoming(target.name):
        source = frames[synapse.source]
        if synapse.alignment == "average":
            currents += transmit(synapse, source.sum(dim=1).to(dtype))[:, None]
            continue
        pairs = [(s, f) for s, f in enumerate(step_frames(network, synapse)) if f is not None]
        for frame_range in _ranges(len(pairs), batch, network[synapse.source], target):
            steps, selected = zip(*pairs[frame_range], strict=True)
            distinct, place = np.unique(selected, return_inverse=True)
            values = source[:, distinct].to(dtype)
            sent = transmit(synapse, values.flatten(0, 1)).unflatten(0, values.shape[:2])
            currents[:, list(steps)] += sent[:, place]
    return currents


def _ranges(
    count: int, batch: int, source: IntegerPopulation, target: IntegerPopulation
) -> Iterator[slice]:
    """Steps that are computed together: many small frames at once, but large ones one by one."""
    values = batch * max(math.prod(source.shape), math.prod(target.shape))
    length = max(_VALUES_AT_ONCE // values, 1)
    for start in range(0, count, length):
        yield slice(start, start + length)


def _fire(population: IntegerSpiking, currents: Tensor) -> Tensor:
    """Spikes of each step, bool, ``(B, T, C, H, W)``."""
    threshold = torch.from_numpy(population.threshold).to(currents.dtype)
    start = torch.from_numpy(population.initial_potential).to(currents.dtype)
    potential = start.expand(currents[:, 0].shape).clone()
    spikes = torch.empty(currents.shape, dtype=torch.bool)
    for step in range(population.timesteps):
        potential += currents[:, step]
        spikes[:, step] = potential >= threshold
        potential -= threshold * spikes[:, step]
    return spikes
