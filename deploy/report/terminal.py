"""The report in a terminal: one readable summary."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.report.array_findings import refusal_line
from deploy.report.records import CauseRecord, CostRecord, MappingRecord, Report
from deploy.report.tables import IN_SUMMARY, comparison_table
from hw_models.multicore.cost.tick_cost import TIMES
from hw_models.multicore.pipeline.pipeline_ticks import Activity

_BAR: dict[Activity, tuple[str, str]] = {
    "busy": ("#", "green"),
    "starved": ("s", "yellow"),
    "blocked": ("b", "red"),
    "drained": (".", "dim"),
}
_BAR_WIDTH = 20


def print_summary(report: Report, console: Console) -> None:
    """Populations with T_l, cores and stalls, then the interval and what would change it."""
    pipeline = report["pipeline"]
    console.print(
        f"[bold]{escape(report['model']['file'])}[/bold] on [bold]{escape(report['target']['name'])}[/bold]: "
        f"mean T {report['mean_timesteps']:.2f}, {_cores(report['mapping'])}"
    )
    if fidelity := report["fidelity"]:
        drop = 100 * (fidelity["float_accuracy"] - fidelity["integer_accuracy"])
        console.print(
            f"accuracy on {fidelity['samples']} test samples of {escape(report['data'] or '')}: "
            f"float {fidelity['float_accuracy']:.2%}, integer {fidelity['integer_accuracy']:.2%} "
            f"(drop {drop:.2f} points; same class on {fidelity['same_argmax']})"
        )
    if note := report["data_note"]:
        console.print(f"[yellow]{escape(note)}[/yellow]")
    console.print(_populations(report))
    legend = ", ".join(
        f"[{colour}]{mark}[/{colour}] {name}" for name, (mark, colour) in _BAR.items()
    )
    console.print(
        f"run of {pipeline['samples']} in {pipeline['num_ticks']} ticks: {legend}; stalled: part of the "
        f"steady state"
    )
    console.print(
        f"\nfirst result after [bold]{pipeline['first_latency_ticks']}[/bold] ticks, then one every "
        f"[bold]{pipeline['interval_exact']}[/bold] ticks (longest firing window: "
        f"{pipeline['ideal_interval_ticks']:g})"
    )
    console.print(f"limit: {escape(pipeline['explanation'])}")
    for change in pipeline["changes"][:4]:
        console.print(
            f"  {escape(change['description'])}: one every {change['interval_ticks']:g} ticks"
        )
    console.print(
        f"in the steady state a stage stalls {pipeline['stall_share']:.0%} of the time; no buffer "
        f"brings these windows below {pipeline['least_stall_share']:.0%}"
    )
    for profile, cost in report["costs"].items():
        console.print(_pace(profile, cost))
        without = report["asynchronous"][profile]["interval_s"]
        console.print(
            f"  without a barrier, each core in step with its neighbours only, a result every "
            f"{without * 1e6:,.1f} us in place of {cost['interval_s'] * 1e6:,.1f}"
        )
    if report["design_points"]:
        console.print()
        console.print(_designs(report))
    print_comparison(report, console)


def _pace(profile: str, cost: CostRecord) -> str:
    """What the cores' time goes into, and the population whose cores are slowest most of the time."""
    times = cost["times"]
    slowest = max(times, key=lambda name: times[name]["pace_s"])
    cores = cost["core_times"]
    computing, imbalance, mesh = (
        sum(c[TIMES.index(kind)] for c in cores) / len(cores)
        for kind in ("computing", "imbalance", "mesh")
    )
    pace = times[slowest]["pace_s"] / (cost["interval_s"] * (1 - cost["barrier_share"]))
    return (
        f"time ({profile}): a core computes {computing / cost['interval_s']:.0%}, waits "
        f"{imbalance / cost['interval_s']:.0%} for slower cores while it fires and "
        f"{mesh / cost['interval_s']:.0%} for spikes in the mesh, barriers take "
        f"{cost['barrier_share']:.0%}; {escape(slowest)} sets the pace {pace:.0%} of the time"
    )


def _designs(report: Report) -> Table:
    """What each step of --optimize bought."""
    title = f"what each step of the search for {report['options']['optimize']} bought"
    if profiles := report["design_points"][0]["interval_us"]:
        title += f"; us between results: {', '.join(profiles)}"
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("step", min_width=20)
    for column in ("T", "ticks", "us", "first", "stalled", "cores", "slots", "correct"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for point in report["design_points"]:
        accuracy = point["accuracy"]
        table.add_row(
            escape(point["change"]),
            f"{point['mean_timesteps']:.2f}",
            f"{point['interval_ticks']:g}",
            "\n".join(f"{us:,.1f}" for us in point["interval_us"].values()) or "-",
            str(point["first_latency_ticks"]),
            f"{point['stall_share']:.0%}",
            f"{point['num_cores']:,}",
            str(point["num_slots"]),
            "-" if accuracy is None else f"{accuracy:.2%}",
            escape(point["verdict"]),
            style="bold" if point["verdict"] == "kept" else "dim",
        )
    return table


def print_comparison(report: Report, console: Console) -> None:
    """Pipeline against PE array, in seconds and joules; estimates, unlike the ticks above."""
    console.print()
    if refusal := refusal_line(report["pe_array"]):
        console.print(f"[yellow]{escape(refusal)}[/yellow]")
    if not report["comparison"]:
        return
    console.print(comparison_table(report["comparison"]).only(*IN_SUMMARY).for_terminal())
    console.print(
        "[dim]estimates, from coefficients of different processes and scopes: their sources are in the "
        "report[/dim]"
    )


def _populations(report: Report) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("population", no_wrap=True)
    for column in ("shape", "T", "cores", "slots"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"{report['pipeline']['num_ticks']} ticks", no_wrap=True)
    table.add_column("stalled", justify="right", no_wrap=True)
    table.add_column("waits for", no_wrap=True)
    for population in report["populations"]:
        name, replicas = population["name"], population["replicas"]
        depths = [s["slots"] // replicas for s in report["synapses"] if s["target"] == name]
        stages = {n: s for n, s in report["pipeline"]["stages"].items() if s["population"] == name}
        where = str(population["cores"] // replicas or "host")
        for stage, record in stages.items():
            steady = record["steady_shares"]
            table.add_row(
                escape(stage),
                "x".join(map(str, population["shape"])),
                str(population["timesteps"]),
                where,
                "+".join(map(str, depths)) or "-",
                _bar(record["activity"]),
                f"{steady['starved'] + steady['blocked']:.0%}",
                escape(_main_cause(record["causes"])),
            )
    return table


def _bar(activity: Mapping[Activity, int]) -> str:
    """A stacked bar; rounding by running totals keeps its width exact."""
    total, seen, drawn, bar = sum(activity.values()), 0, 0, ""
    for name, (mark, colour) in _BAR.items():
        seen += activity[name]
        width = round(seen / total * _BAR_WIDTH) - drawn
        drawn += width
        bar += f"[{colour}]{mark * width}[/{colour}]" if width else ""
    return bar


def _main_cause(causes: list[CauseRecord]) -> str:
    if not causes:
        return ""
    cause = causes[0]
    source, target = cause["edge"]
    return f"spikes of {source}" if cause["activity"] == "starved" else f"a slot to {target}"


def _cores(mapping: MappingRecord) -> str:
    chips = mapping["num_chips"]
    return f"{mapping['num_cores']:,} cores" + (f" on {chips} chips" if chips > 1 else "")
