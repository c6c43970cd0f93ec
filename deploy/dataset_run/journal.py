"""Finished chunks of an unfinished simulation, kept in a file so that it can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from deploy.build.line_journal import JournalKind, LineJournal
from toolchain.datasets import PixelSource, samples_sha256
from toolchain.files.whole_files import SIMULATION_JOURNAL
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import describe_network
from toolchain.networks.record_reader import RecordReader

_FORMAT = "qac-deploy simulation, version 2"
_REMEDY = (
    "finished samples are kept there for --resume: make room, or simulate a copy of the build in another "
    "folder"
)


class RunRecord(TypedDict):
    """What two runs must have in common to share chunks."""

    network: str
    engine: str
    samples: int
    data: str
    chunk_samples: int


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """What is kept of consecutive samples.

    Attributes:
        predictions: index of the largest logit of each sample: its class, unless the logits are maps.
        spikes: sum of all counts of each population.
        logits_sha256: of the logits as little-endian int64, sample by sample.
        logits: only in memory, and only if they are asked for.
    """

    predictions: list[int]
    spikes: dict[str, int]
    logits_sha256: str
    logits: np.ndarray | None = None


class Journal(LineJournal[int, ChunkResult]):
    """The chunks of a simulation, by number.

    Attributes:
        finished: chunks that an earlier run finished.
    """

    def __init__(self, path: Path, run: RunRecord, *, resume: bool) -> None:
        """Read the chunks of an earlier run, if ``resume``.

        Raises:
            ModelFileError: the path cannot be written, another run is at work on it, or its file is of
                another run or damaged.
        """
        kind = JournalKind(
            file=SIMULATION_JOURNAL,
            format=_FORMAT,
            as_record=_chunk_record,
            from_record=partial(_chunk, run),
            another_at_work="another simulation of this build is at work; wait until it ends, or copy the "
            "build folder and simulate the copy",
            remedy=_REMEDY,
        )
        super().__init__(path, {**run}, kind, resume=resume)


def describe_run(
    network: IntegerNetwork,
    engine: str,
    pixels: PixelSource,
    labels: np.ndarray,
    chunk_samples: int,
) -> RunRecord:
    """The record that a journal begins with.

    Args:
        pixels: of the data set.
        labels: of the samples that are run, which are the first ones.
    """
    document, arrays = describe_network(network)
    digest = hashlib.sha256(json.dumps(document).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return {
        "network": digest.hexdigest(),
        "engine": engine,
        "samples": len(labels),
        "data": samples_sha256(pixels, labels),
        "chunk_samples": chunk_samples,
    }


def _chunk_record(index: int, result: ChunkResult) -> Mapping[str, object]:
    record = asdict(replace(result, logits=None))
    del record["logits"]
    return {"chunk": index, **record}


def _chunk(run: RunRecord, reader: RecordReader) -> tuple[int, ChunkResult]:
    index = reader.integer("chunk", 0)
    length = min(run["chunk_samples"], run["samples"] - index * run["chunk_samples"])
    if length < 1:
        raise reader.refuse("chunk", "the number of a chunk of this run", index)
    spikes = RecordReader(reader.path, f"{reader.where}.spikes", reader.value("spikes"))
    return index, ChunkResult(
        predictions=list(reader.integers("predictions", length, 0)),
        spikes={name: spikes.integer(name, 0) for name in spikes.names()},
        logits_sha256=reader.text("logits_sha256"),
    )
