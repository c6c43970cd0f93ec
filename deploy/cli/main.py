"""``qac-deploy``: its commands, errors and exit codes."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from deploy.cli.calibrate import calibrate_command
from deploy.cli.compare import compare
from deploy.cli.compile import compile_command
from deploy.cli.convert import convert_command
from deploy.cli.cross_check import cross_check_command
from deploy.cli.demo import demo
from deploy.cli.doctor import doctor
from deploy.cli.endings import EXIT_CODES, Command, Commands, Ending, ending_of, its_errors_dropped
from deploy.cli.explore import explore_command
from deploy.cli.export import export_command
from deploy.cli.help import CONTEXT_SETTINGS, HAS_ROOM, bold, help_of, short_help_of
from deploy.cli.json_output import as_json, error_document, is_error, own_stdout, taken_documents
from deploy.cli.report import report
from deploy.cli.reproduce import reproduce_command
from deploy.cli.simulate import simulate
from deploy.cli.trace import trace_command
from deploy.cli.train import train_command
from deploy.cli.verify import verify_command
from deploy.report.terminal_text import print_note
from toolchain.errors import QacDeployError

app = typer.Typer(
    name="qac-deploy",
    cls=Commands,
    help="Take a mixed-timestep spiking network from training to hardware, and see where it stalls.",
    epilog="\n\n".join(
        [bold("Exit codes"), *(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())]
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if HAS_ROOM else None,
    context_settings=CONTEXT_SETTINGS,
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
    app.command(_name, cls=Command, help=help_of(_command), short_help=short_help_of(_command))(
        _command
    )


def main() -> None:
    """Run the command of ``sys.argv``; ends with one of ``EXIT_CODES``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # characters that the terminal lacks are written as codes
            stream.reconfigure(errors="backslashreplace")
    run = _run_for_machines if _wants_json(sys.argv[1:]) else _run
    sys.exit(run().code)


def _commands() -> object:
    """Run what the command line asks for; returns its exit code, or None for 0."""
    try:
        os.getcwd()
    except OSError as error:  # libraries of PyTorch would end the process
        raise QacDeployError("the current folder was deleted; change to another") from error
    return app(standalone_mode=False)


def _run() -> Ending:
    """Run the command, and tell its error."""

    def run() -> object:
        try:
            return _commands()
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe is noticed here, not as the interpreter ends

    return _told(ending_of(run))


def _run_for_machines() -> Ending:
    """Run the command with one document on standard output: its own, or that of its error."""
    with own_stdout() as write, taken_documents() as documents:
        ending = _told(ending_of(_commands))
        if ending.kind is not None and not any(map(is_error, documents)):
            documents[:] = [error_document(ending.kind, ending.message, ending.code)]

        def write_document() -> int:
            for document in documents:
                write(f"{as_json(document)}\n")
            return ending.code

        written = ending_of(write_document)
        return ending if written.code == ending.code else _told(written)


def _told(ending: Ending) -> Ending:
    """Show people how a run ended, if they have not seen it; return the same."""
    if ending.shown is not None:
        with its_errors_dropped(sys.stderr):
            print_note(ending.shown)
    if ending.code:
        with its_errors_dropped(sys.stdout):
            pass
    return ending


def _wants_json(words: Sequence[str]) -> bool:
    """Whether one document is asked for; a process that another started to train with it has none."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options and os.environ.get("LOCAL_RANK", "0") == "0"


if __name__ == "__main__":
    main()
