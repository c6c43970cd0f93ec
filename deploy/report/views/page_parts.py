"""What every interactive view consists of, and the style and script that a page includes once for all views.

A view is a figure that is readable as it is: its *still* is shown on paper and where no script runs. A script
of the same name reads the view's data and puts a *live* part in its place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.report.markup import Markup, element

_FOLDER = Path(__file__).parent
SCRIPTS = ("common", "timeline", "heat_map", "stall_steps", "activity_map")
"""Scripts in the order in which a page runs them."""

SAMPLE_COLOURS = 8
HEAT_COLOURS = 10


def views_style() -> str:
    """The style sheet of all views; it uses the page's colours where it has some."""
    return (_FOLDER / "views.css").read_text(encoding="utf-8")


def views_script() -> str:
    """The script that makes the views of a page interactive; it loads nothing, and leaves no global names."""
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['(() => {\n"use strict";', *parts, "})();\n"])


def view(name: str, data: Any, *still: object, caption: object) -> Markup:
    """A figure that the script of a name makes interactive.

    Args:
        name: of the script's view.
        data: what the script needs, as plain containers.
        still: shown on paper, and where no script runs.
        caption: what the picture shows, for all readers.
    """
    return element(
        "figure",
        element("figcaption", caption),
        element("div", *still, class_="still"),
        data_block(data),
        class_=f"view view-{name}",
        data_view=name,
    )


def data_block(data: Any) -> Markup:
    """Data for a script, as JSON in which no markup can end or begin."""
    text = json.dumps(data, separators=(",", ":"))
    safe = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return element("script", Markup(safe), type="application/json")


def heat_legend(low: object, high: object) -> Markup:
    """The ten colours of a scale, with its ends."""
    swatches = (element("i", class_=f"heat-{n}") for n in range(HEAT_COLOURS))
    return element(
        "span", element("span", low), element("span", *swatches, class_="ramp"), element("span", high),
        class_="scale",
    )  # fmt: skip
