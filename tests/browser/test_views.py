"""The interactive views: what they show follows from the report, whatever a reader clicks."""

from __future__ import annotations

import re
from base64 import b64decode

import numpy as np
import pytest
from page_checks import opened

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def view(browser, digits_page):
    """A function that shows a tab of the page, and returns it with the complaints of the browser."""
    with opened(browser, digits_page.path) as shown:

        def show(tab):
            shown.page.get_by_role("tab", name=tab, exact=True).click()
            return shown.page

        yield show
        assert shown.complaints == []


def state_at(report, stage, tick):
    """(state, sample, edge waited for) of a stage."""
    spans = report["pipeline"]["stages"][stage]["spans"]
    return next(tuple(span[2:]) for span in spans if span[0] <= tick < span[1])


def states(page):
    """What the timeline says of every stage at its cursor."""
    rows = page.locator(".timeline-figure .states li")
    return {
        row.locator(".name").inner_text(): tuple(
            row.locator(part).inner_text() for part in (".chip", ".of", ".words")
        )
        for row in rows.all()
    }


def hold_states(page, report, tick):
    """The state of every stage is that of the report, with the edge that it waits for."""
    assert page.locator(".timeline-figure h3").inner_text().startswith(f"Tick {tick} of ")
    found = states(page)
    assert list(found) == list(report["pipeline"]["stages"])
    for stage, (state, sample, words) in found.items():
        expected, number, edge = state_at(report, stage, tick)
        assert state == expected
        assert sample == (f"sample {number}" if number >= 0 else "")
        if edge is not None:
            what = "a free slot on " if expected == "blocked" else ""
            assert words == f"waits for {what}{' → '.join(edge)} of sample {number}"


def test_the_timeline_tells_every_stage_at_a_tick(view, digits_page):
    page, report = view("Timeline"), digits_page.document
    canvas = page.locator(".timeline-figure canvas")
    canvas.focus()
    page.keyboard.press("Home")
    hold_states(page, report, 0)
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    hold_states(page, report, 9)
    page.keyboard.press("Shift+ArrowRight")
    hold_states(page, report, 19)
    page.get_by_role("button", name="One tick back").click()
    hold_states(page, report, 18)
    page.keyboard.press("Tab")
    page.get_by_role("slider", name="tick", exact=True).fill("30")
    hold_states(page, report, 30)
    canvas.focus()
    page.keyboard.press("End")
    hold_states(page, report, report["pipeline"]["num_ticks"] - 1)
    assert canvas.get_attribute("aria-valuenow") == str(report["pipeline"]["num_ticks"] - 1)


def test_the_next_stall_is_the_first_that_begins_after_the_cursor(view, digits_page):
    page, report = view("Timeline"), digits_page.document
    starts = sorted(
        {
            span[0]
            for stage in report["pipeline"]["stages"].values()
            for span in stage["spans"]
            if span[2] in ("starved", "blocked")
        }
    )
    page.locator(".timeline-figure canvas").focus()
    page.keyboard.press("Home")
    title = page.locator(".timeline-figure h3")
    for start in [tick for tick in starts if tick > 0][:5]:
        page.keyboard.press("n")
        assert title.inner_text().startswith(f"Tick {start} of ")
        said = page.locator(".timeline-figure .summary").inner_text()
        stage = re.search(r"(\S+) is (?:starved|blocked): waits for", said).group(1)
        assert start in [span[0] for span in report["pipeline"]["stages"][stage]["spans"]]
    hold_states(page, report, start)


def test_a_zoomed_timeline_is_clicked_at_the_tick_that_it_shows(view, digits_page):
    """The pixel of a tick: from the axis of the drawing, as a reader sees it."""
    page, report = view("Timeline"), digits_page.document
    canvas = page.locator(".timeline-figure canvas")
    ticks = report["pipeline"]["num_ticks"]
    canvas.focus()
    page.keyboard.press("0")
    box = canvas.bounding_box()
    longest = max(report["pipeline"]["stages"], key=len)
    labels = page.evaluate(
        """([name, width]) => {
            const context = document.createElement("canvas").getContext("2d");
            context.font = `650 13px ${getComputedStyle(document.body).fontFamily}`;
            return Math.round(Math.min(Math.max(context.measureText(name).width + 16, 56), 0.3 * width));
        }""",
        [longest, box["width"]],
    )
    for tick in (3, ticks // 2, ticks - 2):
        x = labels + (tick + 0.5) / ticks * (box["width"] - labels)
        page.mouse.click(box["x"] + x, box["y"] + 40)
        hold_states(page, report, tick)
    page.keyboard.press("+")
    page.mouse.click(box["x"] + labels + 2, box["y"] + 40)
    shown = int(re.search(r"Tick (\d+)", page.locator(".timeline-figure h3").inner_text()).group(1))
    assert 0 < shown < ticks - 2


def test_the_core_map_colours_by_a_quantity_and_tells_of_a_core(view, digits_page):
    page, report = view("Cores"), digits_page.document
    places = report["mapping"]["places"]
    figure = page.locator(".core-map-figure")
    figure.get_by_label("Colour by").select_option("synapse_words")
    used = [places["uses"]["synapse_words"][use] for use in places["use"]]
    expected = {}
    for words in used:
        colour = f"heat-{min(9, 10 * words // max(used))}"
        expected[colour] = expected.get(colour, 0) + 1
    page.wait_for_function(
        "n => document.querySelectorAll('.core-map-figure .live path[class^=heat]').length === n",
        arg=len(expected),
    )
    paths = figure.locator(".live path[class^=heat]").all()
    drawn = {path.get_attribute("class"): path.get_attribute("d").count("M") for path in paths}
    assert drawn == expected
    assert f"{max(used):,}, the most that a core uses of 16,384" in figure.inner_text()
    figure.locator(".live svg").focus()
    page.keyboard.press("Home")
    for step in ("Home", "PageDown", "ArrowRight", "End"):
        page.keyboard.press(step)
        detail = figure.locator(".core-detail").inner_text()
        index = places["core"].index(int(re.search(r"Core (\d+)", detail).group(1)))
        for limit, available in places["available"].items():
            amount = places["uses"][limit][places["use"][index]]
            assert f"{limit.replace('_', ' ')}\n{amount:,} of {available:,}" in detail
    page.keyboard.press("Enter")
    assert figure.get_by_label("Outline").input_value() == report["populations"][-1]["name"]


def spikes(report, population, sample):
    """Trains ``(T, neurons)`` of a population of which every neuron is kept."""
    shown = report["activity"]["populations"][population]
    assert shown["strides"] == [1, 1, 1]
    size = np.prod(shown["shape"])
    bits = np.unpackbits(np.frombuffer(b64decode(shown["trains"][sample]), np.uint8))
    return bits[: shown["timesteps"] * size].reshape(shown["timesteps"], size)


def test_a_population_chosen_elsewhere_shows_its_counts_and_trains(view, digits_page):
    page, report = view("Cores"), digits_page.document
    page.locator(".core-map-figure").get_by_label("Outline").select_option("join")
    view("Activity")
    figure = page.locator(".activity-figure")
    assert figure.get_by_label("Population").input_value() == "join"
    figure.get_by_role("button", name="sample 2").click()
    title = figure.get_by_role("heading", name="join: spike counts of sample 2")
    title.wait_for()
    amounts = report["activity"]["populations"]["join"]["histogram"][2]
    histogram = figure.locator(".histogram").inner_text()
    for count, amount in enumerate(amounts):
        share = "<1 %" if 0 < amount / sum(amounts) < 0.005 else None
        assert re.search(rf"{count}\s+{amount:,} \({share or '[0-9]+ %'}\)", histogram)
    trains = spikes(report, "join", 2)
    figure.locator("canvas[role=application]").focus()
    for neuron in range(3):
        page.keyboard.press("ArrowRight")
        told = figure.locator(".neuron")
        told.get_by_text(f"Neuron {neuron}", exact=True).wait_for()
        count, steps = trains[:, neuron].sum(), len(trains)
        words = f"{count} of {steps} steps, train {' '.join(map(str, trains[:, neuron]))}"
        assert words in told.inner_text()
    command = f"qac-deploy trace build --sample 2 --population join --neuron {neuron}"
    assert command in told.inner_text()
    logits, label = report["activity"]["logits"][2], report["activity"]["labels"][2]
    said = figure.locator(".side .summary").inner_text()
    best = int(np.argmax(logits))
    assert said == (
        f"readout chooses class {best}; label {label}: {'correct' if best == label else 'wrong'}."
    )
    rows = figure.locator(".logits").inner_text()
    assert all(f"{logit:,}" in rows for logit in logits)
    bars = figure.locator(".logits i").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    below, above = (
        [b for b, x in zip(bars, logits, strict=True) if sign * x > 0] for sign in (-1, 1)
    )
    zeros = [right for _, right in below] + [left for left, _ in above]
    assert max(zeros) - min(zeros) < 1  # all bars start at the same zero


def test_the_measure_beside_the_stalls_is_chosen(view, digits_page):
    page, report = view("Stalls"), digits_page.document
    figure = page.locator("figure.stall-steps")
    rows = figure.locator(".steps > li:not(.head)")
    suggestions = report["suggestions"]
    assert rows.count() == len(suggestions) + 2  # this design first, the least possible last
    figure.get_by_label("Show in the last column").select_option("num_cores")
    now = report["measures"]["num_cores"]
    for index, suggestion in enumerate(suggestions, start=1):
        then = suggestion["gives"]["num_cores"]
        words = f"{now}, unchanged" if now == then else f"{now} → {then}"
        row = rows.nth(index)
        assert row.locator(".bar-cell").nth(1).inner_text().strip() == words
        row.locator("summary").click()
        assert row.locator("code").inner_text() == suggestion["command"]
    assert "not measured" in rows.last.inner_text()


def test_the_axes_of_the_designs_are_chosen(view, digits_page):
    page = view("Designs")
    figure = page.locator("#design-points")
    figure.get_by_label("across").select_option(label="cores")
    figure.get_by_label("up").select_option(label="stalled, % of ticks")
    labels = figure.locator("svg text.name").all_text_contents()
    assert labels == ["cores", "stalled, % of ticks"]
    assert figure.locator("svg circle").count() >= len(digits_page.document["suggestions"])


@pytest.mark.parametrize("name", ["__proto__", "<img src=x onerror=alert(1)>", 'a\'b "c" & d'])
def test_a_hostile_name_is_only_a_name(browser, digits_page, tmp_path, name):
    from json import dumps, loads

    from deploy.report.html import render_html

    report = loads(dumps(digits_page.document).replace('"join"', dumps(name)))
    (tmp_path / "report.html").write_text(render_html(report), encoding="utf-8")
    with opened(browser, tmp_path / "report.html") as shown:
        for _ in shown.tabs():
            assert shown.page.locator("img").count() == 0
        assert shown.page.locator("figure.enhanced").count() == 4
        shown.page.get_by_role("tab", name="Timeline", exact=True).click()
        assert name in states(shown.page)
        shown.page.get_by_role("tab", name="Activity", exact=True).click()
        shown.page.locator(".activity-figure").get_by_label("Population").select_option(name)
        shown.page.get_by_role("heading", name=f"{name}: spike counts").wait_for()
        assert shown.complaints == []
