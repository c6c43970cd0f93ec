"""``qac-deploy compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import (
    MOST_OF_A_RESOURCE,
    MOST_SHOWN,
    AccuracyOption,
    JsonOption,
    ModelArgument,
    bold,
    choice,
    console,
    print_json,
    print_next,
    status,
)
from deploy.optimize.objectives import OBJECTIVES


def compile_command(
    model: ModelArgument,
    target: Annotated[
        str, typer.Option(help="Target chip: a built-in name or a YAML file.")
    ] = "loihi-sim",
    array: Annotated[
        str, typer.Option(help="PE array to compare with: a built-in name or a YAML file.")
    ] = "pe-array",
    out: Annotated[
        Path, typer.Option(help="Build folder; an earlier build there is replaced.")
    ] = Path("build"),
    alignment: Annotated[
        str | None,
        typer.Option(
            help="Temporal alignment: average, replicate or truncate (default: the model's own); exact max "
            "pooling needs average."
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_OF_A_RESOURCE,
            help="Slots of each alignment buffer, per replica (default: the target's).",
        ),
    ] = None,
    replicate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT",
            help="Replicas of a population, such as conv3=2; they take samples in turn, on cores of their "
            "own. May be given several times.",
        ),
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(min=2, max=8, help="Bits of a synaptic weight (default: the target's)."),
    ] = None,
    thresholds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of distinct thresholds per population (default: the target's).",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set to measure on (default: the one the network was trained on)."),
    ] = None,
    max_timesteps: Annotated[
        int | None, typer.Option(min=1, help="Upper limit of every T_l (default: as trained).")
    ] = None,
    optimize: Annotated[
        str | None,
        typer.Option(
            help="Search for a design that lowers one of: "
            + "; ".join(objective.description for objective in OBJECTIVES.values())
            + ".",
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Ticks between results that --optimize stalls is to reach by adding replicas, on as many "
            "chips as that needs (default: the fewest ticks that the chips in use allow).",
        ),
    ] = None,
    accuracy: AccuracyOption = None,
    accuracy_budget: Annotated[
        float,
        typer.Option(
            min=0, max=100, help="Percentage points of accuracy that --optimize may give up."
        ),
    ] = 0.0,
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_SHOWN, help="Samples in the pipeline run that the report shows."
        ),
    ] = 16,
    as_json: JsonOption = False,
) -> None:
    """Compile a trained network for a target, and report its accuracy, stalls, time and energy.

    The build folder holds the integer network, its mapping onto cores, Lava processes and a report.

    With --optimize, a search tries other buffer depths, replicas, tile sizes and core positions; with
    --accuracy-budget also shorter firing windows and other alignments. A table shows the effect of each step.

    Example: qac-deploy compile model.pt --target loihi-sim --optimize stalls
    """
    from deploy.build.load import load_report
    from deploy.compile.compile_model import compile_model
    from deploy.design.accuracy import load_accuracy
    from deploy.design.compilation import CompileOptions
    from deploy.report.terminal import print_summary
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    takes_interval = False
    if optimize is not None:
        takes_interval = OBJECTIVES[choice(optimize, OBJECTIVES, "--optimize")].takes_interval
    if interval is not None and (not takes_interval or replicate):
        objectives = " or ".join(name for name, o in OBJECTIVES.items() if o.takes_interval)
        raise typer.BadParameter(
            f"needs --optimize {objectives}, which chooses the replicas itself: leave out --replicate",
            param_hint="--interval",
        )
    options = CompileOptions(
        target=target,
        array=array,
        alignment=None
        if alignment is None
        else choice(alignment, ALIGNMENT_METHODS, "--alignment"),
        slots=slots,
        replicate=dict(map(_replicas, replicate or [])),
        weight_bits=weight_bits,
        thresholds=thresholds,
        max_timesteps=max_timesteps,
        optimize=optimize,
        interval=interval,
        accuracy_budget=accuracy_budget,
        data=data,
        samples=samples,
    )
    measure = None if accuracy is None else load_accuracy(accuracy)
    with status("compiling", hidden=as_json) as on_stage:
        compile_model(model, out, options, on_stage, measure)
    if as_json:
        print_json(load_report(out))
        return
    print_summary(load_report(out), console)
    console.print(f"\n{bold(out / 'report.html')} has the timeline and the source of every figure")
    print_next(f"simulate {out} --engine lava --samples 16")


def _replicas(text: str) -> tuple[str, int]:
    name, _, count = text.rpartition("=")
    if not name or not count.isdecimal():
        raise typer.BadParameter(
            f"must be NAME=COUNT, such as conv3=2, not '{text}'", param_hint="--replicate"
        )
    if len(count) > len(str(MOST_OF_A_RESOURCE)) or int(count) > MOST_OF_A_RESOURCE:
        raise typer.BadParameter(
            f"must be at most {MOST_OF_A_RESOURCE:,} replicas, not {count[:20]}",
            param_hint="--replicate",
        )
    return name, int(count)
