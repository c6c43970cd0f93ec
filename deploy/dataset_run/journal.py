"""Finished chunks of an unfinished run on disk, so that the run can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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

    Attributes:
        finished: by number, the chunks that an earlier run finished.
    """

    def __init__(self, path: Path, run: Mapping[str, Any], *, resume: bool) -> None:
        """Read what there is if ``resume``; an earlier file is replaced by the first chunk otherwise.

        Args:
            run: what decides the result; see ``describe_run``.

        Raises:
            ModelFileError: the file is of another run or damaged.
        """
        self._path, self._run = path, run
        self._file: IO[str] | None = None
        self.finished = _read(path, run) if resume and path.exists() else {}

    def write(self, index: int, result: Mapping[str, Any]) -> None:
        """Keep what a finished chunk gave, as plain values; it is out of this process on return.

        Raises:
            ModelFileError: the file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._path.open("w")
                self._line({"format": _FORMAT, **self._run})
                for earlier, kept in self.finished.items():
                    self._line({"chunk": earlier, **kept})
            self._line({"chunk": index, **result})
            self._file.flush()
        except OSError as error:
            raise ModelFileError(
                f"{self._path}: cannot be written: {error}; finished samples are kept there, so that "
                f"an interrupted run can go on"
            ) from None

    def close(self, *, finished: bool) -> None:
        """End of the run; nothing stays on disk of one that is finished."""
        if self._file is not None:
            self._file.close()
        if finished:
            self._path.unlink(missing_ok=True)

    def _line(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(record) + "\n")


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
