"""``qac-deploy report``."""

from __future__ import annotations

from deploy.cli.console import BuildArgument, JsonOption, bold, console, print_json


def report(
    build: BuildArgument,
    as_json: JsonOption = False,
) -> None:
    """Print the summary of a build again.

    Example: qac-deploy report build/
    """
    from deploy.build.load import load_report
    from deploy.report.terminal import print_summary

    document = load_report(build)
    if as_json:
        print_json(document)
        return
    print_summary(document, console)
    console.print(
        f"\n{bold(build / 'report.html')} has the timeline and the source of every figure"
    )
