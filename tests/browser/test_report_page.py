"""The report as a browser shows it: on every screen, in print, without a mouse and without a script."""

from __future__ import annotations

import os

import pytest
from page_checks import SCHEMES, SCREENSHOTS, WIDTHS, opened, screenshot_folder

pytestmark = pytest.mark.browser

MOST_BYTES = 5_000_000
MOST_LOAD_MS = 3_000
LEAST_LETTERS_PX = 9
_PAPER_WIDTH = 794  # A4


def test_it_loads_at_once_and_asks_for_nothing(browser, report_page):
    assert report_page.path.stat().st_size < MOST_BYTES
    with opened(browser, report_page.path) as shown:
        shown.show_all()
        assert shown.complaints == []
        assert shown.requests == [report_page.path.as_uri()]
        load = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        assert shown.page.evaluate(load) < MOST_LOAD_MS


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_leaves_the_window_or_is_cut(browser, report_page, width):
    """The layer graph names each population, and no part of it scrolls sideways."""
    with opened(browser, report_page.path, width=width) as shown:
        shown.show_all()
        for check in ("outside()", "cut()", "overlapping()", f"small({LEAST_LETTERS_PX})"):
            assert shown.faults(check) == []
        if report_page.document is None:
            return
        assert not [part for part in shown.faults("scrollers()") if part.endswith("in #graph")]
        graph = shown.page.locator("#graph").inner_text().replace("\u200b", "")
        assert all(p["name"] in graph for p in report_page.document["populations"])


@pytest.mark.parametrize(("width", "scheme"), [(WIDTHS[0], "light"), (1280, "dark")])
def test_it_is_accessible(browser, report_page, width, scheme):
    with opened(browser, report_page.path, width=width, scheme=scheme) as shown:
        shown.show_all()
        assert shown.accessibility_faults() == []
        assert shown.faults("faint()") == []


def test_the_keyboard_reaches_every_control(browser, report_page):
    with opened(browser, report_page.path) as shown:
        assert shown.keyboard_faults() == []


@pytest.mark.slow
def test_every_control_answers_to_its_key(browser, report_page):
    with opened(browser, report_page.path) as shown:
        assert shown.dead_controls() == []


def test_arrow_keys_walk_through_the_tabs(browser, report_page):
    with opened(browser, report_page.path) as shown:
        tabs = shown.page.get_by_role("tab")
        panels = {tab.get_attribute("aria-controls") for tab in tabs.all()}
        assert len(panels) == tabs.count()
        if tabs.count():
            tabs.first.focus()
        for _ in panels:
            shown.page.keyboard.press("ArrowRight")
            chosen = shown.page.locator(":focus").get_attribute("aria-controls")
            seen = {p for p in panels if shown.page.locator(f"[id='{p}']").is_visible()}
            assert seen == {chosen}


def test_all_is_readable_on_paper_and_without_scripts(browser, report_page):
    """What the tabs and details hold, but for hints on what scripts do."""
    with opened(browser, report_page.path, java_script_enabled=False) as shown:
        shown.open_details()
        assert shown.faults("hiddenWords()") == []
        assert shown.faults("outside()") == []
    with opened(browser, report_page.path) as shown:
        shown.page.emulate_media(media="print")
        shown.resize(_PAPER_WIDTH)
        assert shown.faults("hiddenSections()") == []
        assert shown.faults("outside()") == []
        assert shown.faults("scrollers()") == []


def test_nothing_moves_where_less_motion_is_asked_for(browser, report_page):
    with opened(browser, report_page.path, reduced_motion="reduce") as shown:
        shown.show_all()
        assert shown.faults("moving()") == []


@pytest.mark.slow
@pytest.mark.skipif(
    SCREENSHOTS not in os.environ, reason=f"{SCREENSHOTS} names no folder for the pictures"
)
def test_screenshots_for_people(browser, report_page, tmp_path):
    """Of the first screen, of each tab, and of the paper."""
    folder = screenshot_folder(tmp_path)
    taken = []

    def photograph(shown, name, *, full=True):
        taken.append(folder / f"{report_page.name}-{name}.png")
        shown.photograph(taken[-1], full=full)

    for scheme in SCHEMES:
        for width in (390, 1280):
            with opened(browser, report_page.path, width=width, scheme=scheme) as shown:
                photograph(shown, f"{width}-{scheme}-first-screen", full=False)
                for tab in shown.tabs():
                    photograph(shown, f"{width}-{scheme}-{tab.lower().replace(' ', '-')}")
    with opened(browser, report_page.path, width=_PAPER_WIDTH) as shown:
        shown.page.emulate_media(media="print")
        photograph(shown, "paper")
    assert all(path.stat().st_size > 5_000 for path in taken)
