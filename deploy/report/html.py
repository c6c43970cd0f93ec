"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.report.markup import Markup, element, join, number, per_cent, scrolling, section
from deploy.report.svg_figures import layer_graph, stall_bars, time_bars, timeline

_STYLE = Path(__file__).with_name("report.css")
_MEANING = {
    "busy": "fires a step",
    "starved": "waits for spikes of a source",
    "blocked": "input complete, no free slot at a target",
    "drained": "no sample left, or none has reached it yet",
}
_TIME_MEANING = {
    "computing": "events of the core",
    "imbalance": "fires, but a slower core keeps the barrier",
    "starved": "no input yet",
    "blocked": "no free slot",
    "drained": "no sample",
    "barrier": "the barrier itself",
}
_REASON = {
    "first": "the run began",
    "frame": "the frame before arrived",
    "credit": "the slot was free again",
    "previous sample": "its sample before was done",
}


def render_html(report: dict[str, Any]) -> str:
    """The page for a ``report.json`` document; the same document gives the same bytes."""
    title = f"{report['model']['file']} on {report['target']['name']}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title}: pipeline report"),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    parts = (
        _header,
        _limit,
        _designs,
        _graph,
        _stalls,
        _times,
        _timeline,
        _paths,
        _alignments,
        _comparison,
        _mapping,
        _sensitivity,
        _sources,
    )
    body = element("body", *(part(report) for part in parts))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(report: dict[str, Any]) -> Markup:
    pipeline, mapping, fidelity = report["pipeline"], report["mapping"], report["fidelity"]
    cards = [
        (f"{report['mean_timesteps']:.2f}", "mean timesteps T"),
        (pipeline["first_latency_ticks"], "ticks to first result"),
        (
            pipeline["interval_exact"],
            f"ticks between results (ideal {pipeline['ideal_interval_ticks']})",
        ),
        (f"{1 / pipeline['interval_ticks']:.3f}", "results per tick"),
        (f"{mapping['num_cores']} of {mapping['available_cores']}", "cores"),
    ]
    if fidelity:
        both = (fidelity["float_accuracy"], fidelity["integer_accuracy"])
        cards.append(
            (" → ".join(f"{100 * share:.2f}" for share in both), "% correct, float → integer")
        )
    measured = ""
    if fidelity:
        measured = (
            f" Measured on {fidelity['samples']} test samples of {report['data']}; both networks choose "
            f"the same class on {fidelity['same_argmax']}."
        )
    return join(
        [
            element("h1", f"{report['model']['file']} on {report['target']['name']}"),
            element("p", report["target"]["description"] + measured, class_="lead"),
            element(
                "div",
                *(
                    element("div", element("b", v), element("span", t), class_="card")
                    for v, t in cards
                ),
                class_="cards",
            ),
        ]
    )


def _limit(report: dict[str, Any]) -> Markup:
    pipeline = report["pipeline"]
    rows = [[c["description"], number(c["interval_ticks"])] for c in pipeline["changes"]]
    changes = (
        _table(["One change", "ticks between results"], rows)
        if rows
        else element("p", "No single slot or timestep would shorten it.")
    )
    return section(
        "limit",
        "What limits the pipeline",
        "exact",
        element("p", f"{pipeline['explanation']}.", class_="callout"),
        element(
            "p",
            f"In the steady state a population stalls {per_cent(pipeline['stall_share'])} of the time, on "
            f"average; no buffer brings these firing windows below "
            f"{per_cent(pipeline['least_stall_share'])}.",
            class_="quiet",
        ),
        changes,
    )


def _designs(report: dict[str, Any]) -> Markup:
    points = report["design_points"]
    if not points:
        return Markup("")
    profiles = list(points[0]["energy_nj"])
    rows = [
        [
            p["change"],
            f"{p['mean_timesteps']:.2f}",
            number(p["interval_ticks"]),
            p["first_latency_ticks"],
            per_cent(p["stall_share"]),
            f"{p['num_cores']:,}",
            p["num_slots"],
            "" if p["accuracy"] is None else f"{100 * p['accuracy']:.2f}",
            *(f"{p['energy_nj'][profile]:,.0f}" for profile in profiles),
            p["verdict"],
        ]
        for p in points
    ]
    return section(
        "designs",
        "What each step of the search bought",
        "exact",
        element(
            "p",
            f"Objective: {report['options']['optimize']}. Accuracy here is on the last training images, "
            f"which the search may look at; energies are estimates. Uniform T is the same network with "
            f"one T for all, at the buffers it was compiled with.",
            class_="quiet",
        ),
        scrolling(
            _table(
                [
                    "Step", "mean T", "ticks between results", "first result, ticks", "stalled",
                    "cores", "slots", "% correct", *(f"nJ, {profile}" for profile in profiles),
                    "Verdict",
                ],
                rows,
            )
        ),
    )  # fmt: skip


def _graph(report: dict[str, Any]) -> Markup:
    return section(
        "graph",
        "Layer graph",
        "exact",
        element(
            "p",
            "One square is one timestep. On an edge: its linear map and the slots D of its alignment "
            "buffer. What is outlined or heavy lies on the cycle that sets the interval.",
            class_="quiet",
        ),
        scrolling(layer_graph(report)),
    )


def _stalls(report: dict[str, Any]) -> Markup:
    pipeline = report["pipeline"]
    rows = [
        [name, cause["activity"], cause["ticks"], " → ".join(cause["edge"])]
        for name, record in pipeline["populations"].items()
        for cause in record["causes"]
    ]
    return section(
        "stalls",
        "Where the ticks go",
        "exact",
        element(
            "p",
            f"{pipeline['samples']} samples in {pipeline['num_ticks']} ticks; a frame or a credit takes "
            f"{pipeline['link_ticks']} tick on its link.",
            class_="quiet",
        ),
        _legend(_MEANING),
        scrolling(stall_bars(report)),
        element(
            "details",
            element("summary", "Each stall and the edge it waits for"),
            _table(["Population", "Stall", "ticks", "Edge"], rows),
        ),
    )


def _legend(meaning: Mapping[str, str]) -> Markup:
    entries = (
        element("span", element("i", class_=kind), f"{kind}: {words}")
        for kind, words in meaning.items()
    )
    return element("div", *entries, class_="legend")


def _times(report: dict[str, Any]) -> Markup:
    """Seconds of each profile by population, and which of them sets the length of a tick."""
    parts = []
    for profile, cost in report["costs"].items():
        rows = [
            [
                name,
                per_cent(t["pace_s"] / (cost["total_s"] * (1 - cost["barrier_share"]))),
                t["slowest_core"],
                number(t["computing_s"] * 1e6),
                number(t["imbalance_s"] * 1e6),
            ]
            for name, t in sorted(cost["times"].items(), key=lambda item: -item[1]["pace_s"])
        ]
        parts += [
            element("h3", f"{profile}: {number(cost['total_s'] * 1e6)} µs in all"),
            scrolling(time_bars(cost["times"])),
            element(
                "details",
                element("summary", "Who sets the pace"),
                _table(
                    [
                        "Population", "ticks it is slowest in, by time", "its slowest core",
                        "computing, µs", "waiting for a slower core, µs",
                    ],
                    rows,
                ),
            ),
        ]  # fmt: skip
    if not parts:
        return Markup("")
    return section(
        "times",
        "Where the time goes",
        "estimate",
        element(
            "p",
            "A tick lasts as long as its slowest core, then the barrier. Mean over a population's cores: "
            "what it computes; imbalance, while it fires and a slower core keeps the barrier; and the rest "
            "of the ticks in which it is starved, blocked or drained.",
            class_="quiet",
        ),
        _legend(_TIME_MEANING),
        *parts,
    )


def _paths(report: dict[str, Any]) -> Markup:
    """The chain of waits that ends in the first and in the last sample's logits."""
    parts = []
    for sample, segments in report["pipeline"]["critical_paths"].items():
        rows = [
            [
                s["population"],
                s["sample"],
                f"{s['start']} to {s['stop']}",
                s["stop"] - s["start"],
                _REASON[s["reason"]],
            ]
            for s in segments
        ]
        parts.append(
            element(
                "details",
                element("summary", f"Sample {sample}: logits after tick {segments[-1]['stop']}"),
                _table(["Population", "sample", "ticks", "length", "Started when"], rows),
            )
        )
    return section(
        "paths",
        "Critical paths",
        "exact",
        element(
            "p",
            "What the logits of a sample waited for, first to last; shortening anything else would not "
            "bring them sooner. The last sample's path shows the steady state.",
            class_="quiet",
        ),
        *parts,
    )


def _sensitivity(report: dict[str, Any]) -> Markup:
    if not report["sensitivity"]:
        return Markup("")
    pipeline, profiles = report["pipeline"], list(report["costs"])

    def costs(row: dict[str, Any]) -> list[str]:
        if not row["energy_nj"]:
            return ["same"] * (2 * len(profiles))
        return [number(row[f][p]) for p in profiles for f in ("interval_us", "energy_nj")]

    rows = [
        [
            row["figure"],
            f"{row['value']:g} → {row['tried']:g}",
            "does not fit" if row["num_cores"] is None else f"{row['num_cores']:,}",
            number(row["interval_ticks"]),
            *costs(row),
        ]
        for row in report["sensitivity"]
    ]
    today = [
        element("b", "as compiled"), "", f"{report['mapping']['num_cores']:,}",
        number(pipeline["interval_ticks"]),
        *(
            number(report["costs"][p][field] * scale)
            for p in profiles
            for field, scale in (("interval_s", 1e6), ("energy_per_sample_j", 1e9))
        ),
    ]  # fmt: skip
    headings = [f"{unit}, {p}" for p in profiles for unit in ("µs between results", "nJ a sample")]
    return section(
        "sensitivity",
        "If an assumed figure were wrong",
        "estimate",
        element(
            "p",
            "Each assumed figure of the target halved and doubled, one at a time, the buffers kept. "
            "Designs of more than 1,000 cores are not mapped again.",
            class_="quiet",
        ),
        scrolling(
            _table(["Figure", "value", "cores", "ticks between results", *headings], [today, *rows])
        ),
    )


def _timeline(report: dict[str, Any]) -> Markup:
    return section(
        "timeline",
        "Timeline",
        "exact",
        element(
            "p",
            "Numbered boxes are firing windows, one colour a sample; thin bars are stalls. Point at any "
            "of them for details.",
            class_="quiet",
        ),
        scrolling(timeline(report)),
    )


def _alignments(report: dict[str, Any]) -> Markup:
    if not report["alignment_trade"]:
        return Markup("")
    rows = [
        [
            row["method"],
            f"{row['integer_accuracy']:.2%}",
            row["first_latency_ticks"],
            number(row["interval_ticks"]),
        ]
        for row in report["alignment_trade"]
    ]
    samples = report["alignment_trade"][0]["samples"]
    return section(
        "alignment",
        "What each temporal alignment would give",
        "exact",
        element(
            "p", f"The whole network at the same buffers, on {samples} samples.", class_="quiet"
        ),
        _table(["Alignment", "accuracy", "first result, ticks", "between results, ticks"], rows),
    )


def _comparison(report: dict[str, Any]) -> Markup:
    rows = report["comparison"]
    if not rows:
        return Markup("")
    slowest = max(row["interval_us"] for row in rows)
    hungriest = max(row["energy_nj"] for row in rows)
    table = _table(
        ["Design", "latency, µs", "between results, µs", "results/s", "energy/sample, nJ", "busy"],
        [
            [
                row["design"],
                number(row["latency_us"]),
                _metered(row["interval_us"], slowest),
                f"{row['throughput_per_s']:,.0f}",
                _metered(row["energy_nj"], hungriest),
                per_cent(row["utilisation"]),
            ]
            for row in rows
        ],
    )
    layers = [
        element(
            "details",
            element(
                "summary", f"{report['pe_array']['array']}, {estimate['mode']}: layer by layer"
            ),
            _table(
                ["Pass", "steps", "cycles (exact)", "utilisation (exact)", "energy, nJ"],
                [
                    [
                        layer["name"],
                        layer["timesteps"],
                        number(layer["cycles"]),
                        per_cent(layer["utilisation"]),
                        number(layer["energy_pj"] / 1000),
                    ]
                    for layer in estimate["layers"]
                ],
            ),
        )
        for estimate in report["pe_array"]["estimates"]
    ]
    return section(
        "comparison",
        "Pipeline against PE array",
        "estimate",
        element(
            "p",
            "Both compute the same integers. Seconds and joules are event counts times the coefficients "
            "below, which come from different processes and scopes: the array's leave out control, "
            "leakage and off-chip memory.",
            class_="quiet",
        ),
        scrolling(table),
        *layers,
    )


def _metered(value: float, largest: float) -> Markup:
    meter = element("span", class_="meter", style=f"width:{value / largest * 60:.1f}px")
    return join([number(value), meter])


def _mapping(report: dict[str, Any]) -> Markup:
    mapping = report["mapping"]
    limits = ("compartments", "synapse_words", "input_axons", "output_axons")
    rows = [
        [
            name,
            record["cores"],
            *(f"{record[n][0]:,} ({per_cent(record[n][0] / record[n][1])})" for n in limits),
        ]
        for name, record in mapping["populations"].items()
    ]
    return section(
        "mapping",
        "Cores",
        "exact",
        element(
            "p",
            f"{mapping['num_cores']:,} of {mapping['available_cores']:,} cores, on {mapping['num_chips']} "
            f"of {mapping['available_chips']} chips and {mapping['num_tiles']} mesh tiles. From a neuron to "
            f"a core it reaches on its chip, a spike takes {mapping['mean_hops']:.2f} hops on average; "
            f"{per_cent(mapping['share_between_chips'])} leave their chip. Highest use of a core, by "
            f"population:",
            class_="quiet",
        ),
        _table(["Population", "cores", *(n.replace("_", " ") for n in limits)], rows),
    )


def _sources(report: dict[str, Any]) -> Markup:
    rows = [
        [
            f["figure"],
            number(f["value"]),
            element("span", f["kind"], class_=f"kind {f['kind']}"),
            f["source"],
        ]
        for f in report["provenance"]
    ]
    return section(
        "sources",
        "What is exact, what is an estimate",
        None,
        element(
            "p",
            "Spike counts, spike trains, logits, ticks, stalls and the PE array's cycles are exact and "
            "equal in every engine. Seconds and joules are estimates; so is whatever rests on a figure "
            "marked assumed.",
        ),
        element(
            "details", element("summary", f"All {len(rows)} hardware figures and their sources"),
            _table(["Figure", "value", "Kind", "Source"], rows),
        ),
    )  # fmt: skip


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table; a column whose heading begins in lower case holds numbers and is right-aligned."""
    classes = ["n" if heading[0].islower() else None for heading in header]
    head = (element("th", h, class_=c) for h, c in zip(header, classes, strict=True))
    body = (
        element("tr", *(element("td", v, class_=c) for v, c in zip(row, classes, strict=True)))
        for row in rows
    )
    return element("table", element("thead", element("tr", *head)), element("tbody", *body))
