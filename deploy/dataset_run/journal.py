"""Finished chunks of an unfinished run on disk, so that the run can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from toolchain.datasets import PixelSource, samples_sha256
from toolchain.errors import ModelFileError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import describe_network

_FORMAT = "qac-deploy simulation, version 2"


class Journal:
    """A text file: a line that says which run it is of, then a line a finished chunk.

    Its run holds a lock on it for as long as it lives: two runs at once would mix their chunks.

    Attributes:
        finished: by number, the chunks that an earlier run finished.
    """

    def __init__(self, path: Path, run: Mapping[str, Any], *, resume: bool) -> None:
        """Read what there is if ``resume``; an earlier file is replaced by the first chunk otherwise.

        Args:
            run: what decides the result; see ``describe_run``.

        Raises:
            ModelFileError: the file is of another run or damaged, or a run is at work on it.
        """
        self._path, self._run = path, run
        self._file = _locked(path)
        self._is_begun = False
        try:
            self.finished = _read(path, run) if resume and path.stat().st_size else {}
        except BaseException:
            self._file.close()
            raise

    def write(self, index: int, result: Mapping[str, Any]) -> None:
        """Keep what a finished chunk gave, as plain values; it is out of this process on return.

        Raises:
            ModelFileError: the file cannot be written.
        """
        try:
            if not self._is_begun:
                self._file.truncate(0)
                self._is_begun = True
                self._line({"format": _FORMAT, **self._run})
                for earlier, kept in self.finished.items():
                    self._line({"chunk": earlier, **kept})
            self._line({"chunk": index, **result})
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def close(self, *, finished: bool) -> None:
        """End of the run; nothing stays on disk of one that is finished."""
        if finished or not os.fstat(self._file.fileno()).st_size:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _line(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")


def _locked(path: Path) -> IO[str]:
    """The file, made where there is none, with a lock that ends when its run does, however that ends.

    Raises:
        ModelFileError: another run holds it, or it cannot be written.
    """
    try:
        while True:
            file = path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise ModelFileError(
                    f"{path}: another simulation of this build is at work; wait until it ends, or copy the "
                    f"build folder and simulate the copy"
                ) from None
            except OSError:  # a file system without locks
                return file
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    return file
            file.close()  # a run that ended removed it meanwhile
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(
        f"{path}: cannot be written: {error}; finished samples are kept there, so that an interrupted run "
        f"can go on"
    )


def describe_run(
    network: IntegerNetwork,
    engine: str,
    pixels: PixelSource,
    labels: np.ndarray,
    chunk_samples: int,
) -> dict[str, Any]:
    """What two runs must have in common to share chunks.

    Args:
        pixels: of the data set.
        labels: of the samples that are run, which are the first.
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


def _read(path: Path, run: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    try:
        # what follows the last end of line was cut off by the interrupt
        first, *lines = path.read_text().split("\n")[:-1]
        found = json.loads(first)
        records = [json.loads(line) for line in lines]
        chunks = {int(record.pop("chunk")): record for record in records}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelFileError(
            f"{path}: not the state of a simulation ({error}); run without --resume to start over"
        ) from None
    for field, wanted in {"format": _FORMAT, **run}.items():
        if found.get(field) != wanted:
            raise ModelFileError(
                f"{path}: is of another run: its {field.replace('_', ' ')} differs; run without "
                f"--resume to start over"
            )
    return chunks
