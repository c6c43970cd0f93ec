"""Bars that fill the width they are given, so that the text next to them stays readable."""

from __future__ import annotations

from deploy.report.markup import Markup, element


def meter(share: float) -> Markup:
    """A bar of which a share, 0 to 1, is filled; the text next to it says how much."""
    return element(
        "svg",
        element("rect", width="100%", height="100%", class_="track"),
        element("rect", width=f"{100 * min(share, 1):.2f}%", height="100%", class_="busy"),
        class_="meter",
        aria_hidden="true",
    )
