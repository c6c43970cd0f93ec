"""The difference of two builds as tables and sentences, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.report.difference.difference import (
    Difference,
    FigureDifference,
    LoneRecord,
    Value,
)
from deploy.report.markup import number
from deploy.report.tables import Judged, Table, names, numbers, sentences, tabulate

_MOST_DIGITS = 17  # of a float that is written exactly
_ROUNDED_DIGITS = 12
_LONGEST_VALUE = 14


def part_tables(document: Difference, part: str) -> list[Table]:
    """The figures of a part that differ: a table of values, and one of longer texts, if there are any."""
    found = [f for f in document["differing"] if f["part"] == part]
    values = [f for f in found if not _is_long(f)]
    texts = [f for f in found if _is_long(f)]
    tables = [_values_table(part, values)] if values else []
    return [*tables, _texts_table(f"{part}: what is said", texts)] if texts else tables


def _is_long(found: FigureDifference) -> bool:
    return any(len(value) > _LONGEST_VALUE for value in shown_values(found))


def _values_table(title: str, found: Sequence[FigureDifference]) -> Table:
    table = tabulate(
        title,
        found,
        sentences("Figure", "figure", _name),
        numbers("A", "A", lambda f: shown_values(f)[0]),
        numbers("B", "B", lambda f: shown_values(f)[1]),
        numbers("Change", "change", lambda f: Judged(change_text(f), f["verdict"])),
    )
    return table if any(map(change_text, found)) else table.only("Figure", "A", "B")


def _texts_table(title: str, found: Sequence[FigureDifference]) -> Table:
    return tabulate(
        title,
        found,
        sentences("Figure", "figure", _name),
        sentences("A", "A", lambda f: shown_values(f)[0]),
        sentences("B", "B", lambda f: shown_values(f)[1]),
    )


def only_in_one_table(document: Difference) -> Table:
    """Populations, edges and so on that one of the builds does not have."""
    return tabulate(
        "In one build only",
        document["only_in_one"],
        sentences("Name", "name", lambda lone: lone["of"]),
        names("Only in", "only in", lambda lone: lone["only_in"].upper()),
        sentences("Part", "part", lambda lone: lone["part"]),
        sentences("Figures", "figures", _figures_text),
    )


def same_sentence(document: Difference) -> str:
    """What the files of both builds hold alike, and what not."""
    same = [what for what, is_same in document["same"].items() if is_same]
    other = [what for what, is_same in document["same"].items() if not is_same]
    parts = [f"equal: {', '.join(same)}"] if same else []
    parts += [f"different: {', '.join(other)}"] if other else []
    return f"files (SHA-256): {'; '.join(parts)}"


def equal_sentence(document: Difference) -> str:
    """How many figures do not differ, in one line."""
    counts = {part: count for part, count in document["equal"].items() if count}
    total = sum(counts.values())
    if is_equal(document):
        return f"no figure differs: all {total:,} are equal"
    listed = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    return f"{total:,} figures are equal: {listed}"


def is_equal(document: Difference) -> bool:
    """Whether no figure differs."""
    return not document["differing"] and not document["only_in_one"]


def verdict_sentence(document: Difference) -> str:
    """How many figures differ, and how many of these are better or worse."""
    verdicts = [found["verdict"] for found in document["differing"]]
    return (
        f"{len(verdicts):,} figures differ: {verdicts.count('better'):,} better in B, "
        f"{verdicts.count('worse'):,} worse, {verdicts.count('neither'):,} neither"
    )


def shown_values(found: FigureDifference) -> tuple[str, str]:
    """Both values with as many digits as it takes to tell them apart."""
    a, b = _value(found["a"]), _value(found["b"])
    if a != b or isinstance(found["a"], str) or isinstance(found["b"], str):
        return a, b
    for digits in range(5, _MOST_DIGITS + 1):
        a, b = (f"{value:,.{digits}g}" for value in (found["a"], found["b"]))
        if a != b:
            break
    return a, b


def change_text(found: FigureDifference) -> str:
    """The absolute change with its sign, and the relative one; a share of 100 % changes by points."""
    change, relative = found["change"], found["relative"]
    if change is None:
        return ""
    sign = "+" if change > 0 else "-"
    absolute = f"{sign}{number(abs(change))}"
    if found["unit"] == "%":
        return f"{absolute} points"
    if relative is None:
        return absolute
    return f"{absolute} ({sign}{_short_per_cent(abs(relative))})"


def _short_per_cent(share: float) -> str:
    return f"{share * 100:,.0f} %" if share >= 1 else f"{share * 100:.3g} %"


def _name(found: FigureDifference) -> str:
    unit = f", {found['unit']}" if found["unit"] else ""
    figure = f"{found['figure']}{unit}"
    return ": ".join(part for part in (found["of"], figure) if part)


def _value(value: Value) -> str:
    if isinstance(value, float):
        value = float(f"{value:.{_ROUNDED_DIGITS}g}")  # 45 % rather than 45.00000000000001 %
    return "none" if value is None else number(value)


def _figures_text(lone: LoneRecord) -> str:
    return ", ".join(f"{name} {_value(value)}".strip() for name, value in lone["figures"].items())
