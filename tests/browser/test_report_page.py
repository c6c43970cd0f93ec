"""The report as a browser shows it: on every screen, in print, without a mouse and without a script."""

from __future__ import annotations

import pytest
from page_checks import SCHEMES, WIDTHS, opened, screenshot_folder, words

pytestmark = pytest.mark.browser

MOST_BYTES = 5_000_000
MOST_LOAD_MS = 3_000
LEAST_LETTERS_PX = 9


def test_it_loads_at_once_and_asks_for_nothing(browser, report_page):
    assert report_page.path.stat().st_size < MOST_BYTES
    with opened(browser, report_page.path) as shown:
        for _ in shown.parts():
            pass
        assert shown.complaints == []
        assert shown.requests == [report_page.path.as_uri()]
        load = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        assert shown.page.evaluate(load) < MOST_LOAD_MS


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_leaves_the_window_or_is_cut(browser, report_page, width):
    with opened(browser, report_page.path, width=width) as shown:
        for check in ("outside()", "cut()", "overlapping()", f"small({LEAST_LETTERS_PX})"):
            assert shown.faults_of_parts(check) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_layer_graph_is_whole_without_scrolling(browser, report_page, width):
    """Each population is in it, in view as the window is that wide, and no part of it scrolls sideways."""
    with opened(browser, report_page.path, width=width) as shown:
        graph = "#graph"
        for _ in shown.parts():
            if shown.page.locator(graph).is_visible():
                break
        assert shown.page.locator(graph).is_visible()
        text = shown.page.locator(f"{graph} svg").all_text_contents()
        for population in report_page.document["populations"]:
            assert any(population["name"] in part for part in text)
        assert not [s for s in shown.faults("scrollers()") if s.endswith("in #graph")]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_accessible(browser, report_page, scheme):
    with opened(browser, report_page.path, scheme=scheme) as shown:
        assert shown.accessibility_faults() == []
        for _ in shown.parts():
            shown.make_as_tall_as_the_page()
            assert shown.faults("faint()") == []


def test_it_is_accessible_on_a_phone(browser, report_page):
    with opened(browser, report_page.path, width=WIDTHS[0]) as shown:
        assert shown.accessibility_faults() == []


def test_every_control_answers_to_the_keyboard(browser, report_page):
    with opened(browser, report_page.path) as shown:
        assert shown.keyboard_faults() == []
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
            focused = shown.page.locator(":focus")
            focused.press("Enter")
            chosen = focused.get_attribute("aria-controls")
            shown_panels = {p for p in panels if shown.page.locator(f"[id='{p}']").is_visible()}
            assert shown_panels == {chosen}


def test_print_and_a_page_without_scripts_show_all(browser, report_page):
    """Whatever a reader finds behind tabs and details is on paper, and there without JavaScript."""
    with opened(browser, report_page.path) as shown:
        on_screen = set()
        for _ in shown.parts():
            on_screen |= words(shown.page.locator("main, body").first.inner_text())
        shown.page.reload()
        shown.page.emulate_media(media="print")
        on_paper = words(shown.page.locator("body").inner_text())
        assert on_screen - on_paper == set()
    with opened(browser, report_page.path, java_script_enabled=False) as shown:
        readable = words(shown.page.locator("body").inner_text())
        assert on_screen - readable == set()
        assert shown.faults("outside()") == []


def test_nothing_moves_where_less_motion_is_asked_for(browser, report_page):
    with opened(browser, report_page.path, reduced_motion="reduce") as shown:
        assert shown.faults_of_parts("moving()") == []


def test_screenshots_for_people(browser, report_page, tmp_path):
    folder = screenshot_folder(tmp_path)
    taken = []
    for scheme in SCHEMES:
        for width in (390, 1280):
            with opened(browser, report_page.path, width=width, scheme=scheme) as shown:
                name = f"{report_page.name}-{width}-{scheme}"
                if width == 1280:
                    taken.append(folder / f"{name}-first-screen.png")
                    shown.photograph(taken[-1], full=False)
                for number, _ in enumerate(shown.parts()):
                    taken.append(folder / f"{name}-part-{number}.png")
                    shown.photograph(taken[-1], full=True)
    assert all(path.stat().st_size > 5_000 for path in taken)
