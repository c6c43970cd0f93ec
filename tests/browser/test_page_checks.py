"""Each check of a page finds the fault that it is for, and nothing in a page without faults."""

from __future__ import annotations

import pytest
from page_checks import opened

pytestmark = pytest.mark.browser

SOUND = """
<style>body { margin: 8px; font: 16px sans-serif; background: #fff; color: #111 }</style>
<main><h1>Report</h1><p>A text that wraps.</p>
<div style="overflow-x: auto" tabindex="0"><div style="width: 3000px">wide</div></div>
<svg width="300" height="60" role="img" aria-label="two boxes">
<rect width="100" height="40" fill="#fff"/><text x="10" y="20">stem</text>
<text x="150" y="50" transform="rotate(-90 150 50)">join</text></svg>
<details><summary>more</summary><p>at first unseen</p></details></main>
"""

FAULTS = {
    "outside()": '<div style="width: 2000px">wide</div>',
    "cut()": '<p style="width: 40px; overflow: hidden; white-space: nowrap">too wide</p>',
    "cut() ": '<svg width="50" height="20"><text x="20" y="15">leaves its drawing</text></svg>',
    "cut()  ": '<p style="width: 90px; height: 20px; overflow: hidden">a text of more than one line</p>',
    "overlapping()": '<svg width="90" height="40"><text x="9" y="20">stem</text>'
    '<text x="12" y="22">join</text></svg>',
    "small(9)": '<svg width="50" height="20" viewBox="0 0 500 200"><text x="9" y="99">stem</text></svg>',
    "faint()": '<svg width="90" height="30"><rect width="90" height="30" fill="#2f6db3"/>'
    '<text x="9" y="20" fill="#5d6675">stem</text></svg>',
    "moving()": '<p style="transition: opacity 1s">fades</p>',
}


@pytest.fixture(scope="module")
def shown(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(f'<!doctype html><html lang="en"><title>page</title>{SOUND}</html>')
    with opened(browser, path) as window:
        yield window


def show(window, content):
    """Leave out the head, so that a fault is found by the check that it is for."""
    window.page.set_content(
        f'<!doctype html><html lang="en"><head><title>page</title></head><body>{content}</body></html>'
    )


@pytest.mark.parametrize("check", FAULTS, ids=str.strip)
def test_a_fault_is_found(shown, check):
    show(shown, SOUND)
    assert shown.faults(check) == []
    show(shown, SOUND + FAULTS[check])
    assert len(shown.faults(check)) >= 1


def test_words_out_of_sight_are_told(shown):
    show(
        shown,
        '<p>seen <span hidden>unseen</span> <span class="scripted-only" hidden>hint</span></p>',
    )
    assert shown.faults("hiddenWords()") == ["unseen"]


def test_a_wide_part_that_scrolls_is_named(shown):
    show(shown, SOUND)
    assert len(shown.faults("scrollers()")) == 1


def test_findings_of_axe_are_told(shown):
    show(shown, SOUND)
    assert shown.accessibility_faults() == []
    show(shown, SOUND + '<p style="color: #ccc">faint</p>')
    (found,) = shown.accessibility_faults()
    assert "color-contrast (serious)" in found


def test_controls_out_of_reach_or_without_effect_are_told(shown):
    show(shown, SOUND)
    assert shown.keyboard_faults() == []
    assert shown.dead_controls() == []
    trap = "<script>document.querySelector('#t').onkeydown = e => e.preventDefault()</script>"
    show(
        shown,
        f'{SOUND}<button id="t" style="outline: none">nothing</button>{trap}<a href="#x">end</a>',
    )
    first, second = shown.keyboard_faults()
    assert first.startswith('page: no mark on <button> "nothing"')
    assert second.startswith('page: Tab does not reach <a> "end"')
    assert [fault.partition('"')[2][:7] for fault in shown.dead_controls()] == ["nothing"]


def test_complaints_and_requests_are_noted(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<script>console.error('broken'); oops()</script><img src='other.png' alt=''>")
    with opened(browser, path) as window:
        assert any("broken" in text for text in window.complaints)
        assert any("oops" in text for text in window.complaints)
        assert [url.rpartition("/")[2] for url in window.requests] == ["page.html", "other.png"]
