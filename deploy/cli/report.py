"""``qac-deploy report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import JsonOption, console, print_json, say


def report(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    as_json: JsonOption = False,
) -> None:
    """Show the report of a build again.

    Example: [bold]qac-deploy report build/[/bold]
    """
    from deploy.build.load import load_report
    from deploy.report.terminal import print_summary

    document = load_report(build)
    if as_json:
        print_json(document)
        return
    print_summary(document, console)
    say(
        "\n[bold]{page}[/bold] has the timeline and every figure's source",
        page=build / "report.html",
    )
