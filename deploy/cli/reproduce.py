"""``qac-deploy reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import JsonOption, console, print_json, progress_bar, say

if TYPE_CHECKING:
    from deploy.reproduce.experiment import Experiment

NAMES = "summary, table4, table5, table8, fig1, fig11, baselines, calibration or budget"


def reproduce_command(
    experiment: Annotated[str, typer.Argument(help=f"{NAMES}, or page for all results' page.")],
    data: Annotated[
        str, typer.Option(help="Data set, as for `qac-deploy train`.")
    ] = "fashion-mnist",
    network: Annotated[
        str, typer.Option(help="Architecture, with its width after a colon if not 1.")
    ] = "resnet-20",
    out: Annotated[
        Path, typer.Option(help="Folder for tables, plots and the trained networks.")
    ] = Path("results"),
    epochs: Annotated[int, typer.Option(min=1, help="Of the float ANN.")] = 6,
    further_epochs: Annotated[
        int, typer.Option(min=1, help="Of each network that goes on from it.")
    ] = 8,
    mean_timesteps: Annotated[float, typer.Option(min=1, help="Budget for the mean of T.")] = 2.8,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test images to measure on (default: all).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment of the paper on your own data, beside the paper's numbers.

    Networks are trained once, kept under --out and shared by all experiments; an interrupted run goes on
    where it stopped. Writes a CSV, a JSON file and a plot. `page` gathers all that was run into one
    Markdown page.

    Example: [bold]qac-deploy reproduce table8 --data fashion-mnist --network resnet-20[/bold]
    """
    from deploy.reproduce.experiment import save_experiment
    from deploy.reproduce.experiments import EXPERIMENTS
    from deploy.reproduce.results_page import write_results_page
    from deploy.reproduce.study import Study
    from toolchain.datasets import load_dataset
    from toolchain.training import EpochReport

    if experiment == "page":
        say("[bold]{page}[/bold]", page=write_results_page(out))
        return
    if experiment not in EXPERIMENTS:
        raise typer.BadParameter(f"must be {NAMES}, not '{experiment}'", param_hint="EXPERIMENT")
    architecture, _, width = network.partition(":")
    try:
        factor = float(width or 1)
    except ValueError:
        raise typer.BadParameter(
            f"'{network}' must be like vgg-9:0.25", param_hint="--network"
        ) from None
    dataset = load_dataset(data)
    with progress_bar(hidden=as_json) as progress:
        task = progress.add_task(experiment, total=None, note="")

        def show(name: str, report: EpochReport) -> None:
            progress.update(task, note=f"{name}, epoch {report.epoch}, loss {report.loss:.3f}")

        study = Study(
            architecture=architecture,
            width=factor,
            dataset=dataset,
            folder=out / "networks",
            epochs=epochs,
            further_epochs=further_epochs,
            mean_timesteps=mean_timesteps,
            on_epoch=show,
        )
        result = EXPERIMENTS[experiment](study, samples or len(dataset.test_labels))
        progress.update(task, total=1, completed=1, note="done")
    files = save_experiment(result, out)
    if as_json:
        print_json(
            {"title": result.title, "columns": result.columns, "rows": result.rows,
             "notes": result.notes, "files": [str(file) for file in files]}
        )  # fmt: skip
        return
    _print(result)
    for file in files:
        say("[bold]{file}[/bold]", file=file)


def _print(experiment: Experiment) -> None:
    from rich.table import Table

    table = Table(title=experiment.title, title_justify="left", box=None, header_style="bold")
    for index, column in enumerate(experiment.columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in experiment.shown():
        table.add_row(*row)
    console.print(table)
    for note in experiment.notes:
        say("  {note}", note=note)
