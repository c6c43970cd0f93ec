"""Options and output that commands share: the console, progress bars, and JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

console = Console(highlight=False, soft_wrap=True)

Choice = TypeVar("Choice", bound=str)

BuildArgument = Annotated[Path, typer.Argument(help="Build folder of `qac-deploy compile`.")]
ModelArgument = Annotated[
    Path, typer.Argument(help="Model file of `qac-deploy train`, `convert` or `calibrate`.")
]
LavaPythonOption = Annotated[
    Path | None,
    typer.Option(
        help="Python 3.10 interpreter with lava-nc (default: as `qac-deploy doctor` finds it)."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
AccuracyOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:FUNCTION",
        help="Your own accuracy: a Python function of logits (N, C, H, W) and labels, as NumPy arrays, that "
        "returns a number (default: the share of right classes).",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]


def bold(value: object) -> str:
    """Markup that shows a value in bold, brackets included."""
    return f"[bold]{escape(str(value))}[/bold]"


def print_next(command: str) -> None:
    """Print the command that a user may want to run next."""
    console.print(f"next: {bold(f'qac-deploy {command}')}")


def print_json(document: Any) -> None:
    """Print a document as JSON on standard output."""
    print(json.dumps(document, indent=1))


def choice(value: str, choices: Iterable[Choice], option: str) -> Choice:
    """Return the value if it is one of the choices.

    Raises:
        BadParameter: it is none of them.
    """
    known = list(choices)
    for name in known:
        if name == value:
            return name
    raise typer.BadParameter(f"must be one of {', '.join(known)}, not '{value}'", param_hint=option)


@contextmanager
def status(message: str, *, hidden: bool) -> Iterator[Callable[[str], None]]:
    """Show a message while the block runs; the block gets a function that changes the message."""
    if hidden:
        yield lambda words: None
        return
    with console.status(message) as shown:
        yield lambda words: shown.update(escape(words))


@contextmanager
def resumable(progress: Progress) -> Iterator[None]:
    """End with exit code 130 if the block is interrupted, and say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        progress.stop()
        print("interrupted; run the same command with --resume to continue", file=sys.stderr)
        raise typer.Exit(130) from None


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


def report_progress(progress: Progress, task: TaskID, completed: float | None, note: str) -> None:
    """Advance a task; where a bar cannot be shown, as in a log, print one line.

    Args:
        completed: steps done; None if the task does not count them.
    """
    progress.update(task, completed=completed, note=note)
    if progress.disable or progress.console.is_terminal:
        return
    (shown,) = (t for t in progress.tasks if t.id == task)
    count = "" if completed is None else f" {completed:g}/{shown.total:g}"
    progress.console.print(f"{shown.description}{count}: {note}", markup=False)
