"""The build folder: written whole or not at all, and read back with errors that say what to do."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile, ZipInfo

import numpy as np

from deploy.report.records import Report
from toolchain.errors import ModelFileError
from toolchain.integer_network.serialize import DOCUMENT

REPORT = "report.json"
MODEL = "model.pt"  # the file that was compiled, so that a build can be verified on its own


@contextmanager
def whole_folder(
    destination: Path, *, kind: str = "a build folder", known_by: str = DOCUMENT
) -> Iterator[Path]:
    """A temporary folder beside ``destination`` that takes its place when the block ends well.

    On any error or interrupt the temporary folder is removed and what was there before stays.

    Args:
        known_by: a file that every folder of this kind holds; only such a folder is replaced.

    Raises:
        ModelFileError: the destination is not of that kind, or cannot be written.
    """
    if destination.exists() and not _is_replaceable(destination, known_by):
        raise ModelFileError(
            f"{destination}: exists and is not {kind}, so it is not replaced; choose another with --out"
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise _cannot_write(destination, error) from error
    try:
        new, old = staging / "new", staging / "old"
        new.mkdir()
        yield new
        if destination.exists():
            destination.rename(old)
        try:
            new.rename(destination)
        except BaseException:
            if old.exists():
                old.rename(destination)
            raise
    except OSError as error:
        raise _cannot_write(destination, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_replaceable(folder: Path, known_by: str) -> bool:
    return folder.is_dir() and ((folder / known_by).is_file() or not any(folder.iterdir()))


def _cannot_write(destination: Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{destination}: cannot be written ({error}); nothing was changed")


def write_json(path: Path, document: Any) -> None:
    """Readable JSON with a final newline; the same document gives the same bytes."""
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Like ``numpy.savez``, with the time stamps left at the format's zero."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
                )


def load_report(build: Path) -> Report:
    """The ``report.json`` of a build folder.

    Raises:
        ModelFileError: the folder is not a build, or the report is damaged.
    """
    path = build / REPORT
    try:
        report = json.loads(path.read_text())
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read; `qac-deploy compile model.pt` makes a build folder"
        ) from error
    except json.JSONDecodeError as error:
        raise ModelFileError(
            f"{path}: not valid JSON ({error}); compile the model again"
        ) from error
    if not isinstance(report, dict) or report.get("format") != "qac-deploy report":
        raise ModelFileError(f"{path}: not a qac-deploy report; compile the model again")
    return cast("Report", report)
