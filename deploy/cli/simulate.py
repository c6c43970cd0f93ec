"""``qac-deploy simulate``."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from typing_extensions import NotRequired

from deploy.cli import completion
from deploy.cli.console import (
    AccuracyOption,
    BuildArgument,
    JsonOption,
    LavaPythonOption,
    ResumeOption,
    choice,
    console,
    progress_bar,
    resumable,
    status,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.outputs import NO_ACCURACY
from deploy.report.terminal_text import escape, print_note
from sim.engines import ENGINES
from toolchain.printable import printable

if TYPE_CHECKING:
    import numpy as np

    from deploy.build.load import Build
    from deploy.dataset_run.simulate_dataset import DatasetRun
    from sim.results import Simulation
    from toolchain.datasets import PixelSource
    from toolchain.networks.integer_network import IntegerNetwork


class _Record(TypedDict):
    """The JSON document; Lava and the other engines each fill some of the fields that are not required."""

    engine: str
    data: str
    samples: int
    accuracy: float | None
    accuracy_function: str | None
    predictions: list[int] | None
    mean_spikes_per_neuron: dict[str, float]
    data_contents: list[str]
    data_note: str | None
    logits_sha256: NotRequired[str]
    num_ticks: NotRequired[int]
    stalls: NotRequired[object]
    equal: NotRequired[dict[str, bool]]
    first_difference: NotRequired[str | None]


def simulate(
    build: BuildArgument,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set (default: the one the build was measured on).",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of((*ENGINES, "lava")),
            help=f"Engine: {', '.join(ENGINES)} or lava.",
        ),
    ] = "exact",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Number of test samples (default: all; 16 for lava).")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=1_024, help="Processes on this machine; above 1 they are run by Dask."
        ),
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, to compute on its workers."),
    ] = None,
    accuracy: AccuracyOption = None,
    device: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(("cpu", "cuda")),
            help="Device of the exact engine: cpu or cuda.",
        ),
    ] = "cpu",
    resume: ResumeOption = False,
    lava_python: LavaPythonOption = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the integer network on test images.

    The Lava engine runs the emitted processes and compares every count, spike train, logit and stall
    counter with the stepped engine and the tick model. A difference ends with exit code 1.

    The other engines take any number of samples in bounded memory. Finished samples are kept next to the
    build folder until the run ends, so that --resume can continue an interrupted run. All integers are
    independent of how the samples are spread over processes and machines: compare logits_sha256 of --json.

    The accuracy is the share of right classes. A network whose logits are maps, or that has several outputs,
    has one only with --accuracy, for which all logits are kept in memory.

    Example: qac-deploy simulate build/ --engine lava --samples 16
    """
    from deploy.build.load import load_build
    from deploy.design.accuracy import load_accuracy, measure_accuracy
    from deploy.design.check_fits import check_fits
    from toolchain.datasets import load_dataset, load_recorded
    from toolchain.errors import DataError
    from toolchain.networks.layer_graph import has_classes

    choice(engine, (*ENGINES, "lava"), "--engine")
    _require_of_engine(
        engine,
        {
            "--lava-python": (lava_python is not None, engine == "lava"),
            "--workers": (workers > 1, engine != "lava"),
            "--scheduler": (scheduler is not None, engine != "lava"),
            "--device": (device != "cpu", engine == "exact"),
            "--resume": (resume, engine != "lava"),
        },
    )
    if accuracy is not None and resume:
        raise typer.BadParameter(
            "cannot be used with --accuracy, as the logits of finished samples are not kept on disk; leave "
            "out one of them",
            param_hint="--resume",
        )
    measure = None if accuracy is None else load_accuracy(accuracy)
    loaded = load_build(build)
    network = loaded.network
    if data is not None:
        dataset, changed = load_dataset(data), None
    else:
        dataset, changed = load_recorded(loaded.report, build)
    check_fits(network, dataset, measure)
    name = dataset.name
    count = samples or (16 if engine == "lava" else len(dataset.test_pixels))
    if count > len(dataset.test_pixels):
        raise DataError(
            f"data set '{name}' has {len(dataset.test_pixels)} test samples, not {count}"
        )
    labels = dataset.test_labels[:count]
    record: _Record = {
        "engine": engine,
        "data": name,
        "samples": count,
        "accuracy": None,
        "accuracy_function": accuracy,
        "predictions": None,
        "mean_spikes_per_neuron": {},
        "data_contents": dataset.contents,
        "data_note": changed,
    }
    if engine == "lava":
        run = _run_lava(loaded, dataset.test_pixels[:count], lava_python, record, hide=as_json)
        predictions = run.predictions if has_classes(network.readout) else None
        logits: np.ndarray | None = run.logits
        spikes = {name: int(counts.sum()) for name, counts in run.counts.items()}
    else:
        finished = _run_dataset(
            build, network, dataset.test_pixels, labels,
            engine=engine, workers=workers, scheduler=scheduler, device=device,
            resume=resume, hide_progress=as_json, keep_logits=measure is not None,
        )  # fmt: skip
        predictions, logits, spikes = finished.predictions, finished.logits, finished.spikes
        record["logits_sha256"] = finished.logits_sha256
    if measure is not None:
        assert logits is not None
        readout = network.readout
        record["accuracy"] = measure_accuracy(readout, logits, labels, measure, readout.unit)
    elif predictions is not None:
        record["accuracy"] = float((predictions == labels).mean())
    record["predictions"] = None if predictions is None else predictions.tolist()
    record["mean_spikes_per_neuron"] = {
        p.name: spikes[p.name] / (count * prod(p.shape)) for p in network.spiking
    }
    if as_json:
        print_json(record)
    else:
        _show(record)
    if not all(record.get("equal", {}).values()):
        raise typer.Exit(1)


def _require_of_engine(engine: str, options: Mapping[str, tuple[bool, bool]]) -> None:
    """Refuse an option that is given, but means nothing for the engine."""
    for option, (is_given, belongs) in options.items():
        if is_given and not belongs:
            raise typer.BadParameter(
                f"does not belong to --engine {engine}; leave one of them out", param_hint=option
            )


def _run_dataset(
    build: Path,
    network: IntegerNetwork,
    pixels: PixelSource,
    labels: np.ndarray,
    *,
    engine: str,
    workers: int,
    scheduler: str | None,
    device: str,
    resume: bool,
    hide_progress: bool,
    keep_logits: bool,
) -> DatasetRun:
    """Run one sample per label, with a progress bar; an interrupt ends with exit code 130."""
    from deploy.dataset_run.cluster import Cluster
    from deploy.dataset_run.journal import Journal, describe_run
    from deploy.dataset_run.simulate_dataset import (
        CHUNK_SAMPLES,
        ChunkSimulator,
        Spread,
        in_this_process,
        simulate_dataset,
    )

    spread: Spread = in_this_process
    if workers > 1 or scheduler is not None:
        spread = Cluster(processes=workers, scheduler=scheduler)
    folder = build.resolve()
    state = folder.with_name(f"{folder.name}.simulation")
    if state.exists() and not resume:
        print_note(
            f"starting anew: {printable(state)} of an interrupted run is replaced; --resume would "
            "continue that run"
        )
    journal = Journal(
        state,
        describe_run(network, engine, pixels, labels, CHUNK_SAMPLES),
        resume=resume,
    )
    finished = False
    with progress_bar(hidden=hide_progress) as progress, resumable(progress):
        task = progress.add_task("simulating", total=len(labels), note="")
        try:
            run = simulate_dataset(
                ChunkSimulator(
                    network=network, engine=engine, device=device, keep_logits=keep_logits
                ),
                pixels,
                num_samples=len(labels),
                spread=spread,
                journal=journal,
                on_progress=lambda done: progress.update(task, completed=done),
            )
            finished = True
        finally:
            journal.close(finished=finished)
    return run


def _run_lava(
    build: Build, pixels: np.ndarray, lava_python: Path | None, record: _Record, *, hide: bool
) -> Simulation:
    """Run the network in Lava, and record whether it equals the stepped engine and the tick model."""
    from deploy.check.engines import run_and_compare_in_lava

    with status("starting Lava", hidden=hide) as on_stage:
        result = run_and_compare_in_lava(build, pixels, lava_python, on_stage)
    run, compared = result.run, result.comparison
    record["num_ticks"] = result.schedule.num_ticks
    record["stalls"] = run.stalls
    record["equal"] = {
        "counts, trains and logits = stepped engine": compared.integers is None,
        "tick of every step = tick model": compared.step_ticks is None,
        "stall counters = tick model": compared.stalls is None,
    }
    record["first_difference"] = compared.first_difference
    return run.simulation


def _show(record: _Record) -> None:
    samples = f"{record['samples']} test samples of {escape(record['data'])}"
    if record["accuracy"] is None:
        console.print(f"{record['engine']} engine: {samples}")
        console.print(f"  no accuracy: {NO_ACCURACY}")
    elif record["accuracy_function"] is None:
        console.print(
            f"{record['engine']} engine: [bold]{record['accuracy']:.2%}[/bold] on {samples}"
        )
    else:
        console.print(
            f"{record['engine']} engine: {escape(record['accuracy_function'])} is "
            f"[bold]{record['accuracy']:.4f}[/bold] on {samples}"
        )
    for line in record["data_contents"]:
        console.print(f"  [dim]data: {escape(line)}[/dim]")
    if record["data_note"]:
        console.print(f"  [yellow]{escape(record['data_note'])}[/yellow]")
    for claim, holds in record.get("equal", {}).items():
        mark = "[green]equal[/green]" if holds else "[red]DIFFERENT[/red]"
        console.print(f"  {mark}  {claim}")
    if difference := record.get("first_difference"):
        console.print(f"  first difference: {escape(difference)}")
