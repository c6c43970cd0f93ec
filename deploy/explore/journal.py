"""Outcomes of an unfinished exploration, kept in a file so that it can go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from deploy.build.line_journal import JournalKind, LineJournal
from deploy.explore.measure import Outcome
from deploy.report.records import MeasuresRecord
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset, samples_sha256
from toolchain.files.digest import file_sha256
from toolchain.files.whole_files import EXPLORATION_JOURNAL
from toolchain.networks.record_reader import RecordReader


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
        format="qac-deploy exploration, version 1",
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
    accuracy: str | None,
) -> dict[str, object]:
    """All that the measures of a design depend on, apart from its options.

    Args:
        dataset: the images that designs are measured on.
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
        "accuracy": function,
        "targets": {
            name: sha256(target.file.text.encode()).hexdigest() for name, target in targets.items()
        },
    }


def _outcome(reader: RecordReader) -> tuple[str, Outcome]:
    key = reader.text("design")
    if "refused" in reader.names():
        return key, {"refused": reader.text("refused")}
    measures = RecordReader(reader.path, f"{reader.where}.measures", reader.value("measures"))

    def by_profile(name: str) -> dict[str, float]:
        values = RecordReader(reader.path, f"{measures.where}.{name}", measures.value(name))
        return {profile: values.number(profile, 0) for profile in values.names()}

    accuracy = None
    if measures.value("accuracy") is not None:
        accuracy = measures.number("accuracy", -sys.float_info.max)
    record: MeasuresRecord = {
        "interval_ticks": measures.number("interval_ticks", 0),
        "first_latency_ticks": measures.integer("first_latency_ticks", 0),
        "stall_share": measures.number("stall_share", 0),
        "num_cores": measures.integer("num_cores", 0),
        "num_chips": measures.integer("num_chips", 0),
        "num_slots": measures.integer("num_slots", 0),
        "accuracy": accuracy,
        "interval_us": by_profile("interval_us"),
        "first_latency_us": by_profile("first_latency_us"),
        "energy_nj": by_profile("energy_nj"),
    }
    return key, {"measures": record}
