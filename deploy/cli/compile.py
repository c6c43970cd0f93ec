"""``qac-deploy compile``."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import (
    AccuracyOption,
    JsonOption,
    ModelArgument,
    bold,
    choice,
    console,
    print_next,
    status,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.design.limits import MOST_OF_A_RESOURCE, MOST_SHOWN
from deploy.design.lowerings import IMAGES, LOWERINGS
from deploy.optimize.objectives import OBJECTIVES


def compile_command(
    model: ModelArgument,
    target: Annotated[
        str,
        typer.Option(
            autocompletion=completion.target, help="Target chip: a built-in name or a YAML file."
        ),
    ] = "loihi-sim",
    array: Annotated[
        str,
        typer.Option(
            autocompletion=completion.array,
            help="PE array to compare with: a built-in name or a YAML file.",
        ),
    ] = "pe-array",
    unrolling: Annotated[
        str | None,
        typer.Option(
            metavar="M,N,S,V",
            help="Unroll the array over M output channels, N columns, S timesteps and V input channels, such "
            "as 16,4,2,8, with ports as wide as that needs (default: the array's own).",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Build folder; an earlier build there is replaced.")
    ] = Path("build"),
    alignment: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.alignment,
            help="Temporal alignment: average, replicate or truncate (default: the model's own); exact max "
            "pooling needs average.",
        ),
    ] = None,
    align: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=METHOD",
            help="Temporal alignment of the edges into one spiking population, such as join=truncate. May be "
            "given several times.",
        ),
    ] = None,
    slots: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COUNT|SOURCE->TARGET=COUNT",
            help="Slots of each alignment buffer, per replica, such as 3, or of one of them, such as "
            "'stem->join=3' (default: the target's). May be given several times.",
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
    lowering: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(LOWERINGS),
            help="How integers are chosen: images fits weights and biases to training images, plain rounds "
            "each weight to nearest.",
        ),
    ] = IMAGES,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set to measure on (default: the one the network was trained on).",
        ),
    ] = None,
    max_timesteps: Annotated[
        int | None, typer.Option(min=1, help="Upper limit of every T_l (default: as trained).")
    ] = None,
    timesteps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T|NAME=T",
            help="T of every spiking population, such as 3, or of one of them, such as join=2 (default: as "
            "trained). May be given several times.",
        ),
    ] = None,
    tile_work: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=EVENTS",
            help="Most events per timestep of a core of one population, such as wide=1204; less work "
            "per core takes more cores. May be given several times.",
        ),
    ] = None,
    exchange_cores: Annotated[
        bool,
        typer.Option("--exchange-cores", help="Exchange cores, so that spikes take fewer hops."),
    ] = False,
    optimize: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of(OBJECTIVES),
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
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a trained network for a target, and report its accuracy, stalls, time and energy.

    The build folder holds the integer network, its mapping onto cores, Lava processes and a report.

    With --optimize, a search tries other buffer depths, replicas, tile sizes and core positions; with
    --accuracy-budget also shorter firing windows and other alignments. A table shows the effect of each step.

    Example: qac-deploy compile model.pt --target loihi-sim --optimize stalls
    """
    from deploy.compile.refusal import compile_or_explain
    from deploy.design.accuracy import load_accuracy
    from deploy.design.compilation import CompileOptions
    from deploy.report.terminal import print_summary
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    every_slots, slots_of = _counts(slots, "--slots", "slots")
    every_timesteps, timesteps_of = _counts(timesteps, "--timesteps", "timesteps")
    options = CompileOptions(
        target=target,
        array=array,
        unrolling=None if unrolling is None else _unrolling(unrolling),
        alignment=None
        if alignment is None
        else choice(alignment, ALIGNMENT_METHODS, "--alignment"),
        alignments={
            name: choice(method, ALIGNMENT_METHODS, "--align")
            for name, method in _named(align, "--align", "NAME=METHOD, such as join=truncate")
        },
        slots=every_slots,
        slots_of=slots_of,
        replicate=_counts_of(replicate, "--replicate", "NAME=COUNT, such as conv3=2", "replicas"),
        tile_work=_counts_of(tile_work, "--tile-work", "NAME=EVENTS, such as wide=1204", "events"),
        exchange_cores=exchange_cores,
        weight_bits=weight_bits,
        thresholds=thresholds,
        lowering=choice(lowering, LOWERINGS, "--lowering"),
        max_timesteps=max_timesteps,
        uniform_timesteps=every_timesteps,
        timesteps=timesteps_of,
        optimize=optimize,
        interval=interval,
        accuracy_budget=accuracy_budget,
        data=data,
        samples=samples,
    )
    measure = None if accuracy is None else load_accuracy(accuracy)
    with status("compiling", hidden=as_json) as on_stage:
        report = compile_or_explain(model, out, options, on_stage, measure)
    if as_json:
        print_json(report)
        return
    print_summary(report, console)
    console.print(f"\n{bold(out / 'report.html')} has the timeline and the source of every figure")
    print_next("simulate", out, "--engine", "lava", "--samples", 16)


def _unrolling(text: str) -> list[int]:
    """M, N, S and V."""
    sizes = [part.strip() for part in text.split(",")]
    if len(sizes) != 4 or not all(s.isascii() and s.isdecimal() and int(s[:9]) for s in sizes):
        raise typer.BadParameter(
            f"must be four whole numbers M,N,S,V of at least 1, such as 16,4,2,8, not '{text}'",
            param_hint="--unrolling",
        )
    if max(map(len, sizes)) > 6 or prod(map(int, sizes)) > MOST_OF_A_RESOURCE:
        raise typer.BadParameter(
            f"must be at most {MOST_OF_A_RESOURCE:,} elements, not '{text[:40]}'",
            param_hint="--unrolling",
        )
    return [int(size) for size in sizes]


def _counts(
    values: list[str] | None, option: str, counted: str
) -> tuple[int | None, dict[str, int]]:
    """The number for all, if one is given, and those for single names."""
    numbers = [text for text in values or [] if "=" not in text]
    if len(numbers) > 1:
        raise typer.BadParameter(
            f"is given twice for all, {numbers[0]} and {numbers[1]}", param_hint=option
        )
    form = "COUNT or NAME=COUNT"
    named = _counts_of([t for t in values or [] if "=" in t], option, form, counted)
    every = _count(numbers[0], numbers[0], option, form, counted) if numbers else None
    return every, named


def _counts_of(values: list[str] | None, option: str, form: str, counted: str) -> dict[str, int]:
    return {
        name: _count(text, f"{name}={text}", option, form, counted)
        for name, text in _named(values, option, form)
    }


def _named(values: list[str] | None, option: str, form: str) -> list[tuple[str, str]]:
    """Pairs of a name and what is chosen for it; a name may contain '='."""
    pairs: list[tuple[str, str]] = []
    for text in values or []:
        name, _, chosen = text.rpartition("=")
        if not name or not chosen:
            raise typer.BadParameter(f"must be {form}, not '{text}'", param_hint=option)
        if name in dict(pairs):
            raise typer.BadParameter(f"names '{name}' twice", param_hint=option)
        pairs.append((name, chosen))
    return pairs


def _count(text: str, given: str, option: str, form: str, counted: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise typer.BadParameter(f"must be {form}, not '{given}'", param_hint=option)
    if len(text) > len(str(MOST_OF_A_RESOURCE)) or int(text) > MOST_OF_A_RESOURCE:
        raise typer.BadParameter(
            f"must be at most {MOST_OF_A_RESOURCE:,} {counted}, not {text[:20]}", param_hint=option
        )
    if int(text) < 1:
        raise typer.BadParameter(f"must be at least 1, not '{given}'", param_hint=option)
    return int(text)
