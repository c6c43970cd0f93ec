"""What the interactive views show on paper and without scripts, and which designs are on the front."""

from __future__ import annotations

import json
import re

import pytest

from deploy.report.page.live.activity_map import activity_map
from deploy.report.page.live.core_map import core_map
from deploy.report.page.live.design_plot import design_plot
from deploy.report.page.live.stall_steps import stall_steps
from deploy.report.page.live.timeline import timeline


@pytest.fixture
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


def still(markup):
    """The picture of a figure, without the data for its script."""
    return markup.partition('class="still">')[2].partition("<script")[0]


def boxes(markup, kind):
    """Number of boxes that are drawn in a colour: each begins with a move of the pen."""
    paths = re.findall(r'<path d="([^"]*)" class="([^"]*)"', markup)
    return sum(path.count("M") for path, name in paths if re.fullmatch(kind, name))


def test_each_span_of_the_timeline_is_drawn_once(report):
    spans = [s for stage in report["pipeline"]["stages"].values() for s in stage["spans"]]
    drawn = still(timeline(report))
    for activity in ("starved", "blocked", "drained"):
        assert boxes(drawn, activity) == sum(span[2] == activity for span in spans)
    for colour in range(8):
        own = [s for s in spans if s[2] == "busy" and s[3] % 8 == colour]
        assert boxes(drawn, f"sample-{colour}") == len(own)


def test_each_core_is_drawn_once_on_its_chips(report):
    drawn, places = still(core_map(report)), report["mapping"]["places"]
    assert boxes(drawn, r"heat-\d") == len(places["core"])
    of_chip = places["width"] * places["height"] * places["cores_per_tile"]
    assert boxes(drawn, "free") == report["mapping"]["num_chips"] * of_chip


def test_few_cores_with_far_more_than_the_others_get_a_logarithmic_scale(report):
    times = report["costs"]["davies2018"]["core_times"]
    for record in times:
        record[0] = 1e-6
    times[0][0] = 1e-4
    drawn = core_map(report)
    assert "logarithmic" in drawn
    assert boxes(still(drawn), "heat-9") == 1
    assert boxes(still(drawn), "heat-0") == len(times) - 1
    times[0][0] = 2e-6
    assert "logarithmic. " not in core_map(report)


def rows(markup):
    return re.findall(r'<li class="(whole|kept|refused)">(.*?)</li>', markup, re.DOTALL)


def test_suggestions_go_from_this_design_to_what_each_gives(report):
    found = rows(stall_steps(report))
    assert [kind for kind, _ in found] == ["whole", *["kept"] * len(report["suggestions"]), "whole"]
    slot = next(s for s in report["suggestions"] if s["change"].startswith("one more slot"))
    row = next(row for _, row in found if "one more slot" in row)
    assert slot["command"].replace("'", "&#x27;").replace(">", "&gt;") in row
    assert "60 % → 45 %" in row
    assert "5.50 → 4" in row
    assert "27 %" in found[-1][1]  # least_stall_share


def test_a_step_of_a_search_is_compared_with_the_last_one_kept(report):
    def point(change, verdict, stall_share):
        measures = report["measures"] | {"stall_share": stall_share}
        return measures | {"change": change, "verdict": verdict, "command": f"compile {change}"}

    report["design_points"] = [
        point("first", "kept", 0.8),
        point("worse", "no gain in stalls", 0.9),
        point("better", "kept", 0.5),
        point("best", "kept", 0.25),
        point("uniform", "for comparison", 0.75),
    ]
    found = rows(stall_steps(report))
    assert [kind for kind, _ in found] == ["whole", "refused", "kept", "kept", "whole"]
    shares = [re.findall(r'class="value">([^<]*)<', row)[0] for _, row in found]
    assert shares == ["80 %", "80 % → 90 %", "80 % → 50 %", "50 % → 25 %", "60 %"]


def test_a_design_is_on_the_front_unless_another_is_better(report):
    now = report["measures"]
    better = now | {"num_cores": 1, "num_slots": 1}
    worse = now | {"num_cores": now["num_cores"] + 1}
    report["design_points"], report["suggestions"] = [], []
    assert design_plot(report) == ""
    report["suggestions"] = [
        {"change": words, "command": "", "keeps_integers": True, "gives": gives}
        for words, gives in (("better", better), ("worse", worse))
    ]
    drawn = design_plot(report)
    data = drawn.partition('class="pareto-data">')[2].partition("</script>")[0]
    fronts = {design["label"]: design["front"] for design in json.loads(data)["designs"]}
    assert fronts == {"this design": False, "suggested: better": True, "suggested: worse": False}


def test_activity_is_told_for_every_population(report):
    table = still(activity_map(report))
    for name, shown in report["activity"]["populations"].items():
        silent = sum(amounts[0] for amounts in shown["histogram"])
        everyone = sum(map(sum, shown["histogram"]))
        row = next(part for part in table.split("<tr") if f">{name}<" in part)
        assert f"{silent / everyone:.0%}".replace("%", " %") in row
    report["activity"]["is_random"] = True
    assert "random pixels, since there is no data set" in activity_map(report)
