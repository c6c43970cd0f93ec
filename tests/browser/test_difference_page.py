"""The comparison of two builds in a browser: the page of ``report --diff --out``."""

from __future__ import annotations

import copy

import pytest
from page_checks import SCHEMES, opened, screenshot_folder

from deploy.report.difference.difference import Side, difference
from deploy.report.difference.page import render_difference

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(digits_page, tmp_path_factory):
    """Two builds that differ in figures and texts, and in a population and its edges."""
    other = copy.deepcopy(digits_page.document)
    other["pipeline"]["interval_ticks"] *= 2
    other["pipeline"]["explanation"] = "a limit that takes many words to explain, " * 5
    for cost in other["costs"].values():
        cost["energy_per_sample_j"] /= 3
    other["populations"][1]["timesteps"] += 1
    other["synapses"][0]["target"] = "a.population.with.a.rather.long.name.in.its.module"
    sides = (
        Side(folder=name, report=r, digests={})
        for name, r in zip("ab", (digits_page.document, other), strict=True)
    )
    page = tmp_path_factory.mktemp("difference") / "diff.html"
    page.write_text(render_difference(difference(*sides)), encoding="utf-8")
    return page


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_window(browser, path, width):
    with opened(browser, path, width=width) as shown:
        shown.show_all()
        for check in ("outside()", "cut()"):
            assert shown.faults(check) == []
        assert (shown.complaints, shown.requests) == ([], [path.as_uri()])


def test_it_is_accessible_in_both_themes(browser, path, tmp_path):
    folder = screenshot_folder(tmp_path)
    for scheme in SCHEMES:
        with opened(browser, path, scheme=scheme) as shown:
            shown.photograph(folder / f"difference-{scheme}.png", full=False)
            shown.show_all()
            assert shown.accessibility_faults() == []


def test_better_and_worse_are_told_in_words_and_colour(browser, path):
    with opened(browser, path) as shown:
        colours = {}
        for verdict in ("better", "worse"):
            found = shown.page.locator(f".{verdict}").first
            assert found.inner_text().endswith(verdict)
            colours[verdict] = found.evaluate("element => getComputedStyle(element).color")
        assert colours["better"] != colours["worse"]
