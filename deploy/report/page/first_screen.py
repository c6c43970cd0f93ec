"""The first screen: fit, accuracy, speed, energy, stalls and the change to make, each with its basis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from deploy.design.pace import every_ticks
from deploy.report.markup import (
    NOTHING,
    Markup,
    element,
    energy_texts,
    fragment,
    number,
    per_cent,
    time_texts,
)
from deploy.report.outputs import NO_ACCURACY, accuracy_text, output_sentences
from deploy.report.page.bars import meter, stacked_bars
from deploy.report.page.pipeline_views import measured
from deploy.report.page.suggestions import other_changes, what_to_change
from deploy.report.page.view import View
from deploy.report.records import FidelityRecord, FitRecord, PipelineRecord, Report

if TYPE_CHECKING:
    from hw_models.multicore.pipeline.pipeline_ticks import Activity

_SHOWN_STAGES = 3
_NAMED = 3  # populations in a sentence; more are counted
_DATA = ", followed by the name, file or folder of a data set."


def overview(report: Report) -> Markup:
    """Six answers, and what to do next."""
    return fragment(
        element("p", _lead(report), class_="lead"),
        element(
            "div",
            _fit(report["fit"]),
            _accuracy(report),
            _energy(report),
            _speed(report),
            _stalls(report),
            what_to_change(report),
            other_changes(report),
            class_="answers",
        ),
        _notes(report),
    )


def answer(
    question: str, standing: str | None, *content: object, basis: str | None = None, kind: str = ""
) -> Markup:
    """A card that answers one question.

    Args:
        standing: ``exact`` or ``estimate``; None if the card has no figure.
        basis: what its figures describe.
        kind: class that places the card in the grid.
    """
    badge = NOTHING if standing is None else element("span", standing, class_="standing")
    return element(
        "section",
        element("div", element("h2", question), badge, class_="heading"),
        *content,
        NOTHING if basis is None else element("p", basis, class_="basis"),
        class_=f"answer {kind}".strip(),
    )


def figure(value: str, unit: str, *, size: str = "large") -> Markup:
    """A numeral with its unit."""
    return element("p", element("b", value), " ", element("span", unit), class_=f"figure {size}")


def _lead(report: Report) -> str:
    spiking = [p for p in report["populations"] if p["kind"] == "spiking"]
    if not spiking:
        return "No spiking population: the readout adds up the pixels' integers."
    neurons = sum(p["neurons"] for p in spiking)
    return (
        f"{len(spiking)} spiking population{'s' * (len(spiking) > 1)}, {neurons:,} neurons, "
        f"{report['mean_timesteps']:.2f} timesteps T on average"
    )


def _fit(fit: FitRecord) -> Markup:
    tightest = fit["tightest"]
    chips = f"{fit['num_chips']:,} chip{'s' * (fit['num_chips'] > 1)}"
    available = fit["num_chips"] * fit["cores_per_chip"]
    share = tightest["used"] / tightest["available"]
    return answer(
        "Does it fit?",
        "exact",
        element(
            "p",
            element("b", "Yes", class_="yes"),
            " ",
            element("b", f"{fit['num_cores']:,}"),
            f" of {available:,} cores, {chips}",
            class_="figure large",
        ),
        element(
            "p",
            f"Tightest limit: {tightest['limit']} of {tightest['population']}, "
            f"{tightest['used']:,} of {tightest['available']:,} ({per_cent(share)})",
        ),
        meter(share),
        basis=f"{fit['cores_per_chip']:,} cores per chip, at most {fit['available_chips']:,} chips",
        kind="fit",
    )


def _accuracy(report: Report) -> Markup:
    fidelity = report["fidelity"]
    question = "How accurate is it?"
    if fidelity is None:
        return answer(question, None, _missing("Accuracy"), kind="accuracy")
    basis = f"first {fidelity['samples']:,} test samples of {report['data']}"
    if fidelity["integer_accuracy"] is None:
        content: Iterable[Markup] = _outputs(fidelity)
        return answer("How close is it?", "exact", *content, basis=basis, kind="accuracy")
    integer, floating = (
        accuracy_text(fidelity, field) for field in ("integer_accuracy", "float_accuracy")
    )
    same = fidelity["same_argmax"]
    content = [
        figure(integer, fidelity["accuracy_function"] or "of samples correct"),
        _pairs(
            [("float", floating), ("integer", integer), ("spiking", f"{integer}, equal integers")]
        ),
        NOTHING
        if same is None
        else element(
            "p",
            f"Float and integer choose the same class on {same:,} of {fidelity['samples']:,}.",
            class_="quiet",
        ),
    ]
    return answer(question, "exact", *content, basis=basis, kind="accuracy")


def _outputs(fidelity: FidelityRecord) -> Iterator[Markup]:
    """Where no accuracy is defined, how the integer logits compare with the float ones."""
    for output in fidelity["outputs"]:
        if output["same_argmax_share"] is not None:
            unit = f"pixels of {output['name']} with the same largest channel"
            yield figure(f"{output['same_argmax_share']:.2%}", unit)
    sentences = " ".join(
        f"{sentence[0].upper()}{sentence[1:]}." for sentence in output_sentences(fidelity)
    )
    yield element("p", f"{sentences} No accuracy is defined: {NO_ACCURACY}.")


def _energy(report: Report) -> Markup:
    question = "How much energy?"
    if not report["costs"]:
        return answer(question, None, _missing("Energy"), kind="energy")
    energies, unit = energy_texts([c["energy_per_sample_j"] for c in report["costs"].values()])
    return answer(
        question,
        "estimate",
        _by_profile(report, [(f"{unit} per sample", energies)]),
        element("p", _largest_part(report), class_="quiet"),
        basis=measured(report),
        kind="energy",
    )


def _largest_part(report: Report) -> str:
    """The event that takes most energy under each cost profile."""
    parts = []
    for profile, cost in report["costs"].items():
        energies = cost["energy_by_event_j"]
        event = max(energies, key=energies.__getitem__)
        share = energies[event] / cost["energy_per_sample_j"] if cost["energy_per_sample_j"] else 0
        parts.append(f"{event} {per_cent(share)} ({profile})")
    return f"Most of it: {', '.join(parts)}"


def _speed(report: Report) -> Markup:
    pipeline, costs = report["pipeline"], report["costs"].values()
    interval = f"{pipeline['interval_ticks']:g}"
    ticks = element(
        "p",
        element("b", "Ticks, exact: "),
        f"first result after {pipeline['first_latency_ticks']:,}, then one {every_ticks(interval)} (longest "
        f"firing window: {pipeline['ideal_interval_ticks']:g}).",
    )
    question = "How fast is it?"
    if not costs:
        in_ticks = figure(interval, "ticks between results")
        return answer(question, "exact", in_ticks, ticks, _missing("Time"), kind="speed")
    latencies, latency_unit = time_texts([cost["first_latency_s"] for cost in costs])
    intervals, interval_unit = time_texts([cost["interval_s"] for cost in costs])
    measures = [
        ("samples per second", [number(1 / cost["interval_s"]) for cost in costs]),
        (f"{latency_unit} from sample to result", latencies),
        (f"{interval_unit} between results", intervals),
    ]
    return answer(
        question,
        "estimate",
        _by_profile(report, measures),
        ticks,
        basis=measured(report),
        kind="speed",
    )


def _stalls(report: Report) -> Markup:
    pipeline = report["pipeline"]
    least = pipeline["least_stall_share"]
    return answer(
        "Where does it stall?",
        "exact",
        figure(per_cent(pipeline["stall_share"]), "of the ticks, mean of all populations"),
        _most_stalled(pipeline),
        element("p", _pace(report)),
        basis=f"steady state; with larger buffers alone, {per_cent(least)} at best",
        kind="stalling",
    )


def _pace(report: Report) -> str:
    """What sets the interval, in a sentence that stays short for large networks."""
    pipeline = report["pipeline"]
    if not pipeline["critical_buffers"]:
        return f"{pipeline['explanation']}."
    slots = {(s["source"], s["target"]): s["slots"] for s in report["synapses"]}
    (source, target), *others = pipeline["critical_buffers"]
    waiting = pipeline["critical_populations"]
    who = ", ".join(waiting) if len(waiting) <= _NAMED else f"{len(waiting)} populations"
    more = f" and {len(others)} more" if others else ""
    return (
        f"The buffer {source} → {target}{more} sets the ticks between results: {who} wait for each other "
        f"through its {slots[source, target]} slots."
    )


def _most_stalled(pipeline: PipelineRecord) -> Markup:
    """Steady shares of the stages that stall most; the input, which has nothing to compute, is left out."""
    first = next(iter(pipeline["stages"]))
    shares = {
        stage: record["steady_shares"]
        for stage, record in pipeline["stages"].items()
        if stage != first
    }
    worst = sorted(shares, key=lambda stage: shares[stage]["busy"])[:_SHOWN_STAGES]
    if not worst:
        return NOTHING
    shown: dict[Activity, str] = {
        "busy": "busy",
        "starved": "waits for spikes",
        "blocked": "waits for a free slot",
    }
    percents = {s: {kind: 100 * share for kind, share in shares[s].items()} for s in worst}
    legend = (
        element("span", element("i", class_=kind), words)
        for kind, words in shown.items()
        if any(percents[stage][kind] for stage in worst)
    )
    return fragment(
        stacked_bars(percents, list(shown), "%"),
        element("div", *legend, class_="legend"),
    )


def _missing(what: str) -> Markup:
    return fragment(
        figure("Not measured", "", size="medium"),
        element(
            "p", f"{what} needs samples: compile again with ", element("code", "--data"), _DATA
        ),
    )


def _pairs(rows: Sequence[tuple[str, str]]) -> Markup:
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in rows)
    )


def _by_profile(report: Report, measures: Sequence[tuple[str, Sequence[str]]]) -> Markup:
    """One column per cost profile, one line per measure: its name with the unit, and a numeral each."""
    head = (element("th", profile, scope="col") for profile in report["costs"])
    lines = (
        element(
            "tr",
            element("th", name, scope="row"),
            *(element("td", value) for value in values),
        )
        for name, values in measures
    )
    return element(
        "table",
        element("thead", element("tr", element("th", "cost profile", scope="col"), *head)),
        element("tbody", *lines),
        class_="profiles",
    )


def _notes(report: Report) -> Markup:
    notes = []
    if len(report["costs"]) > 1:
        names = " and ".join(report["costs"])
        notes.append(
            f"{names} are separate cost profiles of {report['target']['name']}: each has its own published "
            f"energies and times per event, and no figure mixes them."
        )
    if report["data_note"]:
        notes.append(f"{report['data_note']}.")
    return element("p", " ".join(notes), class_="quiet") if notes else NOTHING


OVERVIEW = View(id="overview", title=None, render=overview)
