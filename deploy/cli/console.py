"""What the commands share: where output goes, progress bars, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status

console = Console(highlight=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


def say(template: str, **values: object) -> None:
    """Print a template in Rich's markup; texts and paths that are put into it are printed as they are."""
    texts = {n: escape(str(v)) for n, v in values.items() if isinstance(v, str | Path)}
    console.print(template.format(**{**values, **texts}))


def show_stage(status: Status) -> Callable[[str], None]:
    """Shows a stage's text as it is, which may hold a path."""
    return lambda stage: status.update(escape(stage))


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=1))


def progress_bar(*, hidden: bool) -> Progress:
    """A progress bar on standard error, so that output can be piped."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        disable=hidden,
    )
