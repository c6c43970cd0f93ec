"""``qac-deploy reproduce``."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import (
    JsonOption,
    bold,
    choice,
    console,
    progress_bar,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape
from toolchain.shell_words import shell_command

if TYPE_CHECKING:
    from deploy.reproduce.experiment import Experiment

NAMES = "summary, table4, table5, table8, fig1, fig11, baselines, calibration or budget"
EPOCHS, FURTHER_EPOCHS, MEAN_TIMESTEPS = 6, 8, 2.8


def reproduce_command(
    experiment: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.one_of((*completion.EXPERIMENTS, "page")),
            help=f"{NAMES}; or page, which gathers all results.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            autocompletion=completion.data_set, help="Data set, as for `qac-deploy train`."
        ),
    ] = "fashion-mnist",
    network: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(completion.ARCHITECTURES),
            help="Architecture, optionally with a width factor: vgg-9:0.25.",
        ),
    ] = "resnet-20",
    out: Annotated[
        Path, typer.Option(help="Folder for tables, plots and the trained networks.")
    ] = Path("results"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the float ANN.")] = EPOCHS,
    further_epochs: Annotated[
        int,
        typer.Option(min=1, help="Epochs of each network that is trained on from the float ANN."),
    ] = FURTHER_EPOCHS,
    mean_timesteps: Annotated[
        float, typer.Option(min=1, help="Budget for the mean T of the spiking populations.")
    ] = MEAN_TIMESTEPS,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test images to measure on (default: all).")
    ] = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment of the paper on your data, and compare the results with the paper's.

    Networks are trained once, kept under --out and shared by all experiments. An interrupted run continues
    where it stopped. Each experiment writes a CSV file, a JSON file and a plot; `page` gathers the results
    into one Markdown page.

    Example: qac-deploy reproduce table8 --data fashion-mnist --network resnet-20
    """
    from deploy.reproduce.experiment import save_experiment
    from deploy.reproduce.experiments import EXPERIMENTS
    from deploy.reproduce.results_page import write_results_page
    from deploy.reproduce.study import Study
    from toolchain.datasets import load_dataset
    from toolchain.training import EpochReport

    if experiment == "page":
        page = write_results_page(out)
        if as_json:
            print_json({"page": str(page)})
        else:
            console.print(bold(page))
        return
    choice(experiment, (*EXPERIMENTS, "page"), "EXPERIMENT")
    architecture, _, width = network.partition(":")
    try:
        factor = float(width or 1)
    except ValueError:
        raise typer.BadParameter(
            f"must be like vgg-9:0.25, not '{network}'", param_hint="--network"
        ) from None
    dataset = load_dataset(data)
    with progress_bar(hidden=as_json) as progress:
        task = progress.add_task(experiment, total=None, note="")

        def show(name: str, report: EpochReport) -> None:
            note = f"{name}, epoch {report.epoch}, loss {report.loss:.3f}"
            progress.update(task, note=note)

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
    words: list[object] = ["reproduce", experiment, "--data", data, "--network", network]
    for option, value, default in (
        ("epochs", epochs, EPOCHS),
        ("further-epochs", further_epochs, FURTHER_EPOCHS),
        ("mean-timesteps", mean_timesteps, MEAN_TIMESTEPS),
        ("samples", samples, None),
    ):
        if value != default:
            words += [f"--{option}", f"{value:g}"]
    made_by = {"command": shell_command("qac-deploy", *words), "version": version("qac-deploy")}
    result = replace(result, values={**result.values, **made_by})
    files = save_experiment(result, out)
    if as_json:
        print_json(
            {"title": result.title, "columns": result.columns, "rows": result.rows,
             "notes": result.notes, "files": [str(file) for file in files]}
        )  # fmt: skip
        return
    _print(result)
    for file in files:
        console.print(bold(file))


def _print(experiment: Experiment) -> None:
    from deploy.report.tables import names, numbers, print_table, tabulate

    columns = [
        (numbers if index else names)(column, column, itemgetter(index))
        for index, column in enumerate(experiment.columns)
    ]
    print_table(tabulate(experiment.title, experiment.shown(), *columns), console)
    for note in experiment.notes:
        console.print(f"  {escape(note)}")
