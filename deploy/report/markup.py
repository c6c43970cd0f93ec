"""HTML and SVG elements from plain values; text is escaped unless it is already markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = frozenset({"br", "col", "hr", "meta"})


class Markup(str):
    """Text that is already HTML and is not escaped again."""

    __slots__ = ()


NOTHING = Markup("")
"""A section without data."""


def text(value: object) -> Markup:
    """Any value as escaped text; characters that UTF-8 cannot hold are replaced."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(str(value).encode("utf-8", "replace").decode("utf-8")))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Parts one after another."""
    return Markup(text(separator).join(text(part) for part in parts))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """``<name attributes>children</name>``.

    Args:
        attributes: ``class_`` becomes ``class`` and ``stroke_width`` ``stroke-width``; None is left out,
            floats are rounded to a hundredth.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _short(value: object) -> object:
    return f"{round(value, 2):g}" if isinstance(value, float) else value


def number(value: object) -> str:
    """A number with separated thousands and about four digits; any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == int(value):
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:,.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def per_cent(share: float) -> str:
    """A share of 1 in whole per cent; a small share is ``<1 %``, never 0 %."""
    if 0 < share < 0.005:
        return "<1 %"
    return f"{share:.0%}".replace("%", " %")


def shape_text(shape: Iterable[int]) -> str:
    """``16×8×8``; a vector of n x 1 x 1 is ``n``."""
    sizes = list(shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return "×".join(map(str, sizes))


def shortened(name: str, most: int) -> str:
    """A text cut to a number of characters; callers put the whole text in a title."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def section(
    anchor: str, heading: str, standing: str | None, basis: str | None, *children: object
) -> Markup:
    """A titled part of the page.

    Args:
        standing: ``exact`` or ``estimate``.
        basis: what its figures describe, the run shown or the steady state, and the samples measured.
    """
    badge = "" if standing is None else element("span", standing, class_="standing")
    note = "" if basis is None else element("span", basis, class_="basis")
    return element("section", element("h2", heading, " ", badge, " ", note), *children, id=anchor)


def scrolling(*children: object) -> Markup:
    """A box that scrolls sideways on a screen and shrinks on paper."""
    return element("div", *children, class_="scroll", tabindex="0")


def details(summary: str, *children: object) -> Markup:
    """A part that a click opens; wide parts scroll sideways."""
    return element("details", element("summary", summary), scrolling(*children))
