"""``qac-deploy demo``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.console import JsonOption, LavaPythonOption, bold, console, status
from deploy.cli.json_output import print_json, taken_documents
from deploy.report.terminal_text import escape
from toolchain.shell_words import shell_command, words_of

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
        command = _shown(arguments, as_json=as_json)
        _, *words = words_of(command)
        with taken_documents() as documents:
            if as_json:
                words.append("--json")
            code = commands.main(words, "qac-deploy", standalone_mode=False)
        if code:
            for document in documents:
                print_json(document)
            raise typer.Exit(code)
        return {"command": command, "result": documents[0] if as_json else None, "skipped": None}

    return run


def _created_lava(*, as_json: bool) -> dict[str, Any]:
    """Make the environment as `doctor` does, without its table of what else is installed."""
    from deploy.backends.lava.environment import LAVA_NC, create_lava_environment, find_lava_python

    command = _shown(["doctor", "--create-lava-env"], as_json=as_json)
    with status(f"making an environment with {LAVA_NC.package}", hidden=as_json) as say:
        create_lava_environment(LAVA_NC, say)
    found = str(find_lava_python())
    if not as_json:
        console.print(f"{LAVA_NC.package} {LAVA_NC.version}  {escape(found)}")
    return {"command": command, "result": {LAVA_NC.package: found}, "skipped": None}


def _skipped(arguments: Sequence[object], reason: str, *, as_json: bool) -> dict[str, Any]:
    command = _shown(arguments, as_json=as_json)
    if not as_json:
        console.print(f"[yellow]skipped: {escape(reason)}[/yellow]")
    return {"command": command, "result": None, "skipped": reason}


def _shown(arguments: Sequence[object], *, as_json: bool) -> str:
    """A command, which is printed for people as a step of the demo."""
    command = shell_command("qac-deploy", *arguments)
    if not as_json:
        console.print(f"\n[bold]$ {escape(command)}[/bold]", soft_wrap=True)
    return command
