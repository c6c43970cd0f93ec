"""``qac-deploy cross-check``."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploy.cli.console import JsonOption, console, print_json, show_stage

if TYPE_CHECKING:
    from deploy.check.cross_check import CrossCheck, Quantity


def cross_check_command(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    samples: Annotated[int, typer.Option(min=1, help="Test samples in the pipeline.")] = 4,
    as_json: JsonOption = False,
) -> None:
    """Run the mapped network in SANA-FE, a simulator of others, and hold every number against it.

    SANA-FE is given the mapping and the pixels alone. Its spikes and logits must be equal in every tick;
    its event counts and energies must be ours, but for differences that are named and recounted; seconds
    and joules must agree within its own error against a Loihi board. Exit code 1 where one does not.

    Needs the package sanafe: pip install 'qac-deploy[sanafe]'.

    Example: [bold]qac-deploy cross-check build/ --samples 4[/bold]
    """
    from deploy.build.load import load_build
    from deploy.check.cross_check import ENERGY_TOLERANCE, TIME_TOLERANCE, cross_check
    from deploy.check.judged_build import judge

    with console.status("reading the build") as status:
        if as_json:
            status.stop()
        check = cross_check(judge(load_build(build), samples), show_stage(status))
    if as_json:
        print_json(
            {
                **asdict(check),
                "time_error": check.time_error,
                "time_tolerance": TIME_TOLERANCE,
                "energy_error": check.energy_error,
                "energy_tolerance": ENERGY_TOLERANCE,
                "disagreements": check.disagreements,
            }
        )
    else:
        _print(check)
    if check.disagreements:
        raise typer.Exit(1)


def _print(check: CrossCheck) -> None:
    from deploy.check.cross_check import ENERGY_TOLERANCE, TIME_TOLERANCE

    console.print(
        f"SANA-FE {version('sanafe')}, its Loihi: {check.samples} samples in {check.num_ticks} ticks; "
        f"{check.copies} copies of each neuron for the samples in flight"
    )
    if check.spike_difference is None:
        console.print(
            f"[green]equal[/green]   {check.num_spikes:,} spikes of every neuron in every tick, all logits"
        )
    if not check.disagreements:
        console.print(
            "[green]agrees[/green]  all else, but for the differences named, to the last digit"
        )
    for difference in check.disagreements:
        console.print(f"[red]DIFFERENT[/red]  {escape(difference)}")
    console.print(_quantities("\nevents of the run", check.events, 1, "{:,.0f}"))
    energy = [quantity for quantity in check.energy if quantity.ours or quantity.theirs]
    console.print(_quantities("\nenergy, nJ a sample", energy, 1e9 / check.samples, "{:,.1f}"))
    console.print(_times(check))
    low, high = check.tick_errors
    console.print(
        f"\nour time {check.time_error:+.1%} of SANA-FE's detailed timing (tolerance "
        f"{TIME_TOLERANCE:.1%}; single ticks {low:+.0%} to {high:+.0%}), our energy "
        f"{check.energy_error:+.1%} (tolerance {ENERGY_TOLERANCE:.1%})"
    )


def _quantities(title: str, quantities: list[Quantity], scale: float, shown: str) -> Table:
    table = _table(title, "", "here", "SANA-FE", "")
    table.add_column("why")
    for quantity in quantities:
        more = f"{quantity.theirs / quantity.ours - 1:+.1%}" if quantity.ours else "more"
        table.add_row(
            quantity.name,
            shown.format(quantity.ours * scale),
            shown.format(quantity.theirs * scale),
            more if quantity.reason else "",
            quantity.reason,
        )
    return table


def _times(check: CrossCheck) -> Table:
    table = _table("\ntime of the run, us", "", "")
    totals = {name: f"{sum(ticks):,.1f}" for name, ticks in check.tick_us.items()}
    *to_simple, to_detailed = check.time_steps
    table.add_row("here", totals["ours"])
    for step in to_simple:
        table.add_row(f"  {step.reason}", f"{step.difference_us:+,.1f}")
    table.add_row("SANA-FE, simple timing", totals["simple"])
    table.add_row(f"  {to_detailed.reason}", f"{to_detailed.difference_us:+,.1f}")
    table.add_row("SANA-FE, detailed timing", totals["detailed"])
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table
