"""``qac-deploy report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import JsonOption, bold, console
from deploy.cli.json_output import print_json


def report(
    builds: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUILD...",
            help="Build folder of `qac-deploy compile`; with --diff two of them.",
            show_default=False,
        ),
    ],
    diff: Annotated[
        bool,
        typer.Option("--diff", help="Compare two builds, A and B, figure by figure."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="With --diff: also write the comparison as a page, such as diff.html."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the summary of a build again, or what differs between two builds.

    With --diff, figures that are equal are counted in one line. The exit code is 0 whether figures differ or
    not; a script reads `differing` and `only_in_one` of --json, which are empty if none does.

    Example: qac-deploy report build/; qac-deploy report --diff build/ build-next/ --out diff.html
    """
    if diff:
        if len(builds) != 2:
            raise typer.BadParameter(
                f"compares two builds, not {len(builds)}: qac-deploy report --diff build/ build-next/",
                param_hint="--diff",
            )
        _print_difference(builds[0], builds[1], out, as_json=as_json)
        return
    if out is not None:
        raise typer.BadParameter("is for --diff; a build has its report.html", param_hint="--out")
    if len(builds) != 1:
        raise typer.BadParameter(
            f"takes one build, not {len(builds)}; --diff compares two", param_hint="BUILD"
        )
    _print_summary(builds[0], as_json=as_json)


def _print_summary(build: Path, *, as_json: bool) -> None:
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


def _print_difference(a: Path, b: Path, out: Path | None, *, as_json: bool) -> None:
    from deploy.build.load import load_report_and_digests
    from deploy.report.difference.difference import Side, difference
    from deploy.report.difference.terminal import print_difference
    from toolchain.files.whole_files import REPORT_PAGE, require_replaceable_file, whole_file

    if out is not None:
        require_replaceable_file(out, REPORT_PAGE)
    sides = []
    for build in (a, b):
        document, digests = load_report_and_digests(build)
        sides.append(Side(folder=str(build), report=document, digests=digests))
    found = difference(*sides)
    if out is not None:
        from deploy.report.difference.page import render_difference

        with whole_file(out, REPORT_PAGE) as part:
            part.write_text(render_difference(found), encoding="utf-8")
    if as_json:
        print_json(found)
        return
    print_difference(found, console)
    if out is not None:
        console.print(f"\n{bold(out)} shows the same in a browser")
