"""The page of an exploration as a browser shows it."""

from __future__ import annotations

import pytest
from page_checks import opened

from deploy.explore.explore_model import ExploreOptions, explore_model
from deploy.explore.space import Vary

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def explored(trained, tmp_path_factory):
    """(record, page) of eight designs."""
    out = tmp_path_factory.mktemp("explored") / "explore"
    vary = {Vary.SLOTS: None, Vary.WEIGHT_BITS: [4]}
    return explore_model(trained[1], out, ExploreOptions(vary=vary)), out / "explore.html"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "light"), (1280, "dark")])
def test_it_fits_every_screen_and_is_accessible(browser, explored, width, scheme):
    with opened(browser, explored[1], width=width, scheme=scheme) as shown:
        shown.open_details()
        shown.page.locator("ul.best button").first.click()
        for check in ("outside()", "cut()", "overlapping()", "small(9)", "faint()"):
            assert shown.faults(check) == [], check
        assert shown.accessibility_faults() == []
        assert shown.complaints == []
        assert shown.requests == [explored[1].as_uri()]


def test_a_design_is_chosen_by_click_by_key_and_from_the_table(browser, explored):
    record, page = explored
    front = [design for design in record["designs"] if design["on_front"]]
    with opened(browser, page) as shown:
        assert shown.keyboard_faults() == []
        panel = shown.page.locator(".pareto-chosen")
        row = shown.page.locator("table.front tbody tr").last
        number = int(row.locator("td").first.get_attribute("data-value"))
        row.get_by_role("button").click()
        assert record["designs"][number]["command"] in panel.inner_text()
        assert "chosen" in row.get_attribute("class")
        shown.page.locator(".pareto svg").focus()
        commands = set()
        for key in ["ArrowLeft"] * len(front) + ["ArrowRight"] * len(front):
            shown.page.keyboard.press(key)
            commands.add(panel.locator("code").inner_text())
        assert {design["command"] for design in front} == commands
        shown.page.locator(".pareto svg circle.front").first.click(force=True)
        assert panel.locator("code").inner_text() in commands


def test_the_table_is_sorted_by_a_heading(browser, explored):
    with opened(browser, explored[1]) as shown:
        heading = shown.page.get_by_role("button", name="nJ per sample")
        cells = shown.page.locator("table.front tbody tr td:nth-child(7)")
        for order in ("ascending", "descending"):
            heading.click()
            values = [float(cell.get_attribute("data-value")) for cell in cells.all()]
            assert values == sorted(values, reverse=order == "descending")
            assert shown.page.locator(f"th[aria-sort={order}]").count() == 1


def test_it_is_readable_without_scripts(browser, explored):
    with opened(browser, explored[1], java_script_enabled=False) as shown:
        shown.open_details()
        assert shown.faults("hiddenWords()") == []
        assert shown.faults("outside()") == []
        assert shown.page.locator(".pareto svg circle").count() == 8
