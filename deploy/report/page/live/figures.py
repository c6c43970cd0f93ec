"""The figure of an interactive view.

Its *still* is shown on paper and where no script runs. A script reads the view's data and puts a *live* part
in its place; ``page/scripts/live.js`` has what these scripts share.
"""

from __future__ import annotations

from deploy.report.markup import NOTHING, Markup, data_block, element

SHARED_SCRIPT = "live.js"
"""Comes before the script of each view."""

HEAT_COLOURS = 10


def live_figure(
    name: str, data: object, *still: object, caption: object, legend: Markup = NOTHING
) -> Markup:
    """A figure that the script of a view makes interactive.

    Args:
        name: of the view, unique in the page.
        data: what the script needs, as plain containers.
        still: shown on paper, and where no script runs; without it, the script adds to the legend.
        caption: what the picture shows, for all readers.
        legend: of the colours, for both pictures.
    """
    return element(
        "figure",
        element("figcaption", caption),
        legend,
        element("div", *still, class_="still") if still else NOTHING,
        data_block(f"{name}-data", data),
        class_=f"live-figure {name}",
        data_view=name,
    )


def heat_legend(low: object, high: object) -> Markup:
    """The ten colours of a scale, with its ends."""
    swatches = (element("i", class_=f"heat-{n}") for n in range(HEAT_COLOURS))
    return element(
        "span", element("span", low), element("span", *swatches, class_="ramp"), element("span", high),
        class_="scale",
    )  # fmt: skip
