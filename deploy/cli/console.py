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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(highlight=False, soft_wrap=True)

MOST_SHOWN = 10_000
"""Most samples of a run that is shown, or checked neuron by neuron: its records grow with them."""

MOST_OF_A_RESOURCE = 1_000_000
"""Most slots of a buffer or replicas of a population that are counted: no target has as many."""

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
