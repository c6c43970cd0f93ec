"""Run an engine on a whole data set, chunk by chunk: here or on many workers, and on after an interrupt.

The result of a chunk is the class of each sample, the spikes of each population, and a digest of the
logits. So memory does not grow with the data set, and two runs can still be compared by every logit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from deploy.dataset_run.journal import ChunkResult, Journal
from sim.engines import ENGINES, PreparedEngine, Request
from sim.exact.linear_kernels import LARGEST_BYTE
from toolchain.datasets import PixelSource
from toolchain.errors import EngineError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import has_classes

CHUNK_SAMPLES = 320
"""Samples per chunk, which is computed, sent and kept as a whole; the last chunk may be smaller."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetRun:
    """The result of all samples.

    Attributes:
        predictions: class of each sample, int64; None if the logits are not those of classes.
        spikes: sum of all counts of each population.
        logits_sha256: of the digests of all chunks; equal for equal logits.
        logits: int64 ``(N, C * H * W)``; None if the simulator does not keep them.
    """

    predictions: np.ndarray | None
    spikes: dict[str, int]
    logits_sha256: str
    logits: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkSimulator:
    """Simulates one chunk, on any worker.

    Attributes:
        engine: one of ``sim.engines.ENGINES``.
        keep_logits: of all samples, for a user's accuracy; memory then grows with the data set.
    """

    network: IntegerNetwork
    engine: str = "exact"
    device: str = "cpu"
    keep_logits: bool = False

    def __call__(self, pixels: np.ndarray) -> ChunkResult:
        spikes: Counter[str] = Counter()
        most = {p.name: p.timesteps for p in self.network.spiking}

        counted: Counter[str] = Counter()

        def add(name: str, counts: Tensor) -> None:
            spikes[name] += _total(counts, most[name])
            counted[name] += len(counts)

        logits = _prepared(self)(pixels, add).logits
        for name in most:
            if counted[name] != len(pixels):
                raise EngineError(
                    f"engine '{self.engine}' gave the counts of '{name}' for {counted[name]} of "
                    f"{len(pixels)} samples; it must call on_counts(name, counts) for every spiking "
                    f"population and every batch (sim.engines.OnCounts)"
                )
        return ChunkResult(
            predictions=logits.argmax(axis=1).tolist(),
            spikes=dict(spikes),
            logits_sha256=hashlib.sha256(np.ascontiguousarray(logits, "<i8").data).hexdigest(),
            logits=logits if self.keep_logits else None,
        )


Spread: TypeAlias = Callable[
    [ChunkSimulator, Iterator[tuple[int, np.ndarray]]], Iterator[tuple[int, ChunkResult]]
]
"""Numbered chunks to numbered results, in any order."""


def in_this_process(
    simulator: ChunkSimulator, chunks: Iterator[tuple[int, np.ndarray]]
) -> Iterator[tuple[int, ChunkResult]]:
    """Simulate one chunk after another."""
    return ((index, simulator(pixels)) for index, pixels in chunks)


def simulate_dataset(
    simulator: ChunkSimulator,
    pixels: PixelSource,
    *,
    num_samples: int | None = None,
    spread: Spread = in_this_process,
    journal: Journal | None = None,
    on_progress: Callable[[int], None] = lambda samples: None,
) -> DatasetRun:
    """Simulate samples; the result does not depend on where their chunks are computed.

    Args:
        num_samples: how many, from the first on; None runs all.
        spread: computes the chunks.
        journal: keeps finished chunks without their logits, and has those that an earlier run finished.
        on_progress: called with the number of samples done.

    Raises:
        DataError: the pixels are not what the network's input population holds.
        UnsupportedNetworkError: the engine cannot run the network.
    """
    finished = {} if journal is None else dict(journal.finished)
    end = len(pixels) if num_samples is None else num_samples
    starts = range(0, end, CHUNK_SAMPLES)
    missing = (
        (index, pixels[start : min(start + CHUNK_SAMPLES, end)])
        for index, start in enumerate(starts)
        if index not in finished
    )
    on_progress(sum(len(result.predictions) for result in finished.values()))
    for index, result in spread(simulator, missing):
        finished[index] = result
        if journal is not None:
            journal.write(index, result)
        on_progress(sum(len(result.predictions) for result in finished.values()))
    chunks = [finished[index] for index in range(len(starts))]
    return _joined(chunks, has_classes(simulator.network.readout))


def _joined(chunks: list[ChunkResult], with_classes: bool) -> DatasetRun:
    spikes: Counter[str] = Counter()
    for chunk in chunks:
        spikes.update(chunk.spikes)
    digests = "".join(chunk.logits_sha256 for chunk in chunks)
    predictions = np.array([c for chunk in chunks for c in chunk.predictions], np.int64)
    logits = [chunk.logits for chunk in chunks if chunk.logits is not None]
    return DatasetRun(
        predictions=predictions if with_classes else None,
        spikes=dict(spikes),
        logits_sha256=hashlib.sha256(digests.encode()).hexdigest(),
        logits=np.concatenate(logits) if len(logits) == len(chunks) else None,
    )


def _total(counts: Tensor, most: int) -> int:
    """Sum of counts ``0..most`` of shape ``(B, C, H, W)``.

    Eight bytes are added at once, as one 64-bit integer, over so few samples that no byte overflows.
    """
    samples = counts.permute(0, 2, 3, 1).flatten(1)  # in the order of memory
    if counts.dtype != torch.uint8 or samples.shape[1] % 8:
        return int(counts.sum(dtype=torch.int64))
    lanes = samples.view(torch.int64)
    groups = -(-len(lanes) // (LARGEST_BYTE // most))
    grouped, left = lanes.split([len(lanes) // groups * groups, len(lanes) % groups])
    sums = grouped.view(groups, -1, lanes.shape[1]).sum(dim=1)
    parts = (sums, left) if len(left) else (sums,)
    return sum(int(part.view(torch.uint8).sum(dtype=torch.int64)) for part in parts)


@lru_cache(maxsize=1)
def _prepared(simulator: ChunkSimulator) -> PreparedEngine:
    """The simulator's engine, prepared once per process."""
    request = Request(with_counts=False, device=simulator.device)
    return ENGINES[simulator.engine].prepare(simulator.network, request)
