"""``qac-deploy demo``."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, LavaPythonOption, bold, console, print_json, status

LAVA_SAMPLES = 16
"""Test samples in Lava, which takes a second for a few of them."""


def demo(
    context: typer.Context,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the model file and the build; earlier ones are replaced."),
    ] = Path("demo"),
    create_lava_env: Annotated[
        bool,
        typer.Option(
            "--create-lava-env", help="Create an environment with lava-nc, unless one exists."
        ),
    ] = False,
    lava_python: LavaPythonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on scikit-learn's digits, compile, simulate exactly and in Lava, and compare with a PE array.

    Each step is shown as the command that does the same, with its output.

    Example: qac-deploy demo --out demo
    """
    from deploy.backends.lava.environment import find_lava_python
    from deploy.build.folder import BUILD, require_replaceable_folder
    from toolchain.errors import LavaError, ModelFileError

    model, build = out / "model.pt", out / "build"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{out}: cannot be made ({error}); choose another folder with --out"
        ) from error
    require_replaceable_folder(build, BUILD)  # or refuse before the training
    run = _runner(context, as_json=as_json)
    steps = [_created_lava(as_json=as_json)] if create_lava_env else []
    steps.append(run("train", "--data", "digits", "--out", model))
    steps.append(run("compile", model, "--target", "loihi-sim", "--out", build))
    steps.append(run("simulate", build, "--engine", "exact"))
    in_lava = ["simulate", build, "--engine", "lava", "--samples", LAVA_SAMPLES]
    try:
        find_lava_python(lava_python)
    except LavaError as error:
        steps.append(_skipped(in_lava, str(error), as_json=as_json))
    else:
        steps.append(
            run(*in_lava, *([] if lava_python is None else ["--lava-python", lava_python]))
        )
    steps.append(run("compare", build))
    report = build / "report.html"
    if as_json:
        print_json(
            {"model": str(model), "build": str(build), "report": str(report), "steps": steps}
        )
        return
    console.print(f"\n{bold(report)} is the report: open it in a browser")


def _runner(context: typer.Context, *, as_json: bool) -> Callable[..., dict[str, Any]]:
    """A function that runs a command in this process, which imports torch once.

    Its steps end the demo with their exit code if it is not 0.
    """
    commands = context.find_root().command

    def run(*arguments: object) -> dict[str, Any]:
        words = [str(argument) for argument in arguments]
        printed = io.StringIO()
        if as_json:
            with redirect_stdout(printed):
                code = commands.main([*words, "--json"], "qac-deploy", standalone_mode=False)
        else:
            console.print(f"\n[bold]$ {escape(_command(words))}[/bold]")
            code = commands.main(words, "qac-deploy", standalone_mode=False)
        if code:
            raise typer.Exit(code)
        document = json.loads(printed.getvalue()) if as_json else None
        return {"command": _command(words), "result": document, "skipped": None}

    return run


def _created_lava(*, as_json: bool) -> dict[str, Any]:
    """Make the environment as `doctor` does, without its table of what else is installed."""
    from deploy.backends.lava.environment import LAVA_NC, create_lava_environment, find_lava_python

    command = _command(["doctor", "--create-lava-env"])
    if not as_json:
        console.print(f"\n[bold]$ {escape(command)}[/bold]")
    with status(f"making an environment with {LAVA_NC.package}", hidden=as_json) as say:
        create_lava_environment(LAVA_NC, say)
    found = str(find_lava_python())
    if not as_json:
        console.print(f"{LAVA_NC.package} {LAVA_NC.version}  {escape(found)}")
    return {"command": command, "result": {LAVA_NC.package: found}, "skipped": None}


def _skipped(arguments: Sequence[object], reason: str, *, as_json: bool) -> dict[str, Any]:
    command = _command([str(argument) for argument in arguments])
    if not as_json:
        console.print(f"\n[bold]$ {escape(command)}[/bold]")
        console.print(f"[yellow]skipped: {escape(reason)}[/yellow]")
    return {"command": command, "result": None, "skipped": reason}


def _command(words: Sequence[str]) -> str:
    return shlex.join(["qac-deploy", *words])
