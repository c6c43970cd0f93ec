"""``qac-deploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.console import JsonOption, console, print_json, progress_bar

if TYPE_CHECKING:
    from hw_models.pe_array.array_description import PeArray
    from toolchain.datasets import Dataset
    from toolchain.integer_network import IntegerNetwork

CHECKED_SAMPLES = 4
"""Samples on which the PE array's functional output is held against the stepped engine."""


def compare(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    array: Annotated[
        str | None, typer.Option(help="PE array: a name or a YAML file (default: the build's).")
    ] = None,
    sweep: Annotated[
        bool, typer.Option(help="Also try every unrolling M x N x S x V of as many elements.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw it into this file, PNG or SVG by its name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the pipeline against a PE array that computes the same integers, layer by layer.

    The array runs the network as an SNN, timestep by timestep or by bit planes, and as the quantized ANN
    it was trained as. Where the build's data set is on this machine, zero skipping is counted on it.

    Example: [bold]qac-deploy compare build/ --sweep --plot compare.png[/bold]
    """
    from deploy.array_comparison import compare_on_array
    from deploy.build_folder import load_report
    from deploy.report.array_document import array_document
    from deploy.report.array_plot import draw_comparison
    from deploy.report.array_tables import print_array, print_designs, print_sweep
    from deploy.report.comparison import array_rows
    from deploy.verification import hold_array, random_pixels
    from hw_models.pe_array.array_description import load_array
    from toolchain.integer_network.serialize import load_integer_network

    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"must end in .png or .svg, not '{plot}'", param_hint="--plot")
    network, report = load_integer_network(build), load_report(build)
    description = load_array(array or report["options"]["array"])
    report["pe_array"] = array_document(
        compare_on_array(network, description, _dataset(report, build))
    )
    pipelines = [row for row in report["comparison"] if row["kind"] == "pipeline"]
    report["comparison"] = pipelines + array_rows(report["pe_array"])
    divergence = hold_array(network, description, random_pixels(network, CHECKED_SAMPLES))
    sweeps = _sweeps(network, description, hidden=as_json) if sweep else []
    if plot is not None:
        draw_comparison(report, sweeps, plot)
    if as_json:
        print_json(
            {
                "comparison": report["comparison"],
                "pe_array_equals_stepped": divergence is None,
                "first_difference": divergence,
                "pe_array": report["pe_array"],
                "sweeps": sweeps,
            }
        )
    else:
        print_array(report, console)
        if sweeps:
            print_sweep(sweeps, console)
        print_designs(report, console)
        console.print(f"\n{_verdict(report, divergence)}")
    if divergence is not None:
        raise typer.Exit(1)


def _dataset(report: dict[str, Any], build: Path) -> Dataset | None:
    from toolchain.datasets import load_recorded
    from toolchain.errors import DataError

    try:
        return load_recorded(report, build)[0]
    except DataError:
        return None  # its files are elsewhere: everything but zero skipping needs none


def _sweeps(network: IntegerNetwork, array: PeArray, hidden: bool) -> list[dict[str, Any]]:
    from deploy.array_sweep import sweep_documents
    from hw_models.pe_array.design_space import unrollings
    from hw_models.pe_array.modes import snn_schedules

    total = len(list(unrollings(array.unrolling.num_elements))) * len(snn_schedules(network))
    with progress_bar(hidden=hidden) as progress:
        task = progress.add_task("trying unrollings", total=total, note="")
        return sweep_documents(network, array, lambda: progress.advance(task))


def _verdict(report: dict[str, Any], divergence: str | None) -> str:
    if divergence is not None:
        return f"[red]DIFFERENT[/red]  PE array against stepped engine: {divergence}"
    accuracy = ""
    if report["fidelity"]:
        accuracy = f", so all have the same accuracy, {report['fidelity']['integer_accuracy']:.2%}"
    return (
        f"[green]equal[/green]  PE array = stepped engine on every count, spike and logit of "
        f"{CHECKED_SAMPLES} random samples: every design computes the same integers{accuracy}"
    )
