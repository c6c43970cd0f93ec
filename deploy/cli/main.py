"""``qac-deploy``: the commands, and how their errors reach a person."""

from __future__ import annotations

import signal
import sys

import typer

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
app.command("train")(train_command)
app.command("convert")(convert_command)
app.command("calibrate")(calibrate_command)
app.command("compile")(compile_command)
app.command("simulate")(simulate)
app.command("verify")(verify_command)
app.command("report")(report)
app.command("compare")(compare)
app.command("cross-check")(cross_check_command)
app.command("export")(export_command)
app.command("reproduce")(reproduce_command)
app.command("doctor")(doctor)


def main() -> None:
    """Console entry point; an error of the input ends with its message and exit code 2."""
    _end_as_at_interrupt()
    try:
        app()
    except QacDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _end_as_at_interrupt() -> None:
    """End at a request, or with the terminal, as at Ctrl-C: temporary files and processes go first."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    main()
