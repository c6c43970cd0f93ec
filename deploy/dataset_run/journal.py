"""Finished chunks of an unfinished simulation, kept in a file so that it can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from msgspec import Struct

from deploy.build.line_journal import JournalKind, LineJournal
from toolchain.datasets import PixelSource, samples_sha256
from toolchain.field_types import Digest, Index, Total
from toolchain.files.whole_files import SIMULATION_JOURNAL
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import describe_network
from toolchain.schema import refusal, typed

_FORMAT = "qac-deploy simulation, version 3"
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


class _ChunkLine(Struct, kw_only=True, forbid_unknown_fields=True):
    chunk: Index
    predictions: list[Index]
    spikes: dict[str, Total]
    logits_sha256: Digest


def _chunk(
    run: RunRecord, record: Any, path: Path, where: str, remedy: str
) -> tuple[int, ChunkResult]:
    line = typed(record, _ChunkLine, path, where=where, remedy=remedy)
    length = min(run["chunk_samples"], run["samples"] - line.chunk * run["chunk_samples"])
    if length < 1:
        must_be = "the number of a chunk of this run"
        raise refusal(path, f"{where}.chunk", must_be, line.chunk, remedy=remedy)
    if len(line.predictions) != length:
        raise refusal(
            path, f"{where}.predictions", f"{length} integers", line.predictions, remedy=remedy
        )
    return line.chunk, ChunkResult(
        predictions=line.predictions, spikes=line.spikes, logits_sha256=line.logits_sha256
    )
