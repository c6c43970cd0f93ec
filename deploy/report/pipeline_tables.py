"""The tables on the pipeline, the cores and the estimates, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from deploy.report.markup import per_cent, shape_text
from deploy.report.records import (
    CauseRecord,
    ComparisonRow,
    CostRecord,
    PathRecord,
    Report,
    SensitivityRecord,
)
from deploy.report.tables import (
    Activities,
    Emphasis,
    Lines,
    Metered,
    Row,
    Table,
    Tag,
    names,
    numbers,
    sentences,
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
    return Table(
        title="estimates per sample",
        columns=[
            names("Design", "design"),
            numbers("latency, µs", "latency us"),
            numbers("between results, µs", "every us"),
            numbers("results/s", "per s"),
            numbers("energy/sample, nJ", "energy nJ"),
            numbers("busy", "busy"),
            numbers("stalled", "stalled"),
            numbers("off chip, kB", "off chip kB"),
        ],
        rows=[
            Row(
                [
                    row["design"],
                    row["latency_us"],
                    Metered(row["interval_us"], row["interval_us"] / slowest),
                    f"{row['throughput_per_s']:,.0f}",
                    Metered(row["energy_nj"], row["energy_nj"] / hungriest),
                    per_cent(row["utilisation"]),
                    per_cent(row["stalled"]),
                    None if row["off_chip_bytes"] is None else row["off_chip_bytes"] / 1000,
                ]
            )
            for row in rows
        ],
    )


def designs_table(report: Report) -> Table:
    """The designs of a search, step by step."""
    points = report["design_points"]
    profiles = ", ".join(points[0]["energy_nj"])
    rows = [
        Row(
            [
                p["change"],
                f"{p['mean_timesteps']:.2f}",
                p["interval_ticks"],
                p["first_latency_ticks"],
                per_cent(p["stall_share"]),
                p["num_cores"],
                p["num_chips"],
                p["num_slots"],
                p["traffic_hops"],
                None if p["accuracy"] is None else f"{100 * p['accuracy']:.2f}",
                Lines(list(p["interval_us"].values())) if profiles else None,
                Lines([f"{nj:,.0f}" for nj in p["energy_nj"].values()]) if profiles else None,
                p["verdict"],
            ],
            Emphasis.STRONG if p["verdict"] == "kept" else Emphasis.FAINT,
        )
        for p in points
    ]
    return Table(
        title=f"what each step of the search for {report['options']['optimize']} brought"
        + (f"; us between results: {profiles}" if profiles else ""),
        columns=[
            sentences("Step", "step"),
            numbers("mean T", "T"),
            numbers("ticks between results", "ticks"),
            numbers("first result, ticks", "first"),
            numbers("stalled", "stalled"),
            numbers("cores", "cores"),
            numbers("chips"),
            numbers("slots", "slots"),
            numbers("hops"),
            numbers("correct, %", "correct"),
            numbers("µs between results", "us"),
            numbers("nJ per sample"),
            sentences("Verdict", "verdict"),
        ],
        rows=rows,
    )


def changes_table(report: Report) -> Table:
    """Single changes that would shorten the interval."""
    return Table(
        title="one change, and the ticks between results it would give",
        columns=[names("One change", "change"), numbers("ticks between results", "ticks")],
        rows=[Row([c["description"], c["interval_ticks"]]) for c in report["pipeline"]["changes"]],
    )


def stages_table(report: Report) -> Table:
    """Each stage: its cores and slots, its ticks in the run shown, its stalls in the steady state."""
    pipeline, rows = report["pipeline"], []
    for population in report["populations"]:
        name, replicas = population["name"], population["replicas"]
        slots = [s["slots"] // replicas for s in report["synapses"] if s["target"] == name]
        stages = {n: s for n, s in pipeline["stages"].items() if s["population"] == name}
        for stage, record in stages.items():
            steady = record["steady_shares"]
            rows.append(
                Row(
                    [
                        stage,
                        shape_text(population["shape"]),
                        population["timesteps"],
                        population["cores"] // replicas or "host",
                        "+".join(map(str, slots)) or None,
                        Activities(record["activity"]),
                        per_cent(steady["starved"] + steady["blocked"]),
                        _main_cause(record["causes"]),
                    ]
                )
            )
    ticks = pipeline["num_ticks"]
    return Table(
        title=f"stages: the {ticks} ticks of the run shown, and the stalls of the steady state",
        columns=[
            names("Stage", "stage"),
            numbers("shape", "shape"),
            numbers("T", "T"),
            numbers("cores", "cores"),
            numbers("slots", "slots"),
            names(f"{ticks} ticks of the run shown", f"{ticks} ticks"),
            numbers("stalled in the steady state", "stalled"),
            names("Waits most for", "waits for"),
        ],
        rows=rows,
    )


def _main_cause(causes: list[CauseRecord]) -> str:
    if not causes:
        return ""
    source, target = causes[0]["edge"]
    return f"spikes of {source}" if causes[0]["activity"] == "starved" else f"a slot to {target}"


def causes_table(report: Report) -> Table:
    """Each stall of the run shown, and the edge it waits for."""
    return Table(
        title="stalls of the run shown",
        columns=[
            names("Stage", "stage"),
            names("Stall", "stall"),
            numbers("ticks", "ticks"),
            names("Edge", "edge"),
        ],
        rows=[
            Row([name, cause["activity"], cause["ticks"], " → ".join(cause["edge"])])
            for name, record in report["pipeline"]["stages"].items()
            for cause in record["causes"]
        ],
    )


def pace_table(cost: CostRecord) -> Table:
    """The populations whose cores set the length of a tick."""
    ticks_s = cost["interval_s"] * (1 - cost["barrier_share"])
    times = sorted(cost["times"].items(), key=lambda item: -item[1]["pace_s"])
    return Table(
        title="populations that set the pace",
        columns=[
            names("Population", "population"),
            numbers("share of the time in which it is the slowest", "slowest"),
            numbers("its slowest core", "core"),
            numbers("computing, µs", "computing us"),
            numbers("waiting for a slower core, µs", "waiting us"),
        ],
        rows=[
            Row(
                [
                    name,
                    per_cent(time["pace_s"] / ticks_s),
                    str(time["slowest_core"]),
                    time["computing_s"] * 1e6,
                    time["imbalance_s"] * 1e6,
                ]
            )
            for name, time in times
        ],
    )


def path_table(segments: Sequence[PathRecord]) -> Table:
    """The chain of firing windows that ends in the logits of a sample."""
    return Table(
        title="critical path",
        columns=[
            names("Population", "population"),
            numbers("sample", "sample"),
            numbers("ticks", "ticks"),
            numbers("length", "length"),
            names("Started when", "started when"),
        ],
        rows=[
            Row(
                [
                    s["population"],
                    s["sample"],
                    f"{s['start']} to {s['stop']}",
                    s["stop"] - s["start"],
                    _REASON[s["reason"]],
                ]
            )
            for s in segments
        ],
    )


def alignments_table(report: Report) -> Table:
    """The whole network under each temporal alignment."""
    return Table(
        title="temporal alignments",
        columns=[
            names("Alignment", "alignment"),
            numbers("accuracy, %", "% correct"),
            numbers("first result, ticks", "first"),
            numbers("between results, ticks", "ticks"),
        ],
        rows=[
            Row(
                [
                    row["method"],
                    f"{100 * row['integer_accuracy']:.2f}",
                    row["first_latency_ticks"],
                    row["interval_ticks"],
                ]
            )
            for row in report["alignment_trade"]
        ],
    )


def cores_table(report: Report) -> Table:
    """The most that a core of each population uses of each limit."""
    limits = [limit for limit in CORE_LIMITS.values() if limit.in_report]
    rows = []
    for name, record in report["mapping"]["populations"].items():
        uses = cast("dict[str, tuple[int, int]]", record)
        used = [f"{u:,} ({per_cent(u / most)})" for u, most in (uses[x.name] for x in limits)]
        rows.append(Row([name, record["cores"], record["replicas"], *used]))
    return Table(
        title="cores, and the highest use of a core",
        columns=[
            names("Population", "population"),
            numbers("cores", "cores"),
            numbers("replicas", "replicas"),
            *(numbers(limit.label, limit.label) for limit in limits),
        ],
        rows=rows,
    )


def sensitivity_table(report: Report) -> Table:
    """The estimates with one assumed figure halved or doubled."""
    pipeline, profiles = report["pipeline"], list(report["costs"])

    def costs(row: SensitivityRecord) -> list[float | None]:
        if not row["energy_nj"]:
            return [None] * (2 * len(profiles))  # it does not fit
        return [row[figure][p] for p in profiles for figure in ("interval_us", "energy_nj")]

    compiled = [
        "as compiled", None, report["mapping"]["num_cores"], pipeline["interval_ticks"],
        *(
            value
            for cost in report["costs"].values()
            for value in (cost["interval_s"] * 1e6, cost["energy_per_sample_j"] * 1e9)
        ),
    ]  # fmt: skip
    rows = [
        [
            row["figure"],
            f"{row['value']:g} → {row['tried']:g}",
            "does not fit" if row["num_cores"] is None else row["num_cores"],
            row["interval_ticks"],
            *costs(row),
        ]
        for row in report["sensitivity"]
    ]
    units = {"µs between results": "us", "nJ per sample": "nJ"}
    return Table(
        title="if an assumed figure were wrong",
        columns=[
            names("Figure", "figure"),
            numbers("value", "value"),
            numbers("cores", "cores"),
            numbers("ticks between results", "ticks"),
            *(
                numbers(f"{u}, {p}", f"{short}, {p}")
                for p in profiles
                for u, short in units.items()
            ),
        ],
        rows=[Row(compiled, Emphasis.STRONG), *map(Row, rows)],
    )


def sources_table(report: Report) -> Table:
    """Every hardware figure with its kind and source."""
    return Table(
        title="hardware figures and their sources",
        columns=[
            names("Figure", "figure"),
            numbers("value", "value"),
            names("Kind", "kind"),
            sentences("Source", "source"),
        ],
        rows=[
            Row([f["figure"], f["value"], Tag(f["kind"]), f["source"]])
            for f in report["provenance"]
        ],
    )
