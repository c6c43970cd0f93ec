"""The view of how the integers were chosen."""

from __future__ import annotations

from deploy.report.lowering import lowering_sentences, lowering_table
from deploy.report.markup import NOTHING, Markup, element, fragment
from deploy.report.page.view import View
from deploy.report.records import Report


def lowering(report: Report) -> Markup:
    sentences = [element("p", f"{s[0].upper()}{s[1:]}.") for s in lowering_sentences(report)]
    if not sentences:
        return NOTHING
    table = lowering_table(report).for_page() if report["lowering"]["steps"] else NOTHING
    return fragment(*sentences, table)


LOWERING = View(
    id="lowering",
    title="What each step of lowering brought",
    standing="exact",
    basis=lambda report: (
        f"held-out training images: {report['lowering']['held_out_images']}"
        if report["lowering"]["steps"]
        else ""
    ),
    render=lowering,
)
