"""The exact engine: one integer-valued linear pass per synapse, whatever T_l is.

With averaging alignment the current is constant over a firing window, so counts are a closed form of
the accumulator: no time axis exists unless spike trains are asked for. Counts travel from layer to layer
in bytes where they fit; ``sim.exact.linear_kernels`` says in which arithmetic, and why it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)

ACCUMULATOR_BYTES = 8 * 2**20
"""Largest accumulator of a batch: about what a processor's caches keep from a convolution to its count."""

ACCELERATOR_BYTES = 256 * 2**20
"""The same on an accelerator: enough to keep all of it at work."""


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
        batch_size: samples computed at once, never changes a result; what suits the processor's caches
            when None.
        device: where torch computes, such as ``cpu`` or ``cuda``.

    Raises:
        UnsupportedNetworkError: a synapse does not average, so no closed form holds.
        DataError: the pixels are not what the input population holds.
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
        """Samples whose largest accumulator takes what suits the device; at least 8."""
        largest = max(prod(layer.population.shape) for layer in self._layers)
        held = ACCUMULATOR_BYTES if is_processor(self._options.device) else ACCELERATOR_BYTES
        return max(8, held // (4 * largest))

    def run(
        self,
        pixels: np.ndarray,
        batch_size: int | None = None,
        on_counts: Callable[[str, Tensor], None] | None = None,
    ) -> Simulation:
        """Simulate integers of shape ``(N, C, H, W)``.

        Args:
            batch_size: samples computed at once; ``samples_per_batch`` when None.
            on_counts: called for each batch with each spiking population's name and counts
                ``(B, C, H, W)``, of any type, as soon as they are known: what is to be reduced need not
                be kept.

        Raises:
            DataError: the pixels are not what the input population holds.
        """
        checked = check_pixels(self._network, pixels)
        results = _Results(len(pixels))
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
        """Each population's counts as they become known; those asked for go to the results."""
        source = self._network.input
        values = {source.name: self._frames(pixels, source.max_value)}
        for layer, unread in zip(self._layers, self._unread_after, strict=True):
            match layer:
                case ReadoutLayer():
                    results.logits(layer.population)[batch] = layer.logits(values)
                    continue
                case TrainLayer():
                    spikes = results.spikes(layer.population)[:, batch]
                    counts = layer.counts_and_spikes(values, spikes)
                case CountLayer():
                    counts = layer.counts(values)
                case _:
                    assert_never(layer)
            for source_name in unread:
                del values[source_name]
            name = layer.population.name
            values[name] = counts
            if self._with_counts:
                results.counts(layer.population)[batch] = counts.permute(0, 2, 3, 1)
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


class _Results:
    """Integers of all samples in memory, made once, that one batch after another fills in.

    Channels lie last in memory, steps first, as the engine computes them.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._logits: Tensor | None = None
        self._counts: dict[str, Tensor] = {}
        self._spikes: dict[str, Tensor] = {}

    def logits(self, population: IntegerReadout) -> Tensor:
        """int64 ``(N, classes)``."""
        if self._logits is None:
            self._logits = torch.empty((self._samples, prod(population.shape)), dtype=torch.int64)
        return self._logits

    def counts(self, population: IntegerSpiking) -> Tensor:
        """Bytes, or int64 where they do not suffice, ``(N, H, W, C)``."""
        if population.name not in self._counts:
            dtype = np.uint8 if population.timesteps <= LARGEST_BYTE else np.int64
            self._counts[population.name] = self._frames(population, dtype)
        return self._counts[population.name]

    def spikes(self, population: IntegerSpiking) -> Tensor:
        """0 and 1 in bytes, ``(T, N, H, W, C)``."""
        if population.name not in self._spikes:
            steps = population.timesteps
            self._spikes[population.name] = self._frames(population, np.uint8, steps)
        return self._spikes[population.name]

    def _frames(self, population: IntegerSpiking, dtype: DTypeLike, *steps: int) -> Tensor:
        """From numpy, which asks for huge pages: a quarter of the time until they are there."""
        channels, rows, columns = population.shape
        return torch.from_numpy(np.empty((*steps, self._samples, rows, columns, channels), dtype))

    def simulation(self) -> Simulation:
        assert self._logits is not None
        counts = {n: c.permute(0, 3, 1, 2).numpy() for n, c in self._counts.items()}
        trains = {
            n: s.view(torch.bool).permute(1, 0, 4, 2, 3).numpy() for n, s in self._spikes.items()
        }
        return Simulation(
            logits=self._logits.numpy(), counts=CompactIntegers(counts), trains=trains
        )
