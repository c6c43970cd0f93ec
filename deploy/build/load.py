"""Read a build from its own files alone, each as ``compile`` wrote it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deploy.build.folder import BUILD, recorded_digests, require_unchanged
from toolchain.errors import ModelFileError
from toolchain.files.whole_files import PREFIX
from toolchain.json_files import read_typed_json
from toolchain.schema import typed

if TYPE_CHECKING:
    from deploy.design.compilation import CompileOptions
    from deploy.report.records import Report
    from hw_models.multicore.mapping.mapping import CoreMapping
    from hw_models.multicore.pipeline.pipeline import Pipeline
    from hw_models.pe_array.array_description import PeArray
    from hw_models.target_description import TargetDescription
    from toolchain.networks.integer_network import IntegerNetwork

REPORT = "report.json"
MODEL = "model.pt"
TARGET, ARRAY = "target.yaml", "array.yaml"
LAVA = "lava"

_ATTEMPTS = 20
_PAUSE_S = 0.02

Content = TypeVar("Content")


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """The contents of a build folder.

    Attributes:
        folder: holds the files; its ``model.pt`` is the model that was compiled.
        report: ``report.json``.
        target, array: the descriptions that it was compiled for.
    """

    folder: Path
    report: Report
    options: CompileOptions
    target: TargetDescription
    array: PeArray
    network: IntegerNetwork
    mapping: CoreMapping
    pipeline: Pipeline


def load_build(folder: Path) -> Build:
    """Read a build after comparing all of its files with their digests.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> Build:
        require_unchanged(folder, BUILD)
        return read_build(folder)

    return of_one_build(folder, read)


def load_report(folder: Path) -> Report:
    """The report of a build, after comparing all of its files with their digests.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> Report:
        require_unchanged(folder, BUILD)
        return _read_report(folder)

    return of_one_build(folder, read)


def load_report_and_digests(folder: Path) -> tuple[Report, dict[str, str]]:
    """The report of a build and the SHA-256 of each of its files, after comparing all files with these.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> tuple[Report, dict[str, str]]:
        require_unchanged(folder, BUILD)
        return _read_report(folder), dict(recorded_digests(folder, BUILD))

    return of_one_build(folder, read)


def of_one_build(folder: Path, read: Callable[[], Content]) -> Content:
    """Read a folder that ``compile`` may replace meanwhile; read again if it did.

    Raises:
        QacDeployError: that of ``read``, if the folder was not replaced during the last attempt.
    """
    for attempt in range(_ATTEMPTS):
        before = _identity(folder)
        try:
            content = read()
        except (ModelFileError, OSError):
            if before is not None and _identity(folder) == before:
                raise
            if before is None and not _is_being_replaced(folder):
                raise
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            if before is not None and _identity(folder) == before:
                return content
        time.sleep(_PAUSE_S)
    raise ModelFileError(
        f"{folder}: was replaced {_ATTEMPTS} times while it was read; wait until `qac-deploy compile` ends"
    )


def _identity(folder: Path) -> tuple[int, ...] | None:
    """What differs between a folder and its successor; None if there is no folder."""
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _is_being_replaced(folder: Path) -> bool:
    """Whether a run is about to put another folder in its place."""
    try:
        return any(path.name.startswith(PREFIX) for path in folder.resolve().parent.iterdir())
    except OSError:
        return False


def read_build(folder: Path) -> Build:
    """Read a build whose files may have been changed, so that ``verify`` finds the effects.

    Raises:
        QacDeployError: a file of the build is missing or damaged.
    """
    from deploy.design.compilation import CompileOptions
    from hw_models.multicore.mapping.mapping_file import load_mapping
    from hw_models.pe_array.array_description import load_array
    from hw_models.target_description import load_target
    from toolchain.networks.integer_network.serialize import load_integer_network

    report = _read_report(folder)
    options: Any = report["options"]
    network = load_integer_network(folder)
    target = load_target(str(folder / TARGET))
    mapping = load_mapping(folder, network, target)
    return Build(
        folder=folder,
        report=report,
        options=CompileOptions(**options),
        target=target,
        array=load_array(str(folder / ARRAY)),
        network=network,
        mapping=mapping,
        pipeline=mapping.pipeline,
    )


def _read_report(folder: Path) -> Report:
    from deploy.report.records import VERSION, Report, ReportHeader

    path = folder / REPORT
    absent, remedy = "`qac-deploy compile model.pt` makes a build folder", "compile the model again"
    document = read_typed_json(path, dict[str, Any], absent=absent, remedy=remedy)
    header = typed(document, ReportHeader, path, remedy=remedy)
    if header.version != VERSION:
        raise ModelFileError(
            f"{path}: is of another version of qac-deploy ({header.version}, not {VERSION}); {remedy}"
        )
    typed(document, Report, path, remedy=remedy)
    return cast("Report", document)  # plain, as ``verify`` compares it
