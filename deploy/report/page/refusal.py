"""The page of a network that does not fit: by how much, what would fit, and what takes the cores."""

from __future__ import annotations

from math import ceil, prod

from deploy.report.markup import (
    NOTHING,
    Markup,
    command_box,
    element,
    fragment,
    per_cent,
    scrolling,
    shape_text,
)
from deploy.report.page.first_screen import answer, figure
from deploy.report.page.view import Tab, View
from deploy.report.records import RefusalRecord, RefusedPopulationRecord, TriedRecord
from deploy.report.tables import Column, Command, Metered, names, numbers, sentences, tabulate


def _overview(refusal: RefusalRecord) -> Markup:
    return fragment(
        element("div", _size(refusal), _what_fits(refusal), class_="answers"),
        element("p", "Nothing was written, and an earlier build stays as it is.", class_="quiet"),
    )


def _size(refusal: RefusalRecord) -> Markup:
    needed, available = refusal["needed_cores"], refusal["available_cores"]
    name = refusal["target"]["name"]
    size = [figure("One neuron or one layer", "exceeds what the target can hold", size="medium")]
    if needed is not None:
        chips = ceil(needed / refusal["cores_per_chip"])
        size = [
            figure(f"{needed:,}", f"cores needed, {available:,} available"),
            element(
                "p",
                f"That is {per_cent(needed / available)} of {name}, or {chips:,} chips of "
                f"{refusal['cores_per_chip']:,} cores; it has {refusal['available_chips']:,}.",
            ),
        ]
    return answer(
        "Does it fit?",
        "exact",
        element("p", element("b", "No", class_="no"), class_="figure large"),
        *size,
        element("p", refusal["reason"], class_="callout"),
        basis=name,
        kind="refused",
    )


def _what_fits(refusal: RefusalRecord) -> Markup:
    fitting = [tried for tried in refusal["tried"] if tried["refusal"] is None]
    heading = element("div", element("h2", "What would fit?"), class_="heading")
    if not fitting:
        why = refusal["not_tried"] or "none of the changes that were tried"
        return element(
            "section", heading, element("p", f"{_capitalised(why)}."), class_="answer change"
        )
    best = fitting[0]
    return element(
        "section",
        heading,
        element("p", element("b", _capitalised(best["change"])), class_="figure medium"),
        command_box(best["command"]),
        element("p", f"{_size_of(best)}. Compile it to see its accuracy and its time."),
        class_="answer change",
    )


def _size_of(tried: TriedRecord) -> str:
    if tried["num_cores"] is None or tried["num_chips"] is None:
        return "does not fit"
    chips = tried["num_chips"]
    return f"{tried['num_cores']:,} cores on {chips:,} chip{'s' * (chips > 1)}"


def _tried(refusal: RefusalRecord) -> Markup:
    if not refusal["tried"]:
        return NOTHING
    table = tabulate(
        "changes tried",
        refusal["tried"],
        sentences("Change", "change", lambda t: _capitalised(t["change"])),
        sentences("Result", "result", lambda t: t["refusal"] or _size_of(t)),
        names("Command", None, lambda t: Command(t["command"])),
    )
    return scrolling(table.for_page())


def _populations(refusal: RefusalRecord) -> Markup:
    most = max((p["cores"] or 0 for p in refusal["populations"]), default=0)
    columns: list[Column[RefusedPopulationRecord]] = [
        names("Population", "population", lambda p: p["name"]),
        numbers("shape", "shape", lambda p: shape_text(p["shape"])),
        numbers("neurons", "neurons", lambda p: f"{prod(p['shape']):,}"),
        numbers("T", "T", lambda p: p["timesteps"]),
    ]
    if most:
        columns.append(
            numbers(
                "cores needed",
                "cores",
                lambda p: Metered(p["cores"] or 0, (p["cores"] or 0) / most),
            )
        )
    return scrolling(tabulate("populations", refusal["populations"], *columns).for_page())


REFUSAL_TABS: tuple[Tab[RefusalRecord], ...] = (
    Tab(
        title="Does not fit",
        views=(
            View(id="overview", title=None, render=_overview),
            View(id="tried", title="Changes tried", standing="exact", render=_tried),
            View(id="populations", title="Populations", standing="exact", render=_populations),
        ),
    ),
)


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]
