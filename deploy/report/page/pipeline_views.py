"""Views of the pipeline: its limit, its stalls, its time, and better designs."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.report.markup import (
    NOTHING,
    Markup,
    details,
    element,
    fragment,
    number,
    per_cent,
    scrolling,
)
from deploy.report.page import bars
from deploy.report.page.view import View
from deploy.report.pipeline_tables import (
    alignments_table,
    causes_table,
    changes_table,
    designs_table,
    pace_table,
    path_table,
    stages_table,
)
from deploy.report.records import AsynchronousRecord, CostRecord, Report

_ACTIVITY_MEANING = {
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


def limit(report: Report) -> Markup:
    pipeline = report["pipeline"]
    return fragment(
        element("p", f"{pipeline['explanation']}.", class_="callout"),
        element(
            "p",
            f"A stage stalls {per_cent(pipeline['stall_share'])} of the time, on average; with these firing "
            f"windows no buffers bring it below {per_cent(pipeline['least_stall_share'])}.",
            class_="quiet",
        ),
        changes_table(report).for_page()
        if pipeline["changes"]
        else element("p", "No single slot, replica or timestep would shorten it."),
    )


def designs(report: Report) -> Markup:
    if not report["design_points"]:
        return NOTHING
    return fragment(
        element(
            "p",
            f"Objective: {report['options']['optimize']}. {_tuning(report)}"
            f'"uniform T" is this network with '
            f"one T for all. Hops are counted for one spike of every neuron; a spike to another chip counts "
            f"as crossing the whole mesh. The replicas of a population take samples in turn, on cores of "
            f"their own. {profiles(report)}",
            class_="quiet",
        ),
        scrolling(designs_table(report).for_page()),
    )


def stalls(report: Report) -> Markup:
    ticks = report["pipeline"]["link_ticks"]
    return fragment(
        element(
            "p",
            f"A stage is a population, or one replica of it: NAME#r works on samples r, r + R, and so on. A "
            f"frame or a credit takes {ticks} tick{'s' * (ticks != 1)} on its link. The shares include the "
            f"drained ticks at both ends of the run; the table has the stalls of the steady state.",
            class_="quiet",
        ),
        _legend(_ACTIVITY_MEANING),
        bars.stall_bars(report),
        details(
            "Stage by stage, with the stalls of the steady state", stages_table(report).for_page()
        ),
        details("Each stall of the run and the edge it waits for", causes_table(report).for_page()),
    )


def times(report: Report) -> Markup:
    """Seconds of each cost profile by population, and which of them sets the length of a tick."""
    parts = []
    for profile, cost in report["costs"].items():
        parts += [
            element("h3", f"{profile}: {number(cost['interval_s'] * 1e6)} µs per sample"),
            bars.time_bars(cost["times"]),
            element("p", _without_barrier(cost, report["asynchronous"][profile])),
            details("Who sets the pace", pace_table(cost).for_page()),
        ]
    if not parts:
        return NOTHING
    return fragment(
        element(
            "p",
            "A tick lasts as long as its slowest core, then the barrier. Each bar is the mean over a "
            "population's cores of the time per sample: computing; imbalance, waiting for a slower core "
            "while the population fires; the rest of the ticks in which it is starved or blocked; and "
            "waiting for spikes that queue in the mesh.",
            class_="quiet",
        ),
        _legend(_TIME_MEANING),
        *parts,
    )


def paths(report: Report) -> Markup:
    """The chain of waits that ends in the first and in the last sample's logits."""
    return fragment(
        element(
            "p",
            "The firing windows that the logits of a sample waited for, first to last. Shortening any other "
            "window would not bring these logits sooner.",
            class_="quiet",
        ),
        *(
            details(
                f"Sample {sample}: logits after tick {segments[-1]['stop']}",
                path_table(segments).for_page(),
            )
            for sample, segments in report["pipeline"]["critical_paths"].items()
        ),
    )


def alignments(report: Report) -> Markup:
    if not report["alignment_trade"]:
        return NOTHING
    return fragment(
        element(
            "p",
            "The whole network with each method and the same buffers."
            + " Left out: replicate and truncate, since exact max pooling compares counts of whole windows."
            * (report["max_pooling"] is not None),
            class_="quiet",
        ),
        alignments_table(report).for_page(),
    )


def _has_accuracy(report: Report) -> bool:
    fidelity = report["fidelity"]
    return fidelity is not None and fidelity["integer_accuracy"] is not None


def _tuning(report: Report) -> str:
    """Where the accuracy of a search is from."""
    return (
        "Accuracy is measured on the last training images, at most 1,000, so that the search never sees a "
        "test image. " * _has_accuracy(report)
    )


def measured(report: Report) -> str:
    """The basis of times and energies."""
    samples = report["cost_samples"]
    return f"steady state, on the last {samples} training images" if samples else "steady state"


def profiles(report: Report) -> str:
    """The order of values in a cell that has one for each cost profile."""
    return f"Times and energies are listed for {', then '.join(report['costs'])}." * bool(
        report["costs"]
    )


def run_shown(report: Report) -> str:
    """The basis of what is drawn tick by tick."""
    pipeline = report["pipeline"]
    return f"run shown: {pipeline['samples']} samples in {pipeline['num_ticks']} ticks"


def _legend(meaning: Mapping[str, str]) -> Markup:
    entries = (
        element("span", element("i", class_=kind), f"{kind}: {words}")
        for kind, words in meaning.items()
    )
    return element("div", *entries, class_="legend")


def _without_barrier(cost: CostRecord, without: AsynchronousRecord) -> str:
    return (
        f"Without a barrier, if each core waits only for the cores it talks to and handshakes cost nothing, "
        f"a result comes every {number(without['interval_s'] * 1e6)} µs instead of "
        f"{number(cost['interval_s'] * 1e6)} µs."
    )


def _alignment_basis(report: Report) -> str:
    samples = report["alignment_trade"][0]["samples"]
    return (
        f"steady state{f'; accuracy on the first {samples} test samples' * _has_accuracy(report)}"
    )


LIMIT = View(
    id="limit",
    title="What limits the pipeline",
    standing="exact",
    basis=lambda report: "steady state",
    render=limit,
)
STALLS = View(
    id="stalls", title="Where the ticks go", standing="exact", basis=run_shown, render=stalls
)
PATHS = View(id="paths", title="Critical paths", standing="exact", basis=run_shown, render=paths)
TIMES = View(
    id="times", title="Where the time goes", standing="estimate", basis=measured, render=times
)
DESIGNS = View(
    id="designs",
    title="What each step of the search brought",
    standing="ticks exact, times and energies estimated",
    basis=measured,
    render=designs,
)
ALIGNMENTS = View(
    id="alignment",
    title="Temporal alignments compared",
    standing="exact",
    basis=_alignment_basis,
    render=alignments,
)
