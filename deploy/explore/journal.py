"""Outcomes of an unfinished exploration, kept in a file so that it can go on."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from deploy.build.line_journal import JournalKind, LineJournal
from deploy.explore.measure import Outcome
from deploy.report.measure_records import MeasuresRecord
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset, samples_sha256
from toolchain.errors import ModelFileError
from toolchain.field_types import Text
from toolchain.files.digest import file_sha256
from toolchain.files.whole_files import EXPLORATION_JOURNAL
from toolchain.rounding.plan import LoweringImages
from toolchain.schema import typed


def open_journal(
    path: Path, run: Mapping[str, object], *, resume: bool
) -> LineJournal[str, Outcome]:
    """The journal of outcomes, by ``design_key``.

    Args:
        run: what outcomes depend on, see ``describe_run``.

    Raises:
        ModelFileError: the path cannot be written, another run is at work on it, or its file is of another
            run or damaged.
    """
    kind: JournalKind[str, Outcome] = JournalKind(
        file=EXPLORATION_JOURNAL,
        format="qac-deploy exploration, version 2",
        as_record=lambda key, outcome: {"design": key, **outcome},
        from_record=_outcome,
        another_at_work="another exploration into this folder is at work; wait until it ends, or choose "
        "another folder with --out",
        remedy="measured designs are kept there for --resume: make room, or choose another folder with --out",
    )
    return LineJournal(path, run, kind, resume=resume)


def describe_run(
    model: Path,
    targets: Mapping[str, TargetDescription],
    dataset: Dataset | None,
    images: LoweringImages | None,
    accuracy: str | None,
) -> dict[str, object]:
    """All that the measures of a design depend on, apart from its options.

    Args:
        dataset: the images that designs are measured on.
        images: those that networks are lowered on.
        accuracy: ``FILE.py:FUNCTION`` of the user's own, or None.
    """
    of_data = None
    if dataset is not None:
        of_data = samples_sha256(dataset.train_pixels, dataset.train_labels)
    function = accuracy
    if accuracy is not None:
        function = f"{accuracy} {file_sha256(Path(accuracy.rpartition(':')[0]))}"
    return {
        "model": file_sha256(model),
        "data": of_data,
        "lowered_on": None if images is None else images.sha256,
        "accuracy": function,
        "targets": {
            name: sha256(target.file.text.encode()).hexdigest() for name, target in targets.items()
        },
    }


class _OutcomeLine(Struct, kw_only=True, forbid_unknown_fields=True):
    design: Text
    measures: MeasuresRecord | None = None
    refused: Text | None = None


def _outcome(record: Any, path: Path, where: str, remedy: str) -> tuple[str, Outcome]:
    line = typed(record, _OutcomeLine, path, where=where, remedy=remedy)
    if line.refused is not None:
        return line.design, {"refused": line.refused}
    if line.measures is None:
        raise ModelFileError(f"{path}: {where}.measures is missing; {remedy}")
    return line.design, {"measures": line.measures}
