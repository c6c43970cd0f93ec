"""The difference of two builds as a page, in the frame of the report."""

from __future__ import annotations

from functools import partial

from deploy.report.difference.difference import Difference
from deploy.report.difference.figures import PARTS
from deploy.report.difference.tables import (
    equal_sentence,
    is_equal,
    only_in_one_table,
    part_tables,
    same_sentence,
    verdict_sentence,
)
from deploy.report.markup import (
    NOTHING,
    Markup,
    command_box,
    element,
    fragment,
    scrolling,
)
from deploy.report.page.frame import page
from deploy.report.page.view import Tab, View
from deploy.report.tables import Table

_IN_FIRST_TAB = (
    "Options",
    "Fit",
    "Accuracy",
    "Outputs",
    "Speed in ticks",
    "Speed and energy",
    "Stalls",
)


def render_difference(document: Difference) -> str:
    """The page for a ``Difference``; equal documents give equal bytes."""
    title = f"{document['a']['folder']} compared with {document['b']['folder']}"
    verdict = "no figure differs" if is_equal(document) else "figures differ"
    banner = fragment(element("h1", title), element("span", verdict, class_="verdict"))
    return page(document, _TABS, title, banner)


def _both(document: Difference) -> Markup:
    sides = [
        fragment(
            element(
                "h3",
                f"{letter}: {side['folder']}, {side['model']} on {side['target']}",
            ),
            command_box(side["command"]),
        )
        for letter, side in (("A", document["a"]), ("B", document["b"]))
    ]
    sentences = [same_sentence(document), equal_sentence(document)]
    if not is_equal(document):
        sentences.insert(0, verdict_sentence(document))
    return fragment(*sides, *(element("p", sentence, class_="quiet") for sentence in sentences))


def _part(heading: str, document: Difference) -> Markup:
    return fragment(*(_shown(table) for table in part_tables(document, heading)))


def _only_in_one(document: Difference) -> Markup:
    return _shown(only_in_one_table(document)) if document["only_in_one"] else NOTHING


def _shown(table: Table) -> Markup:
    return scrolling(table.for_page())


def _view(heading: str) -> View[Difference]:
    anchor = heading.lower().replace(",", "").replace(" ", "-")
    return View(id=anchor, title=heading, render=partial(_part, heading))


_TABS: tuple[Tab[Difference], ...] = (
    Tab(
        title="What changed",
        views=(
            View(id="builds", title="Both builds", render=_both),
            *map(_view, _IN_FIRST_TAB),
        ),
    ),
    Tab(
        title="All parts",
        views=(
            View(id="only-in-one", title="In one build only", render=_only_in_one),
            *(_view(part.heading) for part in PARTS if part.heading not in _IN_FIRST_TAB),
        ),
    ),
)
