"""The exact engine: one integer-valued linear pass per synapse, for any T_l.

With averaging alignment the current is constant over a firing window, so counts are a closed form of
the accumulator: no time axis exists unless spike trains are asked for. Counts go from layer to layer in
bytes if they fit; ``sim.exact.linear_kernels`` says in which arithmetic, and why it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from typing_extensions import assert_never

from sim.exact.layer_sums import LayerOptions, travels_in_bytes
from sim.exact.layers import CountLayer, Layer, ReadoutLayer, TrainLayer, prepare_layers
from sim.exact.linear_kernels import (
    LARGEST_BYTE,
    check_float_arithmetic,
    exact_arithmetic,
    is_processor,
    largest_factor,
)
from sim.results import CompactIntegers, Simulation, check_pixels
from toolchain.errors import DeviceError, UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork, IntegerSpiking

ACCUMULATOR_BYTES = 8 * 2**20
"""Largest accumulator of a batch on a processor: about the size that its caches keep until it is counted."""

ACCELERATOR_BYTES = 256 * 2**20
"""Largest accumulator of a batch on an accelerator: enough work for all of it."""


def run_exact(
    network: IntegerNetwork,
    pixels: np.ndarray,
    *,
    with_counts: bool = True,
    with_trains: bool = False,
    batch_size: int | None = None,
    device: str = "cpu",
) -> Simulation:
    """Simulate by closed form.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        with_counts: keep the counts of every population.
        with_trains: also derive every spike train; costs time and memory in proportion to T.
        batch_size: samples computed at once, never changes a result;
            ``ExactEngine.samples_per_batch`` by default.
        device: where torch computes, such as ``cpu`` or ``cuda``.

    Raises:
        UnsupportedNetworkError: a synapse does not average, so no closed form holds.
        DataError: type, shape or range of the pixels do not fit the input population.
        DeviceError: the device is not there or does not compute exactly.
    """
    engine = ExactEngine(network, with_counts=with_counts, with_trains=with_trains, device=device)
    return engine.run(pixels, batch_size)


class ExactEngine:
    """A network prepared for simulation: weights packed once, for any number of batches.

    Args:
        with_counts, with_trains, device: as for ``run_exact``.
        int8: whether to use 8-bit arithmetic wherever it is exact.

    Raises:
        UnsupportedNetworkError, DeviceError: as ``run_exact``.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        *,
        with_counts: bool = True,
        with_trains: bool = False,
        device: str = "cpu",
        int8: bool = True,
    ) -> None:
        if not network.has_constant_current:
            raise UnsupportedNetworkError(
                "the exact engine needs 'average' alignment on every synapse: with 'replicate' or "
                "'truncate' the current varies and no closed form holds; use the frame-by-frame or the "
                "stepped engine, or Lava"
            )
        self._network = network
        self._with_counts = with_counts
        place = _device(device)
        check_float_arithmetic(place)
        self._options = LayerOptions(
            device=place,
            largest_factor=largest_factor(place) if int8 else 0,
            with_trains=with_trains,
        )
        with exact_arithmetic():
            self._layers = prepare_layers(network, self._options)
        self._unread_after = _unread_after(self._layers)

    @property
    def samples_per_batch(self) -> int:
        """Samples whose largest accumulator has a size that suits the device; at least 8 small ones."""
        largest = max(prod(layer.population.shape) for layer in self._layers)
        size = ACCUMULATOR_BYTES if is_processor(self._options.device) else ACCELERATOR_BYTES
        fewest = min(8, max(1, ACCELERATOR_BYTES // (4 * largest)))
        return max(fewest, size // (4 * largest))

    def run(
        self,
        pixels: np.ndarray,
        batch_size: int | None = None,
        on_counts: Callable[[str, Tensor], None] | None = None,
    ) -> Simulation:
        """Simulate integers of shape ``(N, C, H, W)``.

        Args:
            batch_size: samples computed at once; ``samples_per_batch`` by default.
            on_counts: see ``sim.engines.OnCounts``.

        Raises:
            DataError: type, shape or range of the pixels do not fit the input population.
        """
        checked = check_pixels(self._network, pixels)
        results = _Results.allocate(
            self._network,
            len(pixels),
            with_counts=self._with_counts,
            with_trains=self._options.with_trains,
        )
        size = batch_size or self.samples_per_batch
        with exact_arithmetic():
            for start in range(0, max(len(pixels), 1), size):
                batch = slice(start, min(start + size, len(pixels)))
                counts = self._run_batch(checked[batch], batch, results)
                for name, values in counts:
                    if on_counts is not None:
                        on_counts(name, values)
        return results.simulation()

    def _run_batch(
        self, pixels: np.ndarray, batch: slice, results: _Results
    ) -> Iterator[tuple[str, Tensor]]:
        """Each population's counts as they become known; writes the results."""
        source = self._network.input
        values = {source.name: self._frames(pixels, source.max_value)}
        for layer, unread in zip(self._layers, self._unread_after, strict=True):
            name = layer.population.name
            match layer:
                case ReadoutLayer():
                    results.logits[batch] = layer.logits(values)
                    continue
                case TrainLayer():
                    counts = layer.counts_and_spikes(values, results.spikes[name][:, batch])
                case CountLayer():
                    counts = layer.counts(values)
                case _:
                    assert_never(layer)
            for source_name in unread:
                del values[source_name]
            values[name] = counts
            if self._with_counts:
                results.counts[name][batch] = counts.permute(0, 2, 3, 1)
            yield name, counts

    def _frames(self, pixels: np.ndarray, max_value: int) -> Tensor:
        in_bytes = travels_in_bytes(max_value, self._options)
        frames = torch.from_numpy(pixels.astype(np.uint8 if in_bytes else np.int64))
        return frames.to(self._options.device).contiguous(memory_format=torch.channels_last)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"device '{name}' cannot be used: {str(error).splitlines()[0]}; 'cpu' always can"
        ) from None
    return device


def _unread_after(layers: Sequence[Layer]) -> list[list[str]]:
    """For each layer, the sources that no later layer reads."""
    last_reader = {source: i for i, layer in enumerate(layers) for source in layer.sums.sources}
    return [[s for s, last in last_reader.items() if last == i] for i in range(len(layers))]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Results:
    """Memory for the integers of all samples, which one batch after another fills in.

    Channels are last in memory, steps first, as the engine computes them.

    Attributes:
        logits: int64 ``(N, classes)``.
        counts: unsigned bytes, or int64 if T does not fit, ``(N, H, W, C)``.
        spikes: 0 and 1 in bytes, ``(T, N, H, W, C)``.
    """

    logits: Tensor
    counts: dict[str, Tensor]
    spikes: dict[str, Tensor]

    @staticmethod
    def allocate(
        network: IntegerNetwork, samples: int, *, with_counts: bool, with_trains: bool
    ) -> _Results:
        def frames(population: IntegerSpiking, dtype: DTypeLike, *steps: int) -> Tensor:
            channels, rows, columns = population.shape
            # numpy asks for huge pages, so that first writes take a quarter of the time
            return torch.from_numpy(np.empty((*steps, samples, rows, columns, channels), dtype))

        return _Results(
            logits=torch.empty((samples, prod(network.readout.shape)), dtype=torch.int64),
            counts={
                p.name: frames(p, np.uint8 if p.timesteps <= LARGEST_BYTE else np.int64)
                for p in network.spiking
                if with_counts
            },
            spikes={
                p.name: frames(p, np.uint8, p.timesteps) for p in network.spiking if with_trains
            },
        )

    def simulation(self) -> Simulation:
        counts = {n: c.permute(0, 3, 1, 2).numpy() for n, c in self.counts.items()}
        trains = {
            n: s.view(torch.bool).permute(1, 0, 4, 2, 3).numpy() for n, s in self.spikes.items()
        }
        return Simulation(logits=self.logits.numpy(), counts=CompactIntegers(counts), trains=trains)
