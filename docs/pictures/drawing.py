"""Elements of the pictures: SVG in a few lines, in colours that a light and a dark page can show.

A picture has a white card behind it, because an image on a page cannot follow the page's theme.
"""

from __future__ import annotations

from collections.abc import Iterable

from deploy.report.markup import Markup, element, join

INK, QUIET, LINE, PALE, CARD = "#17202e", "#566073", "#d8dee7", "#eef1f5", "#ffffff"
BLUE, GREEN, ORANGE, RED, YELLOW = "#2f6db3", "#17703f", "#c2410c", "#b3261e", "#e3a008"
PALE_BLUE, PALE_GREEN, PALE_ORANGE = "#e7f0fa", "#e3f4ea", "#fdf0e8"
SAMPLES = ("#2f6db3", "#7a5aa8", "#2e7d6b", "#9c4f7c", "#5b7f1e", "#8a5a2b")
"""Colours of samples 0, 1, 2, ..."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"


def picture(width: int, height: int, title: str, *parts: Markup, style: str = "") -> str:
    """A whole SVG file.

    Args:
        width, height: in pixels at the size at which it is drawn.
        title: read aloud by screen readers.
        style: rules of CSS, for animations.
    """
    drawn = element(
        "svg",
        element("title", title),
        element("style", Markup(style)) if style else "",
        element(
            "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10, fill=CARD, stroke=LINE
        ),
        join(parts, "\n"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        font_family=FONT,
        font_size=14,
        role="img",
    )
    return f"{drawn}\n"


def group(*parts: Markup, **attributes: object) -> Markup:
    """Parts with attributes in common."""
    return element("g", *parts, **attributes)


def text(x: float, y: float, words: object, **attributes: object) -> Markup:
    """One line of text whose middle is at x; ``anchor`` is ``start`` or ``end`` for the other places."""
    given = {"fill": INK, "text_anchor": attributes.pop("anchor", "middle"), **attributes}
    if given["text_anchor"] == "start":
        del given["text_anchor"]
    return element("text", str(words), x=float(x), y=float(y), **given)


def note(x: float, y: float, words: object, **attributes: object) -> Markup:
    """A smaller, grey line of text."""
    return text(x, y, words, **{"fill": QUIET, "font_size": 12.5, **attributes})


def heading(x: float, y: float, words: object, **attributes: object) -> Markup:
    """The title of a part of a picture."""
    return text(
        x, y, words, **{"font_weight": 600, "font_size": 15, "anchor": "start", **attributes}
    )


def box(x: float, y: float, width: float, height: float, **attributes: object) -> Markup:
    """A rectangle, by its upper left corner."""
    sizes = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    return element("rect", **sizes, **attributes)


def cell(
    x: float,
    y: float,
    width: float,
    height: float,
    words: object,
    colour: str = INK,
    **attributes: object,
) -> Markup:
    """A rectangle with a text in its middle."""
    given = {"fill": PALE, "stroke": LINE, "rx": 3, **attributes}
    size = given.pop("font_size", 14)
    weight = given.pop("font_weight", None)
    middle = y + height / 2 + float(size) * 0.36  # type: ignore[arg-type]
    words = text(x + width / 2, middle, words, fill=colour, font_size=size, font_weight=weight)
    return join([box(x, y, width, height, **given), words])


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line."""
    ends = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return element("line", **ends, **{"stroke": QUIET, "stroke_width": 1.2, **attributes})


def arrow(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line with a head at its end."""
    colour = attributes.get("stroke", QUIET)
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    along, across = (x2 - x1) / length, (y2 - y1) / length
    back_x, back_y = x2 - 8 * along, y2 - 8 * across
    corners = [
        (x2, y2),
        (back_x - 3.5 * across, back_y + 3.5 * along),
        (back_x + 3.5 * across, back_y - 3.5 * along),
    ]
    head = element("polygon", points=_points(corners), fill=colour)
    return join([line(x1, y1, back_x, back_y, **attributes), head])


def polyline(points: Iterable[tuple[float, float]], **attributes: object) -> Markup:
    """Straight lines from point to point."""
    given = {"fill": "none", "stroke": BLUE, "stroke_width": 2, "stroke_linejoin": "round"}
    return element("polyline", points=_points(points), **{**given, **attributes})


def dot(x: float, y: float, radius: float = 3, **attributes: object) -> Markup:
    """A filled circle."""
    return element(
        "circle", cx=float(x), cy=float(y), r=float(radius), **{"fill": BLUE, **attributes}
    )


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{round(x, 2):g},{round(y, 2):g}" for x, y in points)
