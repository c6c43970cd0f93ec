"""Finished chunks of an unfinished run, kept in a file so that the run can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TypedDict

import numpy as np

from toolchain.bounded_readers import parse_json
from toolchain.datasets import PixelSource, samples_sha256
from toolchain.errors import ModelFileError
from toolchain.files.whole_files import SIMULATION_JOURNAL, require_replaceable_file, whole_file
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


class Journal:
    """A text file: its first line describes the run, each further line holds one finished chunk.

    The file is replaced as a whole when a run writes its first chunk, and appended to after that. An
    interrupt can cut off only the last line. A run holds a lock next to the file for as long as it lives: two
    runs at once would mix their chunks.

    Attributes:
        finished: chunks that an earlier run finished, by number.
    """

    def __init__(self, path: Path, run: RunRecord, *, resume: bool) -> None:
        """Read the chunks of an earlier run, if ``resume``.

        Raises:
            ModelFileError: the path cannot be written, another run is at work on it, or its file is of
                another run or damaged.
        """
        require_replaceable_file(path, SIMULATION_JOURNAL, remedy=_REMEDY)
        self._path, self._run = path, run
        self._file: IO[str] | None = None
        self._lock = _Lock(path)
        try:
            self.finished = _read(path, run) if resume and path.exists() else {}
        except BaseException:
            self._lock.release()
            raise

    def write(self, index: int, result: ChunkResult) -> None:
        """Keep the result of a finished chunk; the operating system has it on return.

        Raises:
            ModelFileError: the file cannot be written.
        """
        if self._file is None:
            with whole_file(self._path, SIMULATION_JOURNAL, remedy=_REMEDY) as part:
                chunks = [_chunk_line(*chunk) for chunk in self.finished.items()]
                part.write_text(_line({"format": _FORMAT, **self._run}) + "".join(chunks))
        try:
            self._file = self._file or self._path.open("a")
            self._file.write(_chunk_line(index, result))
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def close(self, *, finished: bool) -> None:
        """Close the file, and remove it if the run is finished."""
        if self._file is not None:
            self._file.close()
        if finished:
            self._path.unlink(missing_ok=True)
        self._lock.release()


class _Lock:
    """A lock on a path that ends with its process, however that ends; its file is removed by the last run."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            ModelFileError: another run holds it, or its file cannot be written.
        """
        self._path = path.with_name(f"{path.name}.lock")
        try:
            self._file = self._path.open("w")
            while not self._taken(path):  # a run that ended has removed the file meanwhile
                self._file.close()
                self._file = self._path.open("w")
        except OSError as error:
            raise _unwritable(path, error) from None

    def _taken(self, path: Path) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ModelFileError(
                f"{path}: another simulation of this build is at work; wait until it ends, or copy the build "
                f"folder and simulate the copy"
            ) from None
        except OSError:  # a file system without locks
            return True
        with suppress(FileNotFoundError):
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        return False

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()


def _unwritable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be written ({error}); {_REMEDY}")


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


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record) + "\n"


def _chunk_line(index: int, result: ChunkResult) -> str:
    record = asdict(replace(result, logits=None))
    del record["logits"]
    return _line({"chunk": index, **record})


def _read(path: Path, run: RunRecord) -> dict[int, ChunkResult]:
    try:
        # an interrupt may have cut off the line after the last line end
        lines = path.read_bytes().split(b"\n")[:-1]
        found, *chunks = (
            RecordReader(path, f"line {number}", parse_json(line))
            for number, line in enumerate(lines, start=1)
        )
        for field, wanted in {"format": _FORMAT, **run}.items():
            if found.value(field) != wanted:
                raise ModelFileError(
                    f"{path}: is of another run: its {field.replace('_', ' ')} differs; run without "
                    f"--resume to start over"
                )
        return dict(_chunk(reader, run) for reader in chunks)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not the state of a simulation ({error}); run without --resume to start over"
        ) from None


def _chunk(reader: RecordReader, run: RunRecord) -> tuple[int, ChunkResult]:
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
