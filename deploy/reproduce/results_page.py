"""One Markdown page with every table and figure of the paper, in the order of ``EXPERIMENTS``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from deploy.reproduce.experiment import Experiment, markdown_text
from deploy.reproduce.experiments import EXPERIMENTS, Reproduction
from deploy.reproduce.paper import PAPER_DATA, PaperData
from toolchain.errors import DataError
from toolchain.field_types import Name, Text
from toolchain.files.whole_files import ANY_FILE, whole_file
from toolchain.json_files import read_typed_json
from toolchain.printable import printable
from toolchain.schema import refusal

_HEAD = """\
# Results

`qac-deploy reproduce EXPERIMENT` writes each table and its plot into `results/`, as CSV, JSON and PNG, and
`qac-deploy reproduce page` gathers them here; nothing is written by hand. The line below each figure names
its command and the release that made it. `qac-deploy reproduce all --data DATA` makes all that suit DATA.

What the paper shows on data that was not measured here is named with the command that makes it. Figure 2
shows what Figure 11 does, and Figure 4 is a drawing of a pipeline; `qac-deploy report` draws a build's.
"""

_DATA_OPTIONS: dict[PaperData, str] = {
    "cifar-10": "cifar-10",
    "cifar-100": "cifar-100",
    "imagenet": "path/to/imagenet",
}


class ResultRecord(Struct, kw_only=True):
    """A file of a results folder; those of version 0.1.0 may lack what made them."""

    title: Name
    columns: list[str]
    rows: list[list[str | int | float | None]]
    notes: list[str]
    command: Text | None = None
    version: Name | None = None
    spreads: list[list[float | None]] = []


def _made_by(record: ResultRecord) -> str:
    """The line that names the command below a table and its plot; files of version 0.1.0 may lack it."""
    if record.command is None:
        return ""
    command = printable(record.command)
    ticks = "`" * (1 + max(map(len, re.findall("`+", command)), default=0))
    space = " " * (len(ticks) > 1)
    code = f"{ticks}{space}{command}{space}{ticks}"
    return f"\n*Made by {code} (qac-deploy {markdown_text(str(record.version))}).*\n"


def read_result(file: Path) -> ResultRecord:
    """Read the JSON file of an experiment.

    Raises:
        ModelFileError: it is not as it was written; names the field.
    """
    remedy = "remove it and run its experiment again"
    record = read_typed_json(file, ResultRecord, absent=remedy, remedy=remedy)
    width = len(record.columns)
    for name, table in (("rows", record.rows), ("spreads", record.spreads)):
        if any(len(row) != width for row in table):
            must_be = f"lists of {width} values, one for each column"
            raise refusal(file, name, must_be, table, remedy=remedy)
    if record.spreads and len(record.spreads) != len(record.rows):
        must_be = f"{len(record.rows)} lists, one for each row"
        raise refusal(file, "spreads", must_be, record.spreads, remedy=remedy)
    return record


def _section(file: Path, folder: Path) -> str:
    """Table, notes, plot and command of one result."""
    record = read_result(file)
    experiment = Experiment(
        name=file.stem,
        title=record.title,
        columns=record.columns,
        rows=record.rows,
        notes=record.notes,
        spreads=record.spreads,
    )
    plotted = file.with_suffix(".png").is_file()
    place = quote(os.fsencode(f"{folder.name}/{file.stem}"))
    picture = f"\n![{markdown_text(experiment.title)}]({place}.png)\n" if plotted else ""
    return experiment.markdown() + picture + _made_by(record)


def _absent(kind: str, entry: Reproduction) -> str:
    """What the paper shows and is not among the results, with its command."""
    network, data = entry.networks[-1], entry.data[0]
    command = f"qac-deploy reproduce {kind} --data {_DATA_OPTIONS[data]} --network {network}"
    return (
        f"## {markdown_text(entry.title)}\n\nNot measured here; the paper's is on {PAPER_DATA[data]}. "
        f"With that data set, `{command}` makes it.\n"
    )


def write_results_page(folder: Path) -> Path:
    """Gather the JSON files of a results folder into ``results.md`` in its parent folder.

    Raises:
        DataError: the folder holds no result.
        ModelFileError: a result is not as it was written; names the field.
    """
    sections: list[str] = []
    found = False
    for kind, entry in EXPERIMENTS.items():
        files = sorted(folder.glob(f"{kind}-*.json"))
        found = found or bool(files)
        sections += [_section(file, folder) for file in files]
        if not files and entry.data:
            sections.append(_absent(kind, entry))
    if not found:
        raise DataError(f"{folder}: holds no result; run `qac-deploy reproduce summary` first")
    page = folder.parent / "results.md"
    with whole_file(page, ANY_FILE) as part:
        part.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")
    return page
