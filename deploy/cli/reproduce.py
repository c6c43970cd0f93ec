"""``qac-deploy reproduce``."""

from __future__ import annotations

from collections.abc import Sequence
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
    resumable,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape
from deploy.reproduce.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from deploy.reproduce.experiment import Experiment
    from deploy.reproduce.runs import Run
    from deploy.reproduce.study import OnEpoch, Study
    from toolchain.training import EpochReport

NAMES = (
    "summary, table1 to table8, fig1, fig3, fig5 to fig11, baselines, calibration, bits or budget"
)


def reproduce_command(
    experiment: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.one_of((*completion.EXPERIMENTS, "all", "page")),
            help=f"{NAMES}; all, for every table and figure of the paper that suits the data; or page, which "
            "gathers all results.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            autocompletion=completion.data_set, help="Data set, as for `qac-deploy train`."
        ),
    ] = "fashion-mnist",
    network: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=completion.one_of(completion.ARCHITECTURES),
            help="Architecture, optionally with a width factor: vgg-9:0.25 (default: resnet-20). Repeat it "
            "for `all`, whose default is the networks of the paper that suit the data.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, plots and the trained networks.")
    ] = Path("results"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the float ANN.")] = Settings.epochs,
    further_epochs: Annotated[
        int,
        typer.Option(min=1, help="Epochs of each network that is trained on from the float ANN."),
    ] = Settings.further_epochs,
    mean_timesteps: Annotated[
        float, typer.Option(min=1, help="Budget for the mean T of the spiking populations.")
    ] = Settings.mean_timesteps,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test images to measure on (default: all).")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Trainings of each network; tables show means and spreads over them."
        ),
    ] = Settings.seeds,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment of the paper on your data, and compare the results with the paper's.

    Networks are trained once, kept under --out and shared by all experiments. An interrupted run continues
    where it stopped. Each experiment writes a CSV file, a JSON file and a plot; `page` gathers the results
    into one Markdown page. `all` says how long it will take, and leaves out results that the same command of
    the same version has made.

    Example: qac-deploy reproduce table8 --data fashion-mnist --network resnet-20
    """
    from deploy.reproduce.experiments import EXPERIMENTS
    from deploy.reproduce.results_page import write_results_page
    from deploy.reproduce.runs import Run, studies_of
    from deploy.reproduce.whole_paper import networks_for
    from toolchain.datasets import load_dataset

    if experiment == "page":
        page = write_results_page(out)
        if as_json:
            print_json({"page": str(page)})
        else:
            console.print(bold(page))
        return
    choice(experiment, (*EXPERIMENTS, "all", "page"), "EXPERIMENT")
    networks = [_architecture(name) for name in network or ()]
    if experiment != "all" and len(networks) > 1:
        raise typer.BadParameter(
            "only `all` takes several networks; run this experiment once for each",
            param_hint="--network",
        )
    settings = Settings(
        data=data, out=out, epochs=epochs, further_epochs=further_epochs,
        mean_timesteps=mean_timesteps, samples=samples, seeds=seeds,
    )  # fmt: skip
    dataset = load_dataset(data)

    with progress_bar(hidden=as_json) as progress, resumable(progress, option=""):
        task = progress.add_task(f"reproduce {experiment}", total=None, note="")
        show = _showing(progress, task)
        if experiment == "all":
            chosen = networks or [_architecture(name) for name in networks_for(dataset)]
            studies = [studies_of(settings, dataset, *one, show) for one in chosen]
            _make_all(settings, studies, progress, task, as_json)
            return
        (one,) = networks or [("resnet-20", 1.0)]
        run = Run(
            settings=settings,
            experiment=experiment,
            studies=studies_of(settings, dataset, *one, show),
        )
        result, files = run.make()
        progress.update(task, total=1, completed=1, note="done")
    if as_json:
        print_json(
            {"title": result.title, "columns": result.columns, "rows": result.rows,
             "notes": result.notes, "files": [str(file) for file in files]}
        )  # fmt: skip
        return
    _print(result)
    for file in files:
        console.print(bold(file))


def _make_all(
    settings: Settings,
    studies: Sequence[Sequence[Study]],
    progress: Progress,
    task: TaskID,
    as_json: bool,
) -> None:
    """Make what is not made yet, and the page."""
    from deploy.reproduce.results_page import write_results_page
    from deploy.reproduce.runs import Run
    from deploy.reproduce.whole_paper import experiments_for

    runs = [
        Run(settings=settings, experiment=name, studies=of_network)
        for of_network in studies
        for name in experiments_for(of_network[0])
    ]
    left = [run for run in runs if not run.is_made]
    if len(left) < len(runs) and not as_json:
        console.print(
            f"kept: {len(runs) - len(left)} of {len(runs)} results, made by the same commands of this version"
        )
    seconds = _estimate(left, progress, task, as_json) if left else 0.0
    files: list[Path] = []
    progress.update(task, total=len(left), completed=0)
    for done, run in enumerate(left, start=1):
        progress.update(task, note=f"{run.experiment} of {run.studies[0].name}")
        result, written = run.make()
        files += written
        progress.update(task, completed=done, note="")
        if not as_json:
            console.print(f"{bold(written[1])}  {escape(result.title)}")
    page = write_results_page(settings.out)
    progress.update(task, note="done")
    if as_json:
        print_json(
            {"page": str(page), "files": [str(file) for file in files],
             "kept": len(runs) - len(left), "estimated_seconds": seconds}
        )  # fmt: skip
    else:
        console.print(bold(page))


def _estimate(runs: Sequence[Run], progress: Progress, task: TaskID, as_json: bool) -> float:
    """Say how long the runs will take, and return it in seconds."""
    from deploy.reproduce.whole_paper import estimated_seconds, measure_pace, trainings_left

    seconds, num_trainings = 0.0, 0
    for studies in dict.fromkeys(tuple(run.studies) for run in runs):
        progress.update(task, note=f"timing a training step of {studies[0].name}")
        names = [run.experiment for run in runs if tuple(run.studies) == studies]
        pace = measure_pace(studies[0])
        for study in studies:
            seconds += estimated_seconds(study, names, runs[0].num_samples, pace)
            num_trainings += len(trainings_left(study, names))
    if not as_json:
        console.print(
            f"to do: {len(runs)} results with {num_trainings} trainings; about {_duration(seconds)} on this "
            f"machine, as busy as it is, estimated from one timed training step and pass of each network"
        )
    return seconds


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _architecture(network: str) -> tuple[str, float]:
    """Name and width factor of a network such as ``vgg-9:0.25``."""
    architecture, _, width = network.partition(":")
    try:
        return architecture, float(width or 1)
    except ValueError:
        raise typer.BadParameter(
            f"must be like vgg-9:0.25, not '{network}'", param_hint="--network"
        ) from None


def _showing(progress: Progress, task: TaskID) -> OnEpoch:
    def show(name: str, report: EpochReport) -> None:
        progress.update(task, note=f"{name}, epoch {report.epoch}, loss {report.loss:.3f}")

    return show


def _print(experiment: Experiment) -> None:
    from deploy.report.tables import names, numbers, print_table, tabulate

    columns = [
        (numbers if index else names)(column, column, itemgetter(index))
        for index, column in enumerate(experiment.columns)
    ]
    print_table(tabulate(experiment.title, experiment.shown(), *columns), console)
    for note in experiment.notes:
        console.print(f"  {escape(note)}")
