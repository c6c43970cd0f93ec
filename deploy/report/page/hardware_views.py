"""Views of the hardware: cores, and the figures behind the estimates."""

from __future__ import annotations

from deploy.report.markup import (
    NOTHING,
    Markup,
    element,
    fragment,
    per_cent,
    scrolling,
)
from deploy.report.page.pipeline_views import measured, profiles
from deploy.report.page.view import View
from deploy.report.pipeline_tables import cores_table, sensitivity_table, sources_table
from deploy.report.records import Report


def cores(report: Report) -> Markup:
    mapping = report["mapping"]
    return fragment(
        element(
            "p",
            f"{mapping['num_cores']:,} of {mapping['available_cores']:,} cores, on {mapping['num_chips']} "
            f"of {mapping['available_chips']} chips and {mapping['num_tiles']} mesh tiles. If every neuron "
            f"spikes once, a spike takes {mapping['mean_hops']:.2f} hops on average within its chip, and "
            f"{per_cent(mapping['share_between_chips'])} of the spikes go to another chip. The table shows "
            f"the highest use of a core, by population.",
            class_="quiet",
        ),
        scrolling(cores_table(report).for_page()),
    )


def sensitivity(report: Report) -> Markup:
    if not report["sensitivity"]:
        return NOTHING
    return fragment(
        element(
            "p",
            "Each assumed figure of the target is halved and doubled, one at a time, and the network is "
            "compiled again for that target with the same choices. Designs of more than 1,000 cores "
            f"are not mapped again. {profiles(report)}",
            class_="quiet",
        ),
        scrolling(sensitivity_table(report).for_page()),
    )


def sources(report: Report) -> Markup:
    return fragment(
        element(
            "p",
            "Spike counts, spike trains, logits, ticks, stalls and the PE array's cycles are exact and "
            "equal in every engine. Seconds and joules are estimates; so is whatever rests on a figure "
            "marked assumed.",
        ),
        element("h3", f"All {len(report['provenance'])} hardware figures and their sources"),
        scrolling(sources_table(report).for_page()),
    )


CORES = View(
    id="mapping",
    title="Cores",
    standing="exact",
    basis=lambda report: "as mapped",
    render=cores,
)
SENSITIVITY = View(
    id="sensitivity",
    title="If an assumed figure were wrong",
    standing="estimate",
    basis=measured,
    render=sensitivity,
)
SOURCES = View(id="sources", title="What is exact, what is an estimate", render=sources)
