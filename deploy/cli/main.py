"""``qac-deploy``: its commands, errors and exit codes."""

from __future__ import annotations

import errno
import importlib.metadata
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from deploy.cli.calibrate import calibrate_command
from deploy.cli.compare import compare
from deploy.cli.compile import compile_command
from deploy.cli.convert import convert_command
from deploy.cli.cross_check import cross_check_command
from deploy.cli.demo import demo
from deploy.cli.doctor import doctor
from deploy.cli.explore import explore_command
from deploy.cli.export import export_command
from deploy.cli.report import report
from deploy.cli.reproduce import reproduce_command
from deploy.cli.simulate import simulate
from deploy.cli.trace import trace_command
from deploy.cli.train import train_command
from deploy.cli.verify import verify_command
from toolchain.errors import QacDeployError
from toolchain.optional_packages import optional_packages

app = typer.Typer(
    name="qac-deploy",
    help="Take a mixed-timestep spiking network from training to hardware, and see where it stalls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train_command,
    "convert": convert_command,
    "calibrate": calibrate_command,
    "compile": compile_command,
    "explore": explore_command,
    "simulate": simulate,
    "trace": trace_command,
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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qac-deploy {importlib.metadata.version('qac-deploy')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    # plots are files, and matplotlib cannot be imported while this names a backend that it does not know
    os.environ["MPLBACKEND"] = "Agg"


for _name, _command in _COMMANDS.items():
    app.command(_name, help=_help(_command))(_command)


def main() -> None:
    """Console entry point; bad input ends with an error message and exit code 2, a bug with a traceback."""
    _end_as_at_interrupt()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # characters that the terminal lacks are written as codes
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            with optional_packages():
                app()
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe is noticed here, not as the interpreter ends
    except QacDeployError as error:
        _end(str(error))
    except MemoryError as error:
        _end(f"not enough memory ({error}); use fewer samples or a smaller network")
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader, such as `head`, has seen enough
            _drop_output()
            sys.exit(1)
        if error.errno not in _REMEDIES:
            raise
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        where = f"{' and '.join(names) or 'a file or the output'}: {error.strerror}"
        _end(f"{where}; {_REMEDIES[error.errno]}")


_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EFBIG: "raise the limit on the size of a file",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose another place",
    errno.ENOTDIR: "choose another place",
    errno.EMFILE: "raise the limit on open files",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs",
    errno.EIO: "check the disk",
}
"""What a user can do about errors of the system. All others, such as a missing file, are bugs here."""


def _end(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    sys.exit(2)


def _drop_output() -> None:
    """Send what standard output cannot take to nowhere, since the interpreter flushes it once more."""
    with open(os.devnull, "w") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _end_as_at_interrupt() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C, which removes temporary files and processes first."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    main()
