"""``qac-deploy explore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy.cli import completion
from deploy.cli.console import (
    AccuracyOption,
    JsonOption,
    ModelArgument,
    ResumeOption,
    bold,
    console,
    progress_bar,
    resumable,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape
from toolchain.shell_words import shell_command

if TYPE_CHECKING:
    from deploy.explore.array_shapes import ArrayExplorationRecord
    from deploy.explore.records import DesignRecord, ExplorationRecord, MeasureRecord
    from deploy.explore.space import Vary
    from deploy.report.tables import Column

MOST_DESIGNS = 1_000_000
VARIED = ("weight-bits", "timesteps", "alignment", "slots", "edge-slots", "replicas")
"""The values of ``deploy.explore.space.Vary``, which is too heavy to import for the help."""

_ROWS = 12


def explore_command(
    model: ModelArgument,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--targets",
            metavar="NAME[,NAME...]",
            help="Target chips, built-in names or YAML files; the first is the default (default: loihi-sim).",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT[=VALUE,...]",
            autocompletion=completion.one_of(VARIED),
            help="What to vary, and with which values besides the default, such as slots or weight-bits=4,2. "
            f"One of {', '.join(VARIED)}. May be given several times (default: all of them).",
        ),
    ] = None,
    budget: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_DESIGNS,
            help="Most designs to try. A space with no more combinations is tried whole, a larger one is "
            "sampled.",
        ),
    ] = 1_000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the sampler.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder for the result; an earlier exploration there is replaced.")
    ] = Path("explore"),
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set to measure on (default: the one the network was trained on).",
        ),
    ] = None,
    accuracy: AccuracyOption = None,
    accuracy_budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Percentage points of accuracy that a design on the front may lose against the default "
            "(default: any).",
        ),
    ] = None,
    array: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.array,
            help="PE array, a built-in name or a YAML file: also try all of its unrollings, for the networks "
            "of the best designs.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_024,
            help="Processes on this machine; above 1 they are run by Dask (default: one per core, if Dask is "
            "installed).",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, to compute on its workers."),
    ] = None,
    resume: ResumeOption = False,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explore the designs of a network: the Pareto front of accuracy, latency, throughput, energy and cores.

    A design differs from the one that compile makes by default in its target, weight bits, firing windows T,
    alignments, buffer slots or replicas. Every design is built and measured as compile does it, and has a
    command that compiles it. A search sees the last training images; the best designs are measured on test
    images at the end.

    The result is the same for any number of workers. Measured designs are kept next to the folder until the
    end, so that --resume can continue an interrupted run, also with another --budget, --vary or --seed.

    Example: qac-deploy explore model.pt --targets loihi-sim,loihi2-sim --budget 1000
    """
    from deploy.explore.explore_model import ExploreOptions, explore_model

    varied = _varied(vary or list(VARIED))
    chosen = list(dict.fromkeys(n for text in targets or ["loihi-sim"] for n in text.split(",")))
    options = ExploreOptions(
        targets=chosen,
        vary=varied,
        budget=budget,
        seed=seed,
        data=data,
        accuracy=accuracy,
        accuracy_budget=accuracy_budget,
        array=array,
        workers=workers,
        scheduler=scheduler,
    )
    with progress_bar(hidden=as_json) as progress, resumable(progress):
        task = progress.add_task("exploring", total=None, note="")
        record = explore_model(
            model,
            out,
            options,
            resume=resume,
            on_stage=lambda stage: progress.update(task, description=stage),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(record)
        return
    print_exploration(record, out, console)


def _varied(given: list[str]) -> dict[Vary, list[int | str] | None]:
    from deploy.explore.space import Vary

    varied: dict[Vary, list[int | str] | None] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if name not in VARIED:
            raise typer.BadParameter(
                f"must be one of {', '.join(VARIED)}, perhaps with =VALUE,..., not '{text}'",
                param_hint="--vary",
            )
        if Vary(name) in varied:
            raise typer.BadParameter(f"names {name} twice", param_hint="--vary")
        parts = [part.strip() for part in values.split(",")]
        if equals and not all(parts):
            raise typer.BadParameter(f"must be {name}=VALUE,..., not '{text}'", param_hint="--vary")
        found = [int(p) if p.isascii() and p.isdecimal() and len(p) < 10 else p for p in parts]
        varied[Vary(name)] = found if equals else None
    return varied


def print_exploration(record: ExplorationRecord, out: Path, console: Console) -> None:
    """The front as a table, and the commands of the designs that are best in something."""
    from deploy.explore.outputs import DESIGNS_CSV, FRONT_CSV, PAGE
    from deploy.explore.records import front_of

    designs, front, own = record["designs"], front_of(record), record["accuracy_function"]
    refused = sum(design["refused"] is not None for design in designs)
    tried = f"all {len(designs):,} designs"
    if not record["tried_all"]:
        tried = f"{len(designs):,} of {record['space_size']:,} combinations"
    console.print(
        f"{bold(record['model'])} on {escape(', '.join(record['targets']))}: {tried} tried"
    )
    if record["data"] is not None:
        console.print(
            f"accuracy on the last {record['tuning_samples']:,} training images of "
            f"{escape(record['data'])}; times and energies are estimates, mean over cost profiles"
        )
    if record["data_note"]:
        console.print(f"[yellow]{escape(record['data_note'])}[/yellow]")
    if refused:
        reason = next(d["refused"] for d in designs if d["refused"] is not None)
        console.print(f"{refused:,} designs cannot be built, such as: {escape(reason)}")
    if not front:
        console.print("[yellow]no design can be built[/yellow]")
        return
    console.print()
    _print_table(record, front, console)
    rest = len(front) - _ROWS
    more = f", {rest:,} more are in {escape(str(out / FRONT_CSV))}" if rest > 0 else ""
    console.print(f"{len(front):,} designs are on the Pareto front{more}\n")
    for design in front:
        if design["mark"]:
            change = escape(f"{design['number']}: {design['change']}")
            test = design["test_accuracy"]
            shown = "" if test is None else f"{test:.2%}" if own is None else f"{test:.4f}"
            on_test = f"; {shown} on test images" if shown else ""
            console.print(f"[bold]{escape(design['mark'])}[/bold], design {change}{on_test}")
            console.print(f"  {escape(design['command'])}", soft_wrap=True)
    if record["array"] is not None:
        _print_array(record["array"], out, console)
    console.print(
        f"\n{bold(out / PAGE)} plots all designs; {escape(str(out / DESIGNS_CSV))} lists them"
    )
    page = shell_command(out / PAGE)
    console.print(f"next: open {escape(page)} in a browser, and compile a design by its command")


def _print_array(array: ArrayExplorationRecord, out: Path, console: Console) -> None:
    """The fastest shape of the array, and that with the least energy."""
    from deploy.explore.outputs import ARRAY_CSV

    front = [design for design in array["designs"] if design["on_front"]]
    console.print(
        f"\n{len(array['designs']):,} designs on {escape(array['array'])}, {array['elements']:,} elements "
        f"unrolled M x N x S x V: {len(front):,} on the Pareto front, in {escape(str(out / ARRAY_CSV))}"
    )
    for title, key in (("fastest", "array_us"), ("least energy", "array_nj")):
        if front:
            best = min(front, key=lambda design: design["measures"][key] or 0.0)
            shape = " x ".join(map(str, best["unrolling"]))
            console.print(
                f"[bold]{title}[/bold]: {shape}, {best['mode']}, network of design {best['design']}: "
                f"{best['measures']['array_us']:.3f} us, {best['measures']['array_nj']:,.0f} nJ per sample"
            )
            console.print(f"  {escape(best['command'])}", soft_wrap=True)


def _print_table(record: ExplorationRecord, front: list[DesignRecord], console: Console) -> None:
    from deploy.explore.page import shown
    from deploy.report.tables import numbers, print_table, sentences, tabulate

    default = record["designs"][0]
    rows = front[:_ROWS]
    if default not in rows and default["measures"] is not None:
        rows = [default, *rows]

    def measured(measure: MeasureRecord) -> Column[DesignRecord]:
        return numbers(measure["title"], measure["title"], lambda design: shown(measure, design))

    def name(design: DesignRecord) -> str:
        return design["mark"] or ("the default" if design is default else "")

    table = tabulate(
        "",
        rows,
        numbers("design", "design", lambda design: str(design["number"])),
        *map(measured, record["compared_by"]),
        sentences("best in", "best in", name),
    )
    print_table(table, console)
