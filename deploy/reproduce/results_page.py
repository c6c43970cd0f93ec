"""One Markdown page with all experiments that were run, in the order of ``EXPERIMENTS``."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.reproduce.experiment import Experiment
from deploy.reproduce.experiments import EXPERIMENTS
from toolchain.errors import DataError
from toolchain.files.whole_files import ANY_FILE, whole_file

_HEAD = """\
# Results

Made by `qac-deploy reproduce EXPERIMENT` and `qac-deploy reproduce page`; nothing here is written by
hand. Each table is also a CSV and a JSON file in `results/`.
"""


def write_results_page(folder: Path) -> Path:
    """Gather the JSON files of a results folder into ``results.md`` in its parent folder.

    Raises:
        DataError: the folder holds no result.
    """
    sections = []
    for kind in EXPERIMENTS:
        for file in sorted(folder.glob(f"{kind}-*.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            experiment = Experiment(
                name=file.stem,
                title=record["title"],
                columns=record["columns"],
                rows=record["rows"],
                notes=record["notes"],
            )
            plotted = file.with_suffix(".png").is_file()
            picture = f"\n![{experiment.title}]({folder.name}/{file.stem}.png)\n" if plotted else ""
            sections.append(experiment.markdown() + picture)
    if not sections:
        raise DataError(f"{folder}: holds no result; run `qac-deploy reproduce summary` first")
    page = folder.parent / "results.md"
    with whole_file(page, ANY_FILE) as part:
        part.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")
    return page
