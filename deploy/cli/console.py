"""Options and output that commands share: the console and progress bars."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.cells import cell_len
from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from deploy.cli.endings import INTERRUPTED
from deploy.cli.json_output import leave_error
from deploy.report.terminal_text import TextConsole, escape, print_note
from toolchain.printable import printable
from toolchain.shell_words import shell_command

console = TextConsole()

_NUMBER = re.compile(r"[\d,]+")
_SECONDS_PER_LINE = 10.0
_BAR, _BAR_AND_TIME = 40, 52
"""Characters of a progress bar, and those of all that stands beside its words."""

Choice = TypeVar("Choice", bound=str)

BuildArgument = Annotated[Path, typer.Argument(help="Build folder of `qac-deploy compile`.")]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="Model file of `qac-deploy train`, `convert` or `calibrate`, or of your own."
    ),
]
LavaPythonOption = Annotated[
    Path | None,
    typer.Option(
        help="Python interpreter with lava-nc (default: as `qac-deploy doctor` finds it)."
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


def print_next(*words: object) -> None:
    """Print the command that a user may want to run next, without its first word."""
    console.print(f"next: {bold(shell_command('qac-deploy', *words))}", soft_wrap=True)


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


def _progress_console() -> TextConsole:
    """Standard error; if both streams are terminals the console of results, which draws it below them."""
    on_errors = TextConsole(stderr=True)
    return console if console.is_terminal and on_errors.is_terminal else on_errors


@contextmanager
def status(message: str, *, hidden: bool) -> Iterator[Callable[[str], None]]:
    """Show a message while the block runs; the block gets a function that changes the message.

    It is shown on standard error; where that is no terminal, such as a log, as one line per stage.
    """
    shown_on = _progress_console()
    if hidden:
        yield lambda words: None
    elif shown_on.is_terminal:
        with shown_on.status(Text(printable(message))) as shown:
            yield lambda words: shown.update(Text(printable(words)))
    else:
        show = _lines()
        show(message)
        yield show


def _lines() -> Callable[[str], None]:
    """A function that prints messages as lines, but not those that differ in numbers alone."""
    last = ""

    def show(words: str) -> None:
        nonlocal last
        stage = _NUMBER.sub("", words)
        if stage != last:
            print(printable(words), file=sys.stderr, flush=True)
            last = stage

    return show


@contextmanager
def resumable(progress: Progress, option: str = "--resume") -> Iterator[None]:
    """End with exit code 130 if the block is interrupted, and say how to continue.

    Args:
        option: that continues a run; empty if the same command does.
    """
    try:
        yield
    except KeyboardInterrupt:
        progress.stop()
        added = f" with {option}" if option else ""
        message = f"interrupted; run the same command{added} to continue"
        print_note(message)
        leave_error("KeyboardInterrupt", message, INTERRUPTED)
        raise typer.Exit(INTERRUPTED) from None


class _Bar(Progress):
    """A progress bar, whose words take several lines where a terminal has no room for a bar beside them.

    A log shows it as lines: one per epoch with a note, or one every few seconds.
    """

    _last_stage = ""
    _last_line = time.monotonic()

    def __init__(self, *columns: ProgressColumn, console: TextConsole, hidden: bool) -> None:
        super().__init__(*columns, console=console, disable=hidden or not console.is_terminal)
        self._is_log = not (hidden or console.is_terminal)

    def add_task(self, description: str, *arguments: Any, **fields: Any) -> TaskID:
        return super().add_task(printable(description), *arguments, **fields)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        for text in {"description", "note"} & changes.keys():
            changes[text] = printable(changes[text])
        super().update(task_id, **changes)
        if not self._is_log:
            return
        task, now = self.tasks[task_id], time.monotonic()
        note = str(task.fields["note"])
        stage = f"{note} {task.completed}" if note else ""
        if stage == self._last_stage and now < self._last_line + _SECONDS_PER_LINE:
            return
        self._last_stage, self._last_line = stage, now
        print(_words(task), file=sys.stderr, flush=True)

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            words = _words(task)
            if cell_len(words) + _BAR_AND_TIME <= self.console.width:
                yield self.make_tasks_table([task])
            else:
                yield Text(words)


def _words(task: Task) -> str:
    note = str(task.fields["note"])
    done = "" if task.total is None else f" {task.completed:,.0f}/{task.total:,.0f}"
    return f"{task.description}{done}" + (f": {note}" if note else "")


def progress_bar(*, hidden: bool) -> Progress:
    """A progress bar on standard error, so that output can be piped."""
    return _Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(_BAR),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=_progress_console(),
        hidden=hidden,
    )
