"""What to change: the best suggestion with its command and what it gives, then the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.report.markup import (
    NOTHING,
    Markup,
    command_box,
    element,
    energy_unit,
    fragment,
    number,
    scrolling,
    time_unit,
)
from deploy.report.measure_records import MeasuresRecord, SuggestionRecord
from deploy.report.outputs import accuracy_number
from deploy.report.records import Report
from deploy.report.tables import Command, Lines, names, numbers, sentences, tabulate


def what_to_change(report: Report) -> Markup:
    """A card with the best suggestion; if there is none, why."""
    suggestions, left_out = report["suggestions"], report["suggestions_left_out"]
    heading = element("div", element("h2", "What to change?"), class_="heading")
    if not suggestions:
        reason = _capitalised(report["pipeline"]["explanation"])
        nothing = "Nothing: no single change that was tried is better"
        why = f"{nothing if left_out is None else _capitalised(left_out)}. {reason}."
        return element("section", heading, element("p", why), class_="answer change")
    best = suggestions[0]
    return element(
        "section",
        heading,
        element("p", element("b", _capitalised(best["change"])), class_="figure medium"),
        command_box(best["command"]),
        element(
            "dl",
            *(
                element("div", element("dt", name), element("dd", value))
                for name, value in _effects(report, best)
            ),
            class_="effects",
        ),
        class_="answer change",
    )


def other_changes(report: Report) -> Markup:
    """A table of the suggestions after the first, and what was left untried."""
    others, left_out = report["suggestions"][1:], report["suggestions_left_out"]
    if not others and left_out is None:
        return NOTHING
    unjudged = report["measures"]["accuracy"] is None
    profiles = f" ({', '.join(report['costs'])})" if len(report["costs"]) > 1 else ""
    (per_us, time), (per_nj, energy) = _interval_unit(report), _energy_unit(report)
    table = tabulate(
        "other changes",
        others,
        sentences("Change", "change", lambda s: _capitalised(s["change"])),
        numbers("ticks between results", "ticks", lambda s: s["gives"]["interval_ticks"]),
        numbers(
            f"{time} between results{profiles}",
            time,
            lambda s: _lines(s["gives"]["interval_us"], per_us),
        ),
        numbers(
            f"{energy} per sample{profiles}",
            energy,
            lambda s: _lines(s["gives"]["energy_nj"], per_nj),
        ),
        numbers("cores", "cores", lambda s: s["gives"]["num_cores"]),
        names(
            "results" if unjudged else "accuracy, test samples",
            "",
            lambda s: _accuracy(report, s),
        ),
        names("Command", None, lambda s: Command(s["command"])),
    )
    return element(
        "section",
        element("h2", "Other changes"),
        scrolling(table.for_page()) if others else NOTHING,
        NOTHING if left_out is None else element("p", f"{_capitalised(left_out)}.", class_="quiet"),
        class_="answer others",
    )


def _interval_unit(report: Report) -> tuple[float, str]:
    """Units in a microsecond, and their name: those of the card of speed, or else microseconds."""
    return _time_unit([cost["interval_s"] for cost in report["costs"].values()])


def _latency_unit(report: Report) -> tuple[float, str]:
    return _time_unit([cost["first_latency_s"] for cost in report["costs"].values()])


def _time_unit(seconds: Sequence[float]) -> tuple[float, str]:
    scale, unit = time_unit(seconds) if seconds else (1e6, "µs")
    return scale / 1e6, unit


def _energy_unit(report: Report) -> tuple[float, str]:
    """Units in a nanojoule, and their name: those of the card of energy, or else nanojoules."""
    joules = [cost["energy_per_sample_j"] for cost in report["costs"].values()]
    scale, unit = energy_unit(joules) if joules else (1e9, "nJ")
    return scale / 1e9, unit


def _lines(by_profile: dict[str, float], scale: float) -> Lines | None:
    return Lines([scale * value for value in by_profile.values()]) if by_profile else None


def _effects(report: Report, suggestion: SuggestionRecord) -> Iterator[tuple[str, Markup]]:
    """What a suggestion changes: each measure with its unit, and its values before and after."""
    before, after = report["measures"], suggestion["gives"]
    ticks, fewer = before["interval_ticks"], after["interval_ticks"]
    yield "ticks between results", _change(f"{ticks:g}", f"{fewer:g}", fewer < ticks)
    if after["interval_us"]:
        scale, unit = _interval_unit(report)
        times = before["interval_us"], after["interval_us"]
        yield f"{unit} between results", _by_profile(*times, scale)
        scale, unit = _latency_unit(report)
        times = before["first_latency_us"], after["first_latency_us"]
        yield f"{unit} from sample to result", _by_profile(*times, scale)
    if after["energy_nj"]:
        scale, unit = _energy_unit(report)
        yield f"{unit} per sample", _by_profile(before["energy_nj"], after["energy_nj"], scale)
    yield "cores", _numbers(before["num_cores"], after["num_cores"])
    if before["num_chips"] != after["num_chips"]:
        yield "chips", _numbers(before["num_chips"], after["num_chips"])
    yield _judged(before, suggestion), fragment(_accuracy(report, suggestion))


def _judged(before: MeasuresRecord, suggestion: SuggestionRecord) -> str:
    """What stays or changes with the integers."""
    if before["accuracy"] is None:
        return "results"
    return "accuracy" if suggestion["keeps_integers"] else "accuracy, test samples"


def _by_profile(before: dict[str, float], after: dict[str, float], scale: float) -> Markup:
    """One line per cost profile.

    Args:
        scale: from the values to the unit shown.
    """
    several = len(after) > 1
    return fragment(
        *(
            element(
                "span",
                _numbers(scale * before[profile], scale * value),
                element("span", f" {profile}", class_="quiet") if several else NOTHING,
                class_="of-profile",
            )
            for profile, value in after.items()
        )
    )


def _numbers(before: float, after: float) -> Markup:
    return _change(number(before), number(after), after < before)


def _accuracy(report: Report, suggestion: SuggestionRecord) -> str:
    before, after = report["measures"]["accuracy"], suggestion["gives"]["accuracy"]
    if suggestion["keeps_integers"]:
        return "as now, equal spikes"
    if before is None or after is None:
        return "other spikes, not measured"
    function = report["fidelity"] and report["fidelity"]["accuracy_function"]
    return f"{accuracy_number(function, before)} → {accuracy_number(function, after)}"


def _change(before: str, after: str, is_better: bool) -> Markup:
    if before == after:
        return fragment(after, element("span", " as now", class_="quiet"))
    return fragment(before, " → ", element("b", after, class_="better" if is_better else "worse"))


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]
