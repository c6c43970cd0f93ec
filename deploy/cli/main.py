"""``qac-deploy``: its commands, errors and exit codes."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Callable

import typer
from rich.markup import escape

from deploy.cli.calibrate import calibrate_command
from deploy.cli.compare import compare
from deploy.cli.compile import compile_command
from deploy.cli.convert import convert_command
from deploy.cli.cross_check import cross_check_command
from deploy.cli.doctor import doctor
from deploy.cli.export import export_command
from deploy.cli.report import report
from deploy.cli.reproduce import reproduce_command
from deploy.cli.simulate import simulate
from deploy.cli.train import train_command
from deploy.cli.verify import verify_command
from toolchain.errors import QacDeployError

app = typer.Typer(
    name="qac-deploy",
    help="Take a mixed-timestep spiking network from training to hardware, and see where it stalls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "convert": convert_command,
    "calibrate": calibrate_command,
    "compile": compile_command,
    "simulate": simulate,
    "verify": verify_command,
    "report": report,
    "compare": compare,
    "cross-check": cross_check_command,
    "export": export_command,
    "reproduce": reproduce_command,
    "doctor": doctor,
}


def _help(command: Callable[..., None]) -> str:
    """Flow the paragraphs of a docstring, and show its brackets as text: they are no markup."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    *text, example = (escape(" ".join(paragraph.split())) for paragraph in paragraphs)
    return "\n\n".join([*text, f"[bold]{example}[/bold]"])


for _name, _command in _COMMANDS.items():
    app.command(_name, help=_help(_command))(_command)


def main() -> None:
    """Console entry point; bad input ends with an error message and exit code 2."""
    _end_as_at_interrupt()
    try:
        app()
    except QacDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _end_as_at_interrupt() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C, which removes temporary files and processes first."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    main()
