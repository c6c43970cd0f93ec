"""The tables on the pipeline, the cores and the estimates, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from deploy.report.markup import per_cent, shape_text
from deploy.report.records import (
    ComparisonRow,
    CostRecord,
    MappedPopulationRecord,
    PathRecord,
    PopulationRecord,
    Report,
    StageRecord,
)
from deploy.report.tables import (
    Activities,
    Column,
    Emphasis,
    Lines,
    Metered,
    Row,
    Table,
    Tag,
    names,
    numbers,
    sentences,
    tabulate,
)
from hw_models.core_limits import CORE_LIMITS

IN_SUMMARY = (
    "Design",
    "latency, µs",
    "between results, µs",
    "results/s",
    "energy/sample, nJ",
    "busy",
)
"""Columns of ``comparison_table`` that fit a narrow terminal."""

_REASON = {
    "first": "the run began",
    "frame": "the frame before arrived",
    "credit": "the slot was free again",
    "previous sample": "its sample before was done",
}


def comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    """The pipeline under each cost profile, and the array in each mode."""
    slowest = max((row["interval_us"] for row in rows), default=1)
    hungriest = max((row["energy_nj"] for row in rows), default=1)
    return tabulate(
        "estimates per sample",
        rows,
        names("Design", "design", lambda r: r["design"]),
        numbers("latency, µs", "latency us", lambda r: r["latency_us"]),
        numbers(
            "between results, µs",
            "every us",
            lambda r: Metered(r["interval_us"], r["interval_us"] / slowest),
        ),
        numbers("results/s", "per s", lambda r: f"{r['throughput_per_s']:,.0f}"),
        numbers(
            "energy/sample, nJ",
            "energy nJ",
            lambda r: Metered(r["energy_nj"], r["energy_nj"] / hungriest),
        ),
        numbers("busy", "busy", lambda r: per_cent(r["utilisation"])),
        numbers("stalled", "stalled", lambda r: per_cent(r["stalled"])),
        numbers(
            "off chip, kB",
            "off chip kB",
            lambda r: None if r["off_chip_bytes"] is None else r["off_chip_bytes"] / 1000,
        ),
    )


def designs_table(report: Report) -> Table:
    """The designs of a search, step by step."""
    title = f"what each step of the search for {report['options']['optimize']} brought"
    if report["costs"]:
        title += f"; us between results: {', '.join(report['costs'])}"
    return tabulate(
        title,
        report["design_points"],
        sentences("Step", "step", lambda p: p["change"]),
        numbers("mean T", "T", lambda p: f"{p['mean_timesteps']:.2f}"),
        numbers("ticks between results", "ticks", lambda p: p["interval_ticks"]),
        numbers("first result, ticks", "first", lambda p: p["first_latency_ticks"]),
        numbers("stalled", "stalled", lambda p: per_cent(p["stall_share"])),
        numbers("cores", "cores", lambda p: p["num_cores"]),
        numbers("chips", None, lambda p: p["num_chips"]),
        numbers("slots", "slots", lambda p: p["num_slots"]),
        numbers("hops", None, lambda p: p["traffic_hops"]),
        *_accuracy_column(report, "correct, %", lambda p: p["accuracy"]),
        numbers("µs between results", "us", lambda p: Lines(list(p["interval_us"].values()))),
        numbers(
            "nJ per sample",
            None,
            lambda p: Lines([f"{energy:,.0f}" for energy in p["energy_nj"].values()]),
        ),
        sentences("Verdict", "verdict", lambda p: p["verdict"]),
        emphasis=lambda p: Emphasis.STRONG if p["verdict"] == "kept" else Emphasis.FAINT,
    )


def changes_table(report: Report) -> Table:
    """Single changes that would shorten the interval."""
    return tabulate(
        "one change, and the ticks between results it would give",
        report["pipeline"]["changes"],
        names("One change", "change", lambda c: c["description"]),
        numbers("ticks between results", "ticks", lambda c: c["interval_ticks"]),
    )


class _Stage(NamedTuple):
    name: str
    record: StageRecord
    population: PopulationRecord


def stages_table(report: Report) -> Table:
    """Each stage: its cores and slots, its ticks in the run shown, its stalls in the steady state."""
    pipeline = report["pipeline"]
    ticks = pipeline["num_ticks"]
    stages = [
        _Stage(name, record, population)
        for population in report["populations"]
        for name, record in pipeline["stages"].items()
        if record["population"] == population["name"]
    ]

    def slots(population: PopulationRecord) -> str | None:
        incoming = [s for s in report["synapses"] if s["target"] == population["name"]]
        return "+".join(str(s["slots"] // population["replicas"]) for s in incoming) or None

    return tabulate(
        f"stages: the {ticks} ticks of the run shown, and the stalls of the steady state",
        stages,
        names("Stage", "stage", lambda s: s.name),
        numbers("shape", "shape", lambda s: shape_text(s.population["shape"])),
        numbers("T", "T", lambda s: s.population["timesteps"]),
        numbers(
            "cores",
            "cores",
            lambda s: s.population["cores"] // s.population["replicas"] or "host",
        ),
        numbers("slots", "slots", lambda s: slots(s.population)),
        names(
            f"{ticks} ticks of the run shown",
            f"{ticks} ticks",
            lambda s: Activities(s.record["activity"]),
        ),
        numbers("stalled in the steady state", "stalled", lambda s: _stalled(s.record)),
        names("Waits most for", "waits for", lambda s: _main_cause(s.record)),
    )


def _stalled(record: StageRecord) -> str:
    return per_cent(record["steady_shares"]["starved"] + record["steady_shares"]["blocked"])


def _main_cause(record: StageRecord) -> str:
    if not record["causes"]:
        return ""
    cause = record["causes"][0]
    source, target = cause["edge"]
    return f"spikes of {source}" if cause["activity"] == "starved" else f"a slot to {target}"


def causes_table(report: Report) -> Table:
    """Each stall of the run shown, and the edge it waits for."""
    stages = report["pipeline"]["stages"].items()
    return tabulate(
        "stalls of the run shown",
        [(name, cause) for name, record in stages for cause in record["causes"]],
        names("Stage", "stage", lambda s: s[0]),
        names("Stall", "stall", lambda s: s[1]["activity"]),
        numbers("ticks", "ticks", lambda s: s[1]["ticks"]),
        names("Edge", "edge", lambda s: " → ".join(s[1]["edge"])),
    )


def pace_table(cost: CostRecord) -> Table:
    """The populations whose cores set the length of a tick."""
    ticks_s = cost["interval_s"] * (1 - cost["barrier_share"])
    return tabulate(
        "populations that set the pace",
        sorted(cost["times"].items(), key=lambda item: -item[1]["pace_s"]),
        names("Population", "population", lambda t: t[0]),
        numbers(
            "share of the time in which it is the slowest",
            "slowest",
            lambda t: per_cent(t[1]["pace_s"] / ticks_s),
        ),
        numbers("its slowest core", "core", lambda t: str(t[1]["slowest_core"])),
        numbers("computing, µs", "computing us", lambda t: t[1]["computing_s"] * 1e6),
        numbers("waiting for a slower core, µs", "waiting us", lambda t: t[1]["imbalance_s"] * 1e6),
    )


def path_table(segments: Sequence[PathRecord]) -> Table:
    """The chain of firing windows that ends in the logits of a sample."""
    return tabulate(
        "critical path",
        segments,
        names("Population", "population", lambda s: s["population"]),
        numbers("sample", "sample", lambda s: s["sample"]),
        numbers("ticks", "ticks", lambda s: f"{s['start']} to {s['stop']}"),
        numbers("length", "length", lambda s: s["stop"] - s["start"]),
        names("Started when", "started when", lambda s: _REASON[s["reason"]]),
    )


def alignments_table(report: Report) -> Table:
    """The whole network under each temporal alignment."""
    return tabulate(
        "temporal alignments",
        report["alignment_trade"],
        names("Alignment", "alignment", lambda r: r["method"]),
        *_accuracy_column(report, "accuracy, %", lambda r: r["integer_accuracy"]),
        numbers("first result, ticks", "first", lambda r: r["first_latency_ticks"]),
        numbers("between results, ticks", "ticks", lambda r: r["interval_ticks"]),
    )


def _accuracy_column(
    report: Report, heading: str, accuracy: Callable[[Any], float | None]
) -> list[Column[Any]]:
    """The share of right classes, or what the user's function gives; no column if there is no accuracy."""
    fidelity = report["fidelity"]
    if fidelity is None or fidelity["integer_accuracy"] is None:
        return []
    function = fidelity["accuracy_function"]
    if function is None:
        return [numbers(heading, "correct", lambda r: _rounded(accuracy(r), 100, 2))]
    name = function.rpartition(":")[2]
    return [numbers(function, name, lambda r: _rounded(accuracy(r), 1, 4))]


def _rounded(value: float | None, factor: int, digits: int) -> str | None:
    return None if value is None else f"{factor * value:.{digits}f}"


def cores_table(report: Report) -> Table:
    """The most that a core of each population uses of each limit."""
    return tabulate(
        "cores, and the highest use of a core",
        report["mapping"]["populations"].items(),
        names("Population", "population", lambda p: p[0]),
        numbers("cores", "cores", lambda p: p[1]["cores"]),
        numbers("replicas", "replicas", lambda p: p[1]["replicas"]),
        *(
            numbers(limit.label, limit.label, partial(_use, limit.name))
            for limit in CORE_LIMITS.values()
            if limit.in_report
        ),
    )


def _use(limit: str, population: tuple[str, MappedPopulationRecord]) -> str:
    used, available = cast("dict[str, tuple[int, int]]", population[1])[limit]
    return f"{used:,} ({per_cent(used / available)})"


def sensitivity_table(report: Report) -> Table:
    """The estimates with one assumed figure halved or doubled."""
    table = tabulate(
        "if an assumed figure were wrong",
        report["sensitivity"],
        names("Figure", "figure", lambda r: r["figure"]),
        numbers("value", "value", lambda r: f"{r['value']:g} → {r['tried']:g}"),
        numbers(
            "cores",
            "cores",
            lambda r: "does not fit" if r["num_cores"] is None else r["num_cores"],
        ),
        numbers("ticks between results", "ticks", lambda r: r["interval_ticks"]),
        numbers("µs between results", "us", lambda r: Lines(list(r["interval_us"].values()))),
        numbers("nJ per sample", "nJ", lambda r: Lines(list(r["energy_nj"].values()))),
    )
    costs = report["costs"].values()
    compiled = [
        "as compiled", None, report["mapping"]["num_cores"], report["pipeline"]["interval_ticks"],
        Lines([cost["interval_s"] * 1e6 for cost in costs]),
        Lines([cost["energy_per_sample_j"] * 1e9 for cost in costs]),
    ]  # fmt: skip
    return replace(table, rows=[Row(compiled, Emphasis.STRONG), *table.rows])


def sources_table(report: Report) -> Table:
    """Every hardware figure with its kind and source."""
    return tabulate(
        "hardware figures and their sources",
        report["provenance"],
        names("Figure", "figure", lambda f: f["figure"]),
        numbers("value", "value", lambda f: f["value"]),
        names("Kind", "kind", lambda f: Tag(f["kind"])),
        sentences("Source", "source", lambda f: f["source"]),
    )
