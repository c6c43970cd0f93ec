"""Curves of a training run: a panel per measure, over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.report.markup import Markup, element, join

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _BETWEEN = 300.0, 150.0, 40.0, 26.0, 20.0, 24.0
_ACCENT = "#2f7fd0"
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One measure over epochs.

    Attributes:
        form: of the numbers at the axis, such as ``.0%``.
        values: the curve that stands out.
        others: curves in the background, by name.
    """

    title: str
    form: str
    values: Sequence[float]
    others: Mapping[str, Sequence[float]]


def draw_curves(panels: Sequence[Panel]) -> Markup:
    """Panels side by side."""
    width = len(panels) * (_WIDTH + _BETWEEN) - _BETWEEN
    return element(
        "svg",
        *(
            element("g", _panel(panel), transform=f"translate({i * (_WIDTH + _BETWEEN):g} 0)")
            for i, panel in enumerate(panels)
        ),
        viewBox=f"0 0 {width:g} {_HEIGHT + _TOP + _BOTTOM:g}",
        width=f"{width:g}",
        role="img",
        aria_label=", ".join(panel.title for panel in panels) + " over epochs",
        style=f"max-width:100%;height:auto;display:block;font-family:{_FONT};font-size:12px",
    )


def _panel(panel: Panel) -> Markup:
    curves = [panel.values, *panel.others.values()]
    low, high = min(map(min, curves)), max(map(max, curves))
    if low == high:
        low, high = low - 0.5, high + 0.5
    num = len(panel.values)

    def points(values: Sequence[float]) -> str:
        places = (
            (
                _LEFT + (_WIDTH - _LEFT) * (i / (num - 1) if num > 1 else 0.5),
                _TOP + _HEIGHT * (1 - (value - low) / (high - low)),
            )
            for i, value in enumerate(values)
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    parts = [element("text", panel.title, x=_LEFT, y=14, fill="currentColor", font_weight=600)]
    for value, y in ((high, _TOP), ((low + high) / 2, _TOP + _HEIGHT / 2), (low, _TOP + _HEIGHT)):
        parts += [
            element(
                "line", x1=_LEFT, x2=_WIDTH, y1=y, y2=y, stroke="currentColor", stroke_width=0.7,
                stroke_opacity=0.22,
            ),
            element(
                "text", format(value, panel.form), x=_LEFT - 6, y=y + 4, text_anchor="end",
                fill="currentColor", fill_opacity=0.78,
            ),
        ]  # fmt: skip
    for anchor, x, epoch in (("start", _LEFT, "1"), ("end", _WIDTH, f"{num} epochs")):
        parts.append(
            element(
                "text", epoch, x=x, y=_TOP + _HEIGHT + 16, text_anchor=anchor,
                fill="currentColor", fill_opacity=0.78,
            )
        )  # fmt: skip
    parts += [
        element(
            "polyline", element("title", name), points=points(values), fill="none",
            stroke="currentColor", stroke_width=1.2, stroke_opacity=0.35,
        )
        for name, values in panel.others.items()
    ]  # fmt: skip
    parts.append(
        element(
            "polyline", points=points(panel.values), fill="none", stroke=_ACCENT, stroke_width=2.2,
        )
    )  # fmt: skip
    return join(parts)
