"""One Markdown page with all experiments that were run, in the order of ``EXPERIMENTS``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from deploy.reproduce.experiment import Experiment, markdown_text
from deploy.reproduce.experiments import EXPERIMENTS
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
its command and the release that made it.
"""


class ResultRecord(Struct, kw_only=True):
    """A file of a results folder; those of version 0.1.0 may lack what made them."""

    title: Name
    columns: list[str]
    rows: list[list[str | int | float | None]]
    notes: list[str]
    command: Text | None = None
    version: Name | None = None


def _made_by(record: ResultRecord) -> str:
    """The line that names the command below a table and its plot; files of version 0.1.0 may lack it."""
    if record.command is None:
        return ""
    command = printable(record.command)
    ticks = "`" * (1 + max(map(len, re.findall("`+", command)), default=0))
    space = " " * (len(ticks) > 1)
    code = f"{ticks}{space}{command}{space}{ticks}"
    return f"\n*Made by {code} (qac-deploy {markdown_text(str(record.version))}).*\n"


def write_results_page(folder: Path) -> Path:
    """Gather the JSON files of a results folder into ``results.md`` in its parent folder.

    Raises:
        DataError: the folder holds no result.
        ModelFileError: a result is not as it was written; names the field.
    """
    sections = []
    for kind in EXPERIMENTS:
        for file in sorted(folder.glob(f"{kind}-*.json")):
            remedy = "remove it and run its experiment again"
            record = read_typed_json(file, ResultRecord, absent=remedy, remedy=remedy)
            if any(len(row) != len(record.columns) for row in record.rows):
                must_be = f"lists of {len(record.columns)} values, one for each column"
                raise refusal(file, "rows", must_be, record.rows, remedy=remedy)
            experiment = Experiment(
                name=file.stem,
                title=record.title,
                columns=record.columns,
                rows=record.rows,
                notes=record.notes,
            )
            plotted = file.with_suffix(".png").is_file()
            place = quote(os.fsencode(f"{folder.name}/{file.stem}"))
            picture = f"\n![{markdown_text(experiment.title)}]({place}.png)\n" if plotted else ""
            sections.append(experiment.markdown() + picture + _made_by(record))
    if not sections:
        raise DataError(f"{folder}: holds no result; run `qac-deploy reproduce summary` first")
    page = folder.parent / "results.md"
    with whole_file(page, ANY_FILE) as part:
        part.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")
    return page
