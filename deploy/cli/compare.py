"""``qac-deploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploy.cli.console import JsonOption, console, print_json

if TYPE_CHECKING:
    from hw_models.pe_array.estimate import ArrayEstimate

CHECKED_SAMPLES = 4
"""Samples on which the PE array's functional output is held against the stepped engine."""


def compare(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    array: Annotated[
        str | None, typer.Option(help="PE array: a name or a YAML file (default: the build's).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the pipeline against a PE array that computes the same integers, layer by layer.

    Example: [bold]qac-deploy compare build/[/bold]
    """
    from dataclasses import asdict

    from deploy.build_folder import load_report
    from deploy.report.comparison import array_row
    from deploy.report.terminal import print_comparison
    from deploy.verification import hold_array, random_pixels
    from hw_models.pe_array.array_description import load_array
    from hw_models.pe_array.estimate import estimate_array
    from hw_models.pe_array.layer_passes import modes_of
    from toolchain.integer_network.serialize import load_integer_network

    network, report = load_integer_network(build), load_report(build)
    description = load_array(array or report["options"]["array"])
    estimates = [estimate_array(network, description, mode) for mode in modes_of(network)]
    pipelines = [row for row in report["comparison"] if row["kind"] == "pipeline"]
    report["comparison"] = pipelines + [array_row(description.name, e) for e in estimates]
    divergence = hold_array(network, description, random_pixels(network, CHECKED_SAMPLES))
    if as_json:
        print_json(
            {
                "comparison": report["comparison"],
                "pe_array_equals_stepped": divergence is None,
                "first_difference": divergence,
                "estimates": [asdict(e) for e in estimates],
            }
        )
    else:
        console.print(_layers(estimates))
        print_comparison(report, console)
        verdict = (
            f"[green]equal[/green]  PE array = stepped engine on every count, spike and logit of "
            f"{CHECKED_SAMPLES} random samples"
            if divergence is None
            else f"[red]DIFFERENT[/red]  PE array against stepped engine: {divergence}"
        )
        console.print(f"\n{verdict}")
    if divergence is not None:
        raise typer.Exit(1)


def _layers(estimates: list[ArrayEstimate]) -> Table:
    """Cycles of each layer in each mode; utilisation of the array in brackets."""
    table = Table(
        title="PE array, cycles per layer (utilisation)",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("layer")
    for estimate in estimates:
        table.add_column(estimate.mode, justify="right")
    for layers in zip(*(estimate.layers for estimate in estimates), strict=True):
        cells = (f"{layer.cycles:,} ({layer.utilisation:.0%})" for layer in layers)
        table.add_row(escape(layers[0].name), *cells)
    totals = (f"{estimate.cycles:,} ({estimate.utilisation:.0%})" for estimate in estimates)
    table.add_row("total", *totals, style="bold")
    return table
