"""The page of a network that does not fit: by how much, why, and which changes would make it fit."""

from __future__ import annotations

from math import ceil, prod

from deploy.report.markup import (
    NOTHING,
    Markup,
    command_box,
    element,
    fragment,
    number,
    per_cent,
    scrolling,
    shape_text,
)
from deploy.report.page.bars import meter
from deploy.report.page.first_screen import answer, figure
from deploy.report.page.view import Tab, View
from deploy.report.records import RefusalRecord, RefusedPopulationRecord, TriedRecord
from deploy.report.tables import (
    Command,
    Emphasis,
    Metered,
    names,
    numbers,
    sentences,
    tabulate,
)


def overview(record: RefusalRecord) -> Markup:
    """Does it fit, why not, and what to change."""
    return fragment(
        element("p", record["target"]["description"], class_="lead"),
        element(
            "div",
            _fit(record),
            answer(
                "Why not?", None, element("p", f"{_capitalised(record['reason'])}."), kind="reason"
            ),
            _what_to_change(record),
            _all_changes(record),
            class_="answers",
        ),
        element("p", "No build was written, and an earlier one stays as it is.", class_="quiet"),
    )


def _fit(record: RefusalRecord) -> Markup:
    needed, available = record["needed_cores"], record["available_cores"]
    chips = f"{record['available_chips']:,} chip{'s' * (record['available_chips'] > 1)}"
    basis = f"{record['target']['name']}: {chips} of {record['cores_per_chip']:,} cores"
    no = element("b", "No", class_="no")
    if needed is None:
        missing = element("p", no, " not on any number of cores", class_="figure large")
        return answer("Does it fit?", "exact", missing, basis=basis, kind="fit")
    over, chips_needed = needed / available, ceil(needed / record["cores_per_chip"])
    return answer(
        "Does it fit?",
        "exact",
        element(
            "p", no, " ", element("b", f"{needed:,}"), f" cores of {available:,}", class_="figure large"
        ),
        element(
            "p",
            f"It needs {per_cent(over)} of the target's cores, or {chips_needed:,} chips of "
            f"{record['cores_per_chip']:,} cores.",
        ),
        meter(available / needed),
        basis=f"{basis}; the bar shows the share of the network that fits",
        kind="fit",
    )  # fmt: skip


def _what_to_change(record: RefusalRecord) -> Markup:
    fitting = [tried for tried in record["tried"] if tried["refusal"] is None]
    heading = element("div", element("h2", "What to change?"), class_="heading")
    if not fitting:
        return element("section", heading, element("p", _no_remedy(record)), class_="answer change")
    best = fitting[0]
    return element(
        "section",
        heading,
        figure(_capitalised(best["change"]), "", size="medium"),
        command_box(best["command"]),
        element("p", f"It then fits: {_size(best)}. The accuracy was not measured."),
        class_="answer change",
    )


def _no_remedy(record: RefusalRecord) -> str:
    if record["not_tried"] is not None:
        return f"No changes were tried: {record['not_tried']}. The reason above names a remedy."
    num = len(record["tried"])
    if num == 1:
        return "The change that was tried does not make it fit. The reason above names a remedy."
    return (
        f"None of the {num} changes that were tried makes it fit. The reason above names a remedy."
    )


def _all_changes(record: RefusalRecord) -> Markup:
    if not record["tried"]:
        return NOTHING
    table = tabulate(
        "changes tried",
        record["tried"],
        sentences("Change", "change", lambda t: _capitalised(t["change"])),
        sentences("fits", "fits", _verdict),
        numbers("cores", "cores", lambda t: t["num_cores"]),
        numbers("chips", "chips", lambda t: t["num_chips"]),
        names("Command", None, lambda t: Command(t["command"])),
        emphasis=lambda t: Emphasis.FAINT if t["refusal"] else Emphasis.NONE,
    )
    return element(
        "section",
        element("h2", "All changes tried"),
        scrolling(table.for_page()),
        class_="answer others",
    )


def _verdict(tried: TriedRecord) -> str:
    return "yes" if tried["refusal"] is None else f"no: {tried['refusal']}"


def populations(record: RefusalRecord) -> Markup:
    """Populations with the cores that each needs, where these are known."""
    most = max((p["cores"] or 0 for p in record["populations"]), default=0)

    def cores(population: RefusedPopulationRecord) -> Metered | None:
        needed = population["cores"]
        return None if needed is None else Metered(needed, needed / max(most, 1))

    table = tabulate(
        "populations",
        record["populations"],
        names("Population", "population", lambda p: p["name"]),
        names("kind", "kind", lambda p: p["kind"]),
        numbers("T", "T", lambda p: p["timesteps"]),
        numbers("shape", "shape", lambda p: shape_text(p["shape"])),
        numbers("neurons", "neurons", lambda p: prod(p["shape"])),
        *([numbers("cores needed", "cores", cores)] if most else []),
    )
    return scrolling(table.for_page())


def command(record: RefusalRecord) -> Markup:
    """The command that was refused."""
    return command_box(record["command"])


def _size(tried: TriedRecord) -> str:
    cores, chips = tried["num_cores"] or 0, tried["num_chips"] or 0
    return f"{number(cores)} core{'s' * (cores != 1)} on {number(chips)} chip{'s' * (chips != 1)}"


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


REFUSAL_TABS: tuple[Tab[RefusalRecord], ...] = (
    Tab(title="Overview", views=(View(id="overview", title=None, render=overview),)),
    Tab(
        title="Populations",
        views=(
            View(id="populations", title="Populations", standing="exact", render=populations),
            View(id="command", title="The command that was refused", render=command),
        ),
    ),
)
