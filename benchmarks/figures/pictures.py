"""The pictures of the report, of ``explore`` and of ``trace``, from the network of README's first result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.figures.commands import Commands, browser_page

COMPILE = "compile model.pt --target loihi-sim"
EXPLORE = "explore model.pt --budget 300"
TRACE = (
    'trace build/ --population join --neuron 2,65 --until "tick 36" --engine all --plot trace.png'
)

REPORT_SIZE = 1280, 800
EXPLORE_SIZE = 1280, 1640


def draw(commands: Commands, docs: Path) -> dict[str, Any]:
    commands.model("model.pt")
    commands.text(COMPILE)
    _photograph(commands.folder / "build" / "report.html", docs / "report.png", REPORT_SIZE)
    commands.text(TRACE)
    shutil.copy(commands.folder / "trace.png", docs / "trace.png")
    commands.text(EXPLORE)
    _photograph(commands.folder / "explore" / "explore.html", docs / "explore.png", EXPLORE_SIZE)
    return {}


def _photograph(file: Path, picture: Path, size: tuple[int, int]) -> None:
    """The first screen of a page."""
    with browser_page(file, *size) as page:
        page.screenshot(path=picture)
