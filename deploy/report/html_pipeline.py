"""Sections of the HTML report on the pipeline: its limit, its stalls, its time, and better designs."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.report import svg_figures
from deploy.report.markup import (
    Markup,
    element,
    number,
    per_cent,
    scrolling,
    section,
    table,
)
from deploy.report.records import AsynchronousRecord, CostRecord, Report

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
    "mesh": "spikes to it queue in the mesh",
    "barrier": "the barrier itself",
}
_REASON = {
    "first": "the run began",
    "frame": "the frame before arrived",
    "credit": "the slot was free again",
    "previous sample": "its sample before was done",
}


def limit(report: Report) -> Markup:
    pipeline = report["pipeline"]
    rows = [[c["description"], number(c["interval_ticks"])] for c in pipeline["changes"]]
    changes = (
        table(["One change", "ticks between results"], rows)
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
            f"In the steady state a stage stalls {per_cent(pipeline['stall_share'])} of the time, on "
            f"average; no buffer brings these firing windows below "
            f"{per_cent(pipeline['least_stall_share'])}.",
            class_="quiet",
        ),
        changes,
    )


def designs(report: Report) -> Markup:
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
            p["num_chips"],
            p["num_slots"],
            f"{p['traffic_hops']:,}",
            "" if p["accuracy"] is None else f"{100 * p['accuracy']:.2f}",
            *(number(p["interval_us"][profile]) for profile in profiles),
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
            f"which the search may look at; times and energies are estimates. Uniform T is the same network "
            f"with one T for all. Hops are those of one spike of every neuron, a chip's whole mesh for each "
            f"that leaves it. Replicas of a population work on samples in turn, on cores of their own.",
            class_="quiet",
        ),
        scrolling(
            table(
                [
                    "Step", "mean T", "ticks between results", "first result, ticks", "stalled",
                    "cores", "chips", "slots", "hops", "correct, %",
                    *(f"µs between results, {profile}" for profile in profiles),
                    *(f"nJ, {profile}" for profile in profiles),
                    "Verdict",
                ],
                rows,
            )
        ),
    )  # fmt: skip


def graph(report: Report) -> Markup:
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
        scrolling(svg_figures.layer_graph(report)),
    )


def stalls(report: Report) -> Markup:
    pipeline = report["pipeline"]
    rows = [
        [name, cause["activity"], cause["ticks"], " → ".join(cause["edge"])]
        for name, record in pipeline["stages"].items()
        for cause in record["causes"]
    ]
    return section(
        "stalls",
        "Where the ticks go",
        "exact",
        element(
            "p",
            f"{pipeline['samples']} samples in {pipeline['num_ticks']} ticks; a frame or a credit takes "
            f"{pipeline['link_ticks']} tick on its link. A stage is a population; of a replicated one, "
            f"each replica: NAME#r works on samples r, r + R, and so on.",
            class_="quiet",
        ),
        _legend(_MEANING),
        scrolling(svg_figures.stall_bars(report)),
        element(
            "details",
            element("summary", "Each stall and the edge it waits for"),
            table(["Stage", "Stall", "ticks", "Edge"], rows),
        ),
    )


def _legend(meaning: Mapping[str, str]) -> Markup:
    entries = (
        element("span", element("i", class_=kind), f"{kind}: {words}")
        for kind, words in meaning.items()
    )
    return element("div", *entries, class_="legend")


def _without_barrier(cost: CostRecord, without: AsynchronousRecord) -> str:
    seconds = without["interval_s"], cost["interval_s"]
    return (
        f"Without a barrier, each core in step only with those it talks to, and handshakes that cost "
        f"nothing, a result comes every {number(seconds[0] * 1e6)} in place of {number(seconds[1] * 1e6)} µs."
    )


def times(report: Report) -> Markup:
    """Seconds of each profile by population, and which of them sets the length of a tick."""
    parts = []
    for profile, cost in report["costs"].items():
        rows = [
            [
                name,
                per_cent(t["pace_s"] / (cost["interval_s"] * (1 - cost["barrier_share"]))),
                t["slowest_core"],
                number(t["computing_s"] * 1e6),
                number(t["imbalance_s"] * 1e6),
            ]
            for name, t in sorted(cost["times"].items(), key=lambda item: -item[1]["pace_s"])
        ]
        parts += [
            element("h3", f"{profile}: {number(cost['interval_s'] * 1e6)} µs per sample"),
            scrolling(svg_figures.time_bars(cost["times"])),
            element("p", _without_barrier(cost, report["asynchronous"][profile])),
            element(
                "details",
                element("summary", "Who sets the pace"),
                table(
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
            "Per sample in the steady state. A tick lasts as long as its slowest core, then the barrier. "
            "Mean over a population's cores: "
            "what it computes; imbalance, while it fires and a slower core keeps the barrier; and the rest "
            "of the ticks in which it is starved or blocked. A core whose own work is done waits in the mesh "
            "as long as spikes to it queue there.",
            class_="quiet",
        ),
        _legend(_TIME_MEANING),
        *parts,
    )


def timeline(report: Report) -> Markup:
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
        scrolling(svg_figures.timeline(report)),
    )


def paths(report: Report) -> Markup:
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
                table(["Population", "sample", "ticks", "length", "Started when"], rows),
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


def alignments(report: Report) -> Markup:
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
        table(["Alignment", "accuracy", "first result, ticks", "between results, ticks"], rows),
    )
