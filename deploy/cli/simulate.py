"""``qac-deploy simulate``."""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json, progress_bar, say
from sim.engines import ENGINES

if TYPE_CHECKING:
    import numpy as np

    from deploy.build.load import Build
    from deploy.dataset_run.simulate_dataset import DatasetRun
    from sim.results import Simulation
    from toolchain.datasets import PixelSource
    from toolchain.networks.integer_network import IntegerNetwork

ENGINE_NAMES = (*ENGINES, "lava")


def simulate(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    data: Annotated[
        str | None, typer.Option(help="Data set (default: the one the build was measured on).")
    ] = None,
    engine: Annotated[str, typer.Option(help=f"{', '.join(ENGINES)} or lava.")] = "exact",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test samples (default: all; 16 for lava).")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes to spread the samples over (Dask, if above 1).")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler whose workers compute, on any machine."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the exact engine computes: cpu or cuda.")
    ] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")
    ] = False,
    lava_python: Annotated[
        Path | None, typer.Option(help="Python 3.10 interpreter that has lava-nc.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the integer network on test images.

    The Lava engine runs the emitted processes and compares every count, spike train, logit and stall
    counter with the stepped engine and the tick model; any difference is an error (exit code 1).

    The other engines take any number of samples in bounded memory. What is finished is kept beside the
    build folder until the run ends, and an interrupted run goes on with --resume. However the samples
    are spread over processes and machines, every integer is the same: compare logits_sha256 of --json.

    Example: [bold]qac-deploy simulate build/ --engine lava --samples 16[/bold]
    """
    from deploy.build.load import load_build
    from deploy.design.fidelity import check_fits
    from toolchain.datasets import load_dataset, load_recorded
    from toolchain.errors import DataError

    if engine not in ENGINE_NAMES:
        raise typer.BadParameter(
            f"must be one of {', '.join(ENGINE_NAMES)}, not '{engine}'", param_hint="--engine"
        )
    loaded = load_build(build)
    network = loaded.network
    if data is not None:
        dataset, changed = load_dataset(data), None
    else:
        dataset, changed = load_recorded(loaded.report, build)
    check_fits(network, dataset)
    name = dataset.name
    count = samples or (16 if engine == "lava" else len(dataset.test_pixels))
    if count > len(dataset.test_pixels):
        raise DataError(
            f"data set '{name}' has {len(dataset.test_pixels)} test samples, not {count}"
        )
    labels = dataset.test_labels[:count]
    checks: dict[str, Any] = {}
    spikes: dict[str, int]
    if engine == "lava":
        pixels = dataset.test_pixels[:count]
        lava, checks = _run_lava(loaded, pixels, lava_python, as_json)
        predictions = lava.predictions
        spikes = {name: int(counts.sum()) for name, counts in lava.counts.items()}
    else:
        run = _run_dataset(
            build, network, dataset.test_pixels, labels,
            engine=engine, workers=workers, scheduler=scheduler, device=device,
            resume=resume, hide_progress=as_json,
        )  # fmt: skip
        predictions, spikes, checks = run.predictions, run.spikes, {}
        checks["logits_sha256"] = run.logits_sha256
    result = {
        "engine": engine,
        "data": name,
        "samples": count,
        "accuracy": float((predictions == labels).mean()),
        "predictions": predictions.tolist(),
        "mean_spikes_per_neuron": {
            p.name: spikes[p.name] / (count * prod(p.shape)) for p in network.spiking
        },
        "data_note": changed,
        **checks,
    }
    if as_json:
        print_json(result)
    else:
        _show(result)
    if not all(checks.get("equal", {}).values()):
        raise typer.Exit(1)


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
) -> DatasetRun:
    """As many samples as there are labels, with progress; an interrupt ends with exit code 130."""
    from deploy.dataset_run.cluster import Cluster
    from deploy.dataset_run.journal import Journal, describe_run
    from deploy.dataset_run.simulate_dataset import (
        CHUNK_SAMPLES,
        ChunkSimulator,
        Spread,
        in_this_process,
        simulate_dataset,
    )
    from toolchain.files.whole_files import SIMULATION_JOURNAL, require_replaceable_file

    spread: Spread = in_this_process
    if workers > 1 or scheduler is not None:
        spread = Cluster(processes=workers, scheduler=scheduler)
    folder = build.resolve()
    state = folder.with_name(f"{folder.name}.simulation")
    require_replaceable_file(state, SIMULATION_JOURNAL, option="another place for the build")
    journal = Journal(
        state,
        describe_run(network, engine, pixels, labels, CHUNK_SAMPLES),
        resume=resume,
    )
    finished = False
    with progress_bar(hidden=hide_progress) as progress:
        task = progress.add_task("simulating", total=len(labels), note="")
        try:
            run = simulate_dataset(
                ChunkSimulator(network=network, engine=engine, device=device),
                pixels,
                num_samples=len(labels),
                spread=spread,
                journal=journal,
                on_progress=lambda done: progress.update(task, completed=done),
            )
            finished = True
        except KeyboardInterrupt:
            progress.stop()
            print("interrupted; the same command with --resume goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None
        finally:
            journal.close(finished=finished)
    return run


def _run_lava(
    build: Build, pixels: np.ndarray, lava_python: Path | None, as_json: bool
) -> tuple[Simulation, dict[str, Any]]:
    """Run the network in Lava, and compare all that it returns with the stepped engine and the tick model."""
    from deploy.backends.lava.environment import find_lava_python
    from deploy.check.engines import compare_lava_run, run_build_in_lava
    from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
    from sim.stepped import run_stepped

    schedule = schedule_pipeline(build.pipeline, len(pixels))
    python = find_lava_python(lava_python)
    with console.status(f"running {schedule.num_ticks} ticks in Lava") as status:
        if as_json:
            status.stop()
        run = run_build_in_lava(build, pixels, num_ticks=schedule.num_ticks, python=python)
    compared = compare_lava_run(run_stepped(build.network, pixels), schedule, run)
    checks = {
        "num_ticks": schedule.num_ticks,
        "stalls": run.stalls,
        "equal": {
            "counts, trains and logits = stepped engine": compared.integers is None,
            "tick of every step = tick model": compared.step_ticks is None,
            "stall counters = tick model": compared.stalls is None,
        },
        "first_difference": compared.first_difference,
    }
    return run.simulation, checks


def _show(result: dict[str, Any]) -> None:
    say(
        "{engine} engine: [bold]{accuracy:.2%}[/bold] on {samples} test samples of {data}",
        **{field: result[field] for field in ("engine", "accuracy", "samples", "data")},
    )
    if result["data_note"]:
        console.print(f"  [yellow]{escape(result['data_note'])}[/yellow]")
    for claim, holds in result.get("equal", {}).items():
        mark = "[green]equal[/green]" if holds else "[red]DIFFERENT[/red]"
        console.print(f"  {mark}  {claim}")
    if result.get("first_difference"):
        say("  first difference: {found}", found=result["first_difference"])
