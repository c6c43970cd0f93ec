"""``qac-deploy compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import JsonOption, console, print_json, say, show_stage
from deploy.optimize.objectives import OBJECTIVES


def compile_command(
    model: Annotated[Path, typer.Argument(help="Model file, as `qac-deploy train` writes it.")],
    target: Annotated[
        str, typer.Option(help="Built-in target, or the path of a YAML file.")
    ] = "loihi-sim",
    array: Annotated[
        str, typer.Option(help="PE array to compare with: a name or a YAML file.")
    ] = "pe-array",
    out: Annotated[
        Path, typer.Option(help="Build folder; an earlier build there is replaced.")
    ] = Path("build"),
    alignment: Annotated[
        str | None,
        typer.Option(
            help="Temporal alignment: average, replicate or truncate (default: the model's own)."
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1, help="Slots of each alignment buffer, for each replica (default: the target's)."
        ),
    ] = None,
    replicate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT",
            help="Replicas of a population, which take samples in turn, such as conv3=2; repeatable.",
        ),
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(min=2, max=8, help="Synaptic weight bits (default: the target's).")
    ] = None,
    thresholds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Different thresholds a population may have (default: the target's)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set to measure on (default: the one it was trained on)."),
    ] = None,
    max_timesteps: Annotated[
        int | None, typer.Option(min=1, help="Cap on every T_l (default: as trained).")
    ] = None,
    optimize: Annotated[
        str | None,
        typer.Option(
            help="Search a design that is lower in one of: "
            + "; ".join(objective.description for objective in OBJECTIVES.values())
            + ".",
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Ticks between results that --optimize stalls aims for, with replicas on as many chips "
            "as they need (default: as few as the chips in use allow).",
        ),
    ] = None,
    accuracy_budget: Annotated[
        float, typer.Option(min=0, help="Points of accuracy that --optimize may give up.")
    ] = 0.0,
    samples: Annotated[int, typer.Option(min=1, help="Samples in the reported pipeline run.")] = 16,
    as_json: JsonOption = False,
) -> None:
    """Compile a trained network for a target: integers, cores, buffers, stalls, Lava processes.

    With --optimize, a search tries other buffer depths, replicas, finer tiles and places of cores; with
    --accuracy-budget also shorter windows and other alignments. A table says what each step bought.

    Example: [bold]qac-deploy compile model.pt --target loihi-sim --optimize stalls[/bold]
    """
    from deploy.build.load import load_report
    from deploy.compile.compile_model import compile_model
    from deploy.design.compilation import CompileOptions
    from deploy.report.terminal import print_summary
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    if alignment is not None and alignment not in ALIGNMENT_METHODS:
        raise typer.BadParameter(
            f"must be one of {', '.join(ALIGNMENT_METHODS)}, not '{alignment}'",
            param_hint="--alignment",
        )
    if optimize is not None and optimize not in OBJECTIVES:
        raise typer.BadParameter(
            f"must be one of {', '.join(OBJECTIVES)}, not '{optimize}'",
            param_hint="--optimize",
        )
    takes_interval = optimize is not None and OBJECTIVES[optimize].takes_interval
    if interval is not None and (not takes_interval or replicate):
        objectives = " or ".join(name for name, o in OBJECTIVES.items() if o.takes_interval)
        raise typer.BadParameter(
            f"is for --optimize {objectives}, which then chooses the replicas itself",
            param_hint="--interval",
        )
    options = CompileOptions(
        target=target,
        array=array,
        alignment=alignment,
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
    if as_json:
        compile_model(model, out, options)
        print_json(load_report(out))
        return
    with console.status("compiling") as status:
        compile_model(model, out, options, show_stage(status))
    print_summary(load_report(out), console)
    say(
        "\n[bold]{page}[/bold] has the timeline and every figure's source",
        page=out / "report.html",
    )
    say("next: [bold]qac-deploy simulate {out} --engine lava --samples 16[/bold]", out=out)


def _replicas(text: str) -> tuple[str, int]:
    name, _, count = text.rpartition("=")
    if not name or not count.isdecimal():
        raise typer.BadParameter(
            f"must be NAME=COUNT, such as conv3=2, not '{text}'", param_hint="--replicate"
        )
    return name, int(count)
