"""Read a build from its own files alone, each as ``compile`` wrote it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deploy.build.folder import BUILD, recorded_digests, require_regular_files, require_unchanged
from deploy.build.one_folder import Identity, identity_of, of_one_folder, still_the_same
from toolchain.errors import ModelFileError
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """The contents of a build folder.

    Attributes:
        folder: holds the files; its ``model.pt`` is the model that was compiled.
        report: ``report.json``.
        target, array: the descriptions that it was compiled for.
        identity: of the folder, which another run may replace.
    """

    folder: Path
    report: Report
    options: CompileOptions
    target: TargetDescription
    array: PeArray
    network: IntegerNetwork
    mapping: CoreMapping
    pipeline: Pipeline
    identity: Identity | None

    def still_there(self) -> AbstractContextManager[None]:
        """A block that reads more files of the folder; it fails if the folder was replaced meanwhile."""
        return still_the_same(self.folder, self.identity)


def load_build(folder: Path) -> Build:
    """Read a build after comparing all of its files with their digests.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> Build:
        require_unchanged(folder, BUILD)
        return read_build(folder)

    return of_one_folder(folder, read)


def load_report(folder: Path) -> Report:
    """The report of a build, after comparing all of its files with their digests.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> Report:
        require_unchanged(folder, BUILD)
        return _read_report(folder)

    return of_one_folder(folder, read)


def load_report_and_digests(folder: Path) -> tuple[Report, dict[str, str]]:
    """The report of a build and the SHA-256 of each of its files, after comparing all files with these.

    Raises:
        QacDeployError: the folder is not a build, or a file of it was changed; the message names it.
    """

    def read() -> tuple[Report, dict[str, str]]:
        require_unchanged(folder, BUILD)
        return _read_report(folder), dict(recorded_digests(folder, BUILD))

    return of_one_folder(folder, read)


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

    identity = identity_of(folder)
    require_regular_files(folder, BUILD)
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
        identity=identity,
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
