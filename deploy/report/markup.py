"""HTML and SVG elements from plain values; text is escaped unless it is already markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolchain.printable import printable

VOID = frozenset({"br", "col", "hr", "link", "meta", "wbr"})


class Markup(str):
    """Text that is already HTML and is not escaped again."""

    __slots__ = ()


_SPACES = "\n\t\u00a0"
"""White space that does not print, but is plain text on a page."""

NOTHING = Markup("")
"""A section without data."""


def text(value: object) -> Markup:
    """Any value as escaped text, with codes for characters that do not print."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(printable(value, keep=_SPACES)))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Parts one after another."""
    return Markup(text(separator).join(text(part) for part in parts))


def fragment(*children: object) -> Markup:
    """Elements one after another, in no element of their own."""
    return join(children)


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


def data_block(anchor: str, data: object) -> Markup:
    """Plain data for a script of the page: ``JSON.parse(document.getElementById(anchor).textContent)``."""
    return element("script", script_data(data), type="application/json", id=anchor)


def script_data(data: object) -> Markup:
    """Plain data as JSON for a script element.

    No text in it can end the element: ``<``, ``>`` and ``&`` are written as codes. So are characters that
    do not print.
    """
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    if "\\" in written:
        written = json.dumps(_printable(data), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)


def _printable(data: Any) -> Any:
    if isinstance(data, str):
        return printable(data, keep=_SPACES)
    if isinstance(data, Mapping):
        return {_printable(key): _printable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_printable(value) for value in data]
    return data


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


def time_unit(seconds: Iterable[float]) -> tuple[float, str]:
    """Units in a second, and their name: microseconds, or milliseconds if a time is 0.1 s or longer."""
    return (1e6, "µs") if max(seconds) < 0.1 else (1e3, "ms")


def energy_unit(joules: Iterable[float]) -> tuple[float, str]:
    """Units in a joule, and their name: the largest of which the largest energy is at least one."""
    most, units = max(joules), ((1.0, "J"), (1e3, "mJ"), (1e6, "µJ"), (1e9, "nJ"))
    return next(u for u in units if most * u[0] >= 1 or u is units[-1])


def time_texts(seconds: Sequence[float]) -> tuple[list[str], str]:
    """Times as numerals, and their unit."""
    scale, unit = time_unit(seconds)
    return [_three_digits(value * scale) for value in seconds], unit


def energy_texts(joules: Sequence[float]) -> tuple[list[str], str]:
    """Energies as numerals, and their unit."""
    scale, unit = energy_unit(joules)
    return [_three_digits(value * scale) for value in joules], unit


def _three_digits(value: float) -> str:
    """A number with three digits, or all that it has in front of the point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def shape_text(shape: Iterable[int]) -> str:
    """``16×8×8``; a vector of n x 1 x 1 is ``n``."""
    sizes = list(shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return "×".join(map(str, sizes))


def shortened(name: str, most: int) -> str:
    """A text cut to a number of characters; callers put the whole text in a title."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after a dot, underscore or slash, but not within a number."""
    places = r"(?<!\d)[._/](?=\w)|[._/](?=[^\W\d_])"
    return Markup(re.sub(places, r"\g<0><wbr>", text(name)))


def scrolling(*children: object) -> Markup:
    """A box that scrolls sideways on a screen and shrinks on paper."""
    return element("div", *children, class_="scroll", tabindex="0")


def details(summary: str, *children: object) -> Markup:
    """A part that a click opens; wide parts scroll sideways."""
    return element("details", element("summary", summary), scrolling(*children))


def command_box(command: str) -> Markup:
    """A command to type, broken before options and at arrows, with a button that copies it."""
    arrow = element("span", "->")
    options = (
        element("span", join(option.split("->"), arrow)) for option in re.split(r" (?=-)", command)
    )
    label = f"Copy the command {command}"
    return element(
        "div",
        element("code", join(options, " "), tabindex="0"),
        element("button", "Copy", type="button", class_="copy scripted-only", aria_label=label),
        class_="command",
    )
