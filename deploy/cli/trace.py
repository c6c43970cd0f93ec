"""``qac-deploy trace``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import (
    BuildArgument,
    JsonOption,
    LavaPythonOption,
    choice,
    console,
    status,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.design.limits import MOST_SHOWN
from deploy.report.terminal_text import escape

if TYPE_CHECKING:
    import numpy as np

    from deploy.build.load import Build
    from deploy.trace.conditions import Condition
    from deploy.trace.engines import EngineTrace
    from deploy.trace.run import TracedRun
    from deploy.trace.trace import Trace

_ENGINES = ("stepped", "lava", "rtl", "all")


def trace_command(
    build: BuildArgument,
    population: Annotated[
        str | None,
        typer.Option(help="Population to look into (default: that of the first --break)."),
    ] = None,
    neuron: Annotated[
        list[str] | None,
        typer.Option(
            help="Neurons: 0,2,5 are three indices, 3:4:5 is channel:row:column, 0..9 is a range (default: "
            "the three that spike most)."
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MOST_SHOWN - 1,
            help="Look into this sample alone (default: 0; all up to the stop with --break or --until).",
        ),
    ] = None,
    break_at: Annotated[
        list[str] | None,
        typer.Option(
            "--break",
            help="Stop when this happens: 'join fires', 'join[5] potential > 100', 'join blocked', "
            "'join starts sample 2'.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Stop at 'tick 40', or when the result of 'sample 3' is there."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(("stepped", "lava", "rtl", "all")),
            help="stepped; or also lava, rtl (the PE array's SystemVerilog), or all.",
        ),
    ] = "stepped",
    contributions: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Show the source neurons that add most to each input."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_SHOWN, help="Samples of the run (default: 16, or what --sample needs)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set (default: the one the build was measured on).",
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="Random pixels in place of test samples."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot to this file, .png or .svg.")
    ] = None,
    rtl_cycles: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most RTL cycles to simulate (default: about 20 s of simulation)."
        ),
    ] = None,
    lava_python: LavaPythonOption = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Step through single neurons: input, membrane potential, threshold and spike in every step.

    Each step adds the input of every source and the bias to the potential. What it reaches is compared with
    the threshold: at or above it the neuron spikes, and the threshold is subtracted. Ticks are those of a run
    in which all samples wait at tick 0, as in the report's timeline.

    With --engine, the same neurons are recorded in Lava and in the RTL, and printed next to the stepped
    engine. A difference is named, and the exit code is 1.

    With --break or --until the run stops at the first tick in which that is true, and the state of every
    population in that tick is printed: busy, or starved or blocked and by what.

    Example: qac-deploy trace build/ --sample 3 --population join --neuron 0,2,5 --plot trace.png
    """
    from deploy.build.load import load_build
    from deploy.report.array_plot import plot_kind
    from deploy.trace.conditions import population_of
    from deploy.trace.document import trace_document
    from deploy.trace.neurons import parse_neurons
    from deploy.trace.plot import MOST_PANELS, draw_trace
    from deploy.trace.run import traceable
    from deploy.trace.state import state_at
    from deploy.trace.stop import first_stop
    from deploy.trace.terminal import (
        RECENT_TICKS,
        print_shares,
        print_stop,
        print_trace,
        print_verdicts,
    )
    from deploy.trace.trace import trace_neurons
    from toolchain.files.whole_files import require_replaceable_file

    choice(engine, _ENGINES, "--engine")
    if plot is not None:
        if plot.suffix not in (".png", ".svg"):
            raise typer.BadParameter(f"must end in .png or .svg, not '{plot}'", param_hint="--plot")
        require_replaceable_file(plot, plot_kind(plot), remedy="choose another with --plot")
    loaded = load_build(build)
    network = loaded.network
    conditions = _conditions(loaded, break_at or [], until)
    if population is None:
        population = next((population_of(conditions[text]) for text in break_at or []), None)
    traced = traceable(network, population or "")
    named = None if neuron is None else parse_neurons(neuron, traced.name, traced.shape)
    run, labels, source, note = _run(loaded, data, random, sample, samples, stops=bool(conditions))
    with status("computing every step", hidden=as_json) as on_stage:
        stop = first_stop(run, conditions)
        trace = trace_neurons(run, traced.name, named, stop)
        engines = _other_engines(loaded, trace, engine, lava_python, rtl_cycles, on_stage)
    state = [] if stop is None else state_at(run.schedule, stop.tick, RECENT_TICKS)
    shares = []
    if contributions is not None and trace.samples:
        from deploy.trace.sources import source_shares

        shares = source_shares(trace, trace.samples[-1], contributions)
    if plot is not None:
        draw_trace(trace, engines, plot)
        if len(trace.neurons) > MOST_PANELS and trace.steps.threshold is not None and not as_json:
            console.print(f"{escape(str(plot))} shows the first {MOST_PANELS} of the neurons")
    if as_json:
        document = trace_document(trace, state, engines, shares, labels)
        print_json({"build": str(build), "data": source, "data_note": note, **document})
    else:
        if note is not None:
            console.print(f"[yellow]{escape(note)}[/yellow]")
        if conditions and stop is None:
            console.print(_never(conditions, run))
        else:
            print_trace(trace, console, title=f"{build}, {source}", labels=labels, engines=engines)
            if named is None and trace.samples and trace.steps.threshold is not None:
                is_met = stop is not None and trace.neurons == (stop.neuron,)
                why = "this one met the condition first" if is_met else "these neurons spike most"
                console.print(f"\nno --neuron was given: {why}")
        if shares:
            print_shares(trace, trace.samples[-1], shares, console)
        if engines:
            console.print()
            print_verdicts(engines, console)
        if stop is not None:
            print_stop(trace, state, console)
    if any(found.status == "different" for found in engines):
        raise typer.Exit(1)


def _conditions(build: Build, breaks: list[str], until: str | None) -> dict[str, Condition]:
    """The conditions at which the run stops, by their texts."""
    from deploy.trace.conditions import parse_break, parse_until

    conditions = {text: parse_break(text, build.network, build.pipeline) for text in breaks}
    if until is not None:
        conditions[until] = parse_until(until, build.pipeline.readout)
    return conditions


def _run(
    build: Build,
    data: str | None,
    random: int | None,
    sample: int | None,
    samples: int | None,
    *,
    stops: bool,
) -> tuple[TracedRun, np.ndarray | None, str, str | None]:
    """The run, the labels of its samples, where they are from, and a warning if the data set has changed."""
    import numpy as np

    from deploy.trace.run import SHOWN_SAMPLES, TracedRun, num_samples_around
    from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
    from sim.results import check_pixels
    from toolchain.errors import TraceError

    wanted = samples or SHOWN_SAMPLES
    if sample is not None:
        if samples is not None and sample >= samples:
            raise TraceError(
                f"--sample {sample}: a run of {samples} samples has 0 to {samples - 1}; raise --samples"
            )
        wanted = samples or max(wanted, num_samples_around(build.pipeline, sample))
    pixels, labels, source, note = _pixels(build, data, random, wanted)
    if max(sample or 0, (samples or 1) - 1) >= len(pixels):
        raise TraceError(
            f"{source}: there are {len(pixels)}, so --sample is 0 to {len(pixels) - 1} and --samples at most "
            f"{len(pixels)}"
        )
    looked_into = range(len(pixels)) if stops else range(1)
    run = TracedRun(
        network=build.network,
        pixels=np.asarray(check_pixels(build.network, pixels)),
        schedule=schedule_pipeline(build.pipeline, len(pixels)),
        samples=looked_into if sample is None else (sample,),
    )
    return run, labels, source, note


def _pixels(
    build: Build, data: str | None, random: int | None, wanted: int
) -> tuple[np.ndarray, np.ndarray | None, str, str | None]:
    """At most as many samples as are wanted: pixels, labels, where they are from, and a warning."""
    from deploy.design.random_pixels import random_pixels
    from toolchain.datasets import load_dataset, load_recorded
    from toolchain.errors import DataError

    if random is not None:
        if data is not None:
            raise typer.BadParameter("cannot be used with --data", param_hint="--random")
        pixels = random_pixels(build.network, wanted, random)
        return pixels, None, f"samples of random pixels, seed {random}", None
    if data is not None:
        dataset, changed = load_dataset(data), None
    else:
        try:
            dataset, changed = load_recorded(build.report, build.folder)
        except DataError as error:
            raise DataError(f"{error}, or take random pixels with --random 0") from error
    source = f"test samples of {dataset.name}"
    return dataset.test_pixels[:wanted], dataset.test_labels[:wanted], source, changed


def _other_engines(
    build: Build,
    trace: Trace,
    engine: str,
    lava_python: Path | None,
    rtl_cycles: int | None,
    on_stage: Callable[[str], None],
) -> list[EngineTrace]:
    """The traced neurons in the engines that were asked for, next to the stepped engine."""
    from deploy.backends.lava.environment import find_lava_python
    from deploy.trace.engines import trace_in_lava, trace_in_rtl
    from hw_models.pe_array.rtl.driver.simulator import RTL_CYCLES, preferred_simulator

    found = []
    if engine in ("lava", "all"):
        on_stage("running in Lava")
        found.append(trace_in_lava(build, trace, lambda: find_lava_python(lava_python)))
    if engine in ("rtl", "all"):
        found.append(
            trace_in_rtl(
                build.array,
                trace,
                preferred_simulator,
                cycle_limit=lambda simulator: rtl_cycles or RTL_CYCLES[simulator],
                on_stage=on_stage,
            )
        )
    return found


def _never(conditions: Mapping[str, Condition], run: TracedRun) -> str:
    where = f"the {run.schedule.num_samples} samples of the run"
    if len(run.samples) < run.schedule.num_samples:
        where = f"sample {run.samples[0]}"
    texts = " or ".join(f"'{escape(text)}'" for text in conditions)
    ticks = f"{run.schedule.num_ticks} ticks"
    return f"{texts} never happens in {where} ({ticks}); --samples makes the run longer"
