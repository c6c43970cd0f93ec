"""``qac-deploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import BuildArgument, JsonOption, console, progress_bar
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape

if TYPE_CHECKING:
    from deploy.report.array_records import SweepRecord
    from deploy.report.records import Report
    from hw_models.pe_array.array_description import PeArray
    from toolchain.datasets import Dataset
    from toolchain.networks.integer_network import IntegerNetwork

CHECKED_SAMPLES = 4
"""Samples on which the PE array's functional output is compared with the stepped engine."""


def compare(
    build: BuildArgument,
    array: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.array,
            help="PE array: a built-in name or a YAML file (default: the build's).",
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Also try every unrolling M x N x S x V with the same number of elements.",
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot to this file, .png or .svg.")
    ] = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the pipeline with a PE array that computes the same integers, layer by layer.

    The array runs the network as an SNN (timestep by timestep, or by bit planes) and as the quantized ANN
    that was trained. If the build's data set is on this machine, zero skipping is counted on it.

    Example: qac-deploy compare build/ --sweep --plot compare.png
    """
    from deploy.build.load import load_build
    from deploy.check.engines import compare_array
    from deploy.design.array_comparison import compare_on_array
    from deploy.design.random_pixels import random_pixels
    from deploy.report.array_document import array_document
    from deploy.report.array_findings import refusal_line
    from deploy.report.array_plot import draw_comparison, plot_kind
    from deploy.report.comparison import array_rows
    from deploy.report.terminal import print_array
    from hw_models.pe_array.array_description import load_array
    from sim.stepped import run_stepped
    from toolchain.errors import TargetError
    from toolchain.files.whole_files import require_replaceable_file

    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"must end in .png or .svg, not '{plot}'", param_hint="--plot")
    if plot is not None:
        require_replaceable_file(plot, plot_kind(plot), remedy="choose another with --plot")
    loaded = load_build(build)
    network, report = loaded.network, loaded.report
    description = loaded.array if array is None else load_array(array)
    dataset, skipped = _dataset(report, build)
    report["pe_array"] = array_document(compare_on_array(network, description, dataset))
    if (refusal := refusal_line(report["pe_array"])) is not None:
        raise TargetError(f"{refusal}; choose another array with --array")
    pipelines = [row for row in report["comparison"] if row["kind"] == "pipeline"]
    report["comparison"] = pipelines + array_rows(report["pe_array"])
    pixels = random_pixels(network, CHECKED_SAMPLES)
    divergence = compare_array(run_stepped(network, pixels), network, description, pixels)
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
                "data_note": skipped,
            }
        )
    else:
        if skipped is not None:
            console.print(f"[yellow]{escape(skipped)}[/yellow]")
        print_array(report, sweeps, console)
        console.print(f"\n{_verdict(report, divergence)}")
    if divergence is not None:
        raise typer.Exit(1)


def _dataset(report: Report, build: Path) -> tuple[Dataset | None, str | None]:
    """The build's data set, and a warning if it cannot be used or has changed."""
    from toolchain.datasets import load_recorded
    from toolchain.errors import DataError

    try:
        return load_recorded(report, build)
    except DataError as error:
        return None, f"zero skipping is not counted: {error}"


def _sweeps(network: IntegerNetwork, array: PeArray, hidden: bool) -> list[SweepRecord]:
    from deploy.compile.array_sweep import sweep_documents
    from hw_models.pe_array.design_space import unrollings
    from hw_models.pe_array.modes import snn_schedules

    total = len(list(unrollings(array.unrolling.num_elements))) * len(snn_schedules(network))
    with progress_bar(hidden=hidden) as progress:
        task = progress.add_task("trying unrollings", total=total, note="")
        return sweep_documents(network, array, lambda: progress.advance(task))


def _verdict(report: Report, divergence: str | None) -> str:
    from deploy.report.outputs import accuracy_text

    if divergence is not None:
        return (
            f"[red]DIFFERENT[/red]  PE array compared with the stepped engine: {escape(divergence)}"
        )
    accuracy = ""
    if (fidelity := report["fidelity"]) and fidelity["integer_accuracy"] is not None:
        accuracy = f", so all have the same accuracy, {accuracy_text(fidelity, 'integer_accuracy')}"
    return (
        f"[green]equal[/green]  PE array = stepped engine on every count, spike and logit of "
        f"{CHECKED_SAMPLES} random samples: every design computes the same integers{accuracy}"
    )
