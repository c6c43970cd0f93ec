"""A plot of designs by two of their measures, as SVG; ``pareto.js`` makes it interactive where scripts run.

Without its script the plot shows the designs by the first two measures. With it, the reader chooses the axes,
and a click on a design, or an arrow key, shows all of its measures and the command that compiles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import NotRequired

from deploy.report.markup import NOTHING, Markup, element, join, number, script_data

WIDTH, HEIGHT = 720, 420
_PAGE = Path(__file__).parent / "page"
_RIGHT, _TOP, _BOTTOM = 18, 14, 50
_TITLE, _DIGIT = 28, 7.7  # room for the title of the upright axis, and for each digit of its ticks
_LOGARITHMIC = 30
"""An axis is logarithmic if its largest value is more than so many times its smallest."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A measure that designs can be plotted by.

    Attributes:
        key: its field in the measures of a design.
        label: with its unit.
        higher_is_better: otherwise lower is.
        factor: from the field to the unit of the label.
    """

    key: str
    label: str
    higher_is_better: bool = False
    factor: float = 1.0


AXES = (
    Axis(key="accuracy", label="accuracy, %", higher_is_better=True, factor=100),
    Axis(key="interval_us", label="time between results, µs"),
    Axis(key="first_latency_us", label="latency of the first result, µs"),
    Axis(key="energy_nj", label="energy per sample, nJ"),
    Axis(key="num_cores", label="cores"),
    Axis(key="interval_ticks", label="ticks between results"),
    Axis(key="first_latency_ticks", label="ticks to the first result"),
    Axis(key="stall_share", label="stalled, % of ticks", factor=100),
    Axis(key="num_chips", label="chips"),
    Axis(key="num_slots", label="buffer slots"),
)
"""The measures of ``deploy.report.records.MeasuresRecord``."""


class ParetoRecord(TypedDict):
    """A design in the plot.

    Attributes:
        measures: a ``MeasuresRecord``, or values by the keys of the axes; a mapping gives one axis per key
            of its own, such as a cost profile, and their mean.
        on_front: whether no other design is at least as good in every measure and better in one.
        mark: what the design is best in; it is written next to its point.
    """

    label: str
    command: str
    measures: Mapping[str, Any]
    on_front: bool
    mark: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class _Column:
    """The values of one measure, one per design; None if it was not measured."""

    label: str
    higher_is_better: bool
    values: list[float | None]

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if value is not None]


def pareto_style() -> str:
    """The style sheet of the plot, for pages of any style; it uses their colours where they have some."""
    return (_PAGE / "styles" / "pareto.css").read_text(encoding="utf-8")


def pareto_script() -> str:
    """The script that makes all plots of a page interactive; it loads nothing."""
    return (_PAGE / "scripts" / "pareto.js").read_text(encoding="utf-8")


def pareto_plot(
    designs: Sequence[ParetoRecord],
    *,
    identifier: str = "pareto",
    axes: Sequence[Axis] = AXES,
    x: str = "interval_us",
    y: str = "accuracy",
) -> Markup:
    """The plot of designs as a figure; nothing if fewer than two measures differ among the designs.

    Args:
        identifier: of the figure in its page.
        x, y: keys of the axes that are shown first, if the designs differ in them.
    """
    columns = _columns(designs, axes)
    shown = [index for index, column in enumerate(columns.values()) if len(set(column.known)) > 1]
    if len(shown) < 2:
        return NOTHING
    keys = list(columns)
    across = next((i for i in shown if keys[i] == x), shown[0])
    up = next((i for i in shown if keys[i] == y and i != across), None)
    up = next(i for i in shown if i != across) if up is None else up
    document = {
        "axes": [
            {"label": c.label, "higher": c.higher_is_better, "shown": index in shown}
            for index, c in enumerate(columns.values())
        ],
        "designs": [
            {
                "label": d["label"],
                "command": d["command"],
                "front": d["on_front"],
                "mark": d.get("mark", ""),
                "values": [column.values[index] for column in columns.values()],
            }
            for index, d in enumerate(designs)
        ],
        "x": across,
        "y": up,
    }
    every = list(columns.values())
    num_front = sum(d["on_front"] for d in designs)
    num_others = len(designs) - num_front
    return element(
        "figure",
        element("div", class_="pareto-controls"),
        element("div", _drawing(designs, every[across], every[up]), class_="pareto-drawing"),
        element(
            "figcaption",
            element("span", class_="pareto-key front"),
            f"{num_front:,} on the Pareto front: no other design is as good in every measure ",
            _key_of_others(num_others) if num_others else NOTHING,
            element("span", class_="pareto-key line"),
            "best of the two measures shown",
        ),
        element("div", class_="pareto-chosen", aria_live="polite"),
        element("script", script_data(document), type="application/json", class_="pareto-data"),
        class_="pareto",
        id=identifier,
    )


def _key_of_others(number_of: int) -> Markup:
    words = f"{number_of:,} other{'s' * (number_of > 1)} "
    return join([element("span", class_="pareto-key"), words])


def _columns(designs: Sequence[ParetoRecord], axes: Sequence[Axis]) -> dict[str, _Column]:
    """All measures that any design has, in the order of the axes, by the key of the axis."""
    columns = {}
    for axis in axes:
        given = [design["measures"].get(axis.key) for design in designs]
        columns[axis.key] = _column(axis, axis.label, map(_mean, given))
        profiles = {name: None for value in given if isinstance(value, Mapping) for name in value}
        if len(profiles) == 1 and all(isinstance(value, Mapping) for value in given):
            (profile,) = profiles
            columns[axis.key] = _column(axis, f"{axis.label} ({profile})", map(_mean, given))
        elif profiles:
            columns[axis.key] = _column(axis, f"{axis.label} (mean of profiles)", map(_mean, given))
            for profile in profiles:
                values = (v.get(profile) if isinstance(v, Mapping) else None for v in given)
                columns[f"{axis.key} {profile}"] = _column(
                    axis, f"{axis.label} ({profile})", values
                )
    return {key: column for key, column in columns.items() if column.known}


def _column(axis: Axis, label: str, values: Iterable[Any]) -> _Column:
    scaled = [None if value is None else float(value) * axis.factor for value in values]
    return _Column(label=label, higher_is_better=axis.higher_is_better, values=scaled)


def _mean(value: Any) -> float | None:
    """A value, or the mean of one that is by cost profile."""
    if isinstance(value, Mapping):
        return sum(value.values()) / len(value) if value else None
    return None if value is None else float(value)


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Values to places on the page, linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = log10(value), log10(low), log10(high)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values on the scale."""
        if self.logarithmic:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            found = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
        else:
            step = 10.0 ** floor(log10((self.high - self.low) / 5))
            step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (step * f) <= 7)
            first = ceil(self.low / step)
            found = [step * (first + index) for index in range(9)]
        return [tick for tick in found if self.low <= tick <= self.high]


def _scale(values: Sequence[float], start: float, stop: float) -> _Scale:
    """A scale with a margin on either side."""
    low, high = min(values), max(values)
    if low > 0 and high > _LOGARITHMIC * low:
        margin = (high / low) ** 0.04
        return _Scale(
            low=low / margin, high=high * margin, logarithmic=True, start=start, stop=stop
        )
    margin = 0.05 * (high - low) or 1.0
    return _Scale(low=low - margin, high=high + margin, logarithmic=False, start=start, stop=stop)


def _drawing(designs: Sequence[ParetoRecord], across: _Column, up: _Column) -> Markup:
    """The plot without a script."""
    y = _scale(up.known, HEIGHT - _BOTTOM, _TOP)
    longest = max((len(number(tick)) for tick in y.ticks), default=0)
    left = max(56, _TITLE + longest * _DIGIT + 8)
    x = _scale(across.known, left, WIDTH - _RIGHT)
    points = [
        (design, a, b)
        for design, a, b in zip(designs, across.values, up.values, strict=True)
        if a is not None and b is not None
    ]
    parts = [
        part
        for tick in x.ticks
        for part in (
            element("line", x1=x(tick), x2=x(tick), y1=_TOP, y2=HEIGHT - _BOTTOM, class_="grid"),
            element("text", number(tick), x=x(tick), y=HEIGHT - _BOTTOM + 18, class_="tick across"),
        )
    ]
    for tick in y.ticks:
        parts += [
            element("line", x1=left, x2=WIDTH - _RIGHT, y1=y(tick), y2=y(tick), class_="grid"),
            element("text", number(tick), x=left - 8, y=y(tick) + 4, class_="tick up"),
        ]
    middle = (HEIGHT - _BOTTOM + _TOP) / 2
    parts += [
        element("text", across.label, x=(WIDTH + left) / 2, y=HEIGHT - 8, class_="name"),
        element("text", up.label, transform=f"translate(14 {middle:g}) rotate(-90)", class_="name"),
    ]
    line = best_of_two([(a, b) for _, a, b in points], across.higher_is_better, up.higher_is_better)
    path = "".join(
        f"H{x(points[i][1]):.1f}V{y(points[i][2]):.1f}"
        if order
        else f"M{x(points[i][1]):.1f} {y(points[i][2]):.1f}"
        for order, i in enumerate(line)
    )
    parts.append(element("path", d=path, class_="best"))
    for design, a, b in sorted(points, key=lambda point: point[0]["on_front"]):
        front = design["on_front"]
        title = element("title", design["label"])
        parts.append(
            element(
                "circle",
                title,
                cx=x(a),
                cy=y(b),
                r=4.5 if front else 2.5,
                class_="front" if front else "other",
            )
        )
    label = f"{len(points):,} designs by {across.label} and {up.label}"
    return element(
        "svg", join(parts), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label
    )


def best_of_two(
    points: Sequence[tuple[float, float]], higher_across: bool, higher_up: bool
) -> list[int]:
    """Indices of the points that no other beats in two measures, in the order of the first, best first."""
    signs = (-1 if higher_across else 1, -1 if higher_up else 1)
    order = sorted(
        range(len(points)), key=lambda i: (signs[0] * points[i][0], signs[1] * points[i][1], i)
    )
    best: list[int] = []
    for index in order:
        if not best or signs[1] * points[index][1] < signs[1] * points[best[-1]][1]:
            best.append(index)
    return best
