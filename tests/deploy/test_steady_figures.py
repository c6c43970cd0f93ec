"""Rates and figures per sample: of the steady state, whatever the run shows, and equal wherever shown."""

from __future__ import annotations

import io
import json
from operator import itemgetter

import pytest
from installed_command import run_command
from rich.console import Console

from deploy.report.markup import breakable, number
from deploy.report.tables import (
    Activities,
    Emphasis,
    Lines,
    Metered,
    Tag,
    names,
    numbers,
    print_table,
    sentences,
    tabulate,
)

RUN = ("num_ticks", "samples", "critical_paths", "stages", "cores")
"""What the pipeline's part of the report says of the run that it shows."""


def compiled_with(qac_deploy, model, *options):
    process = qac_deploy("compile", model, "--json", *options)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def report(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def optimized(trained, tmp_path_factory):
    """A design whose interval is a single tick, with replicas, and a pipeline longer than its run."""
    folder = tmp_path_factory.mktemp("optimized")
    process = run_command(
        "compile", trained[1], "--optimize", "stalls", "--samples", 5, "--json", cwd=folder
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("samples", [1, 61])
def test_no_figure_but_those_of_the_run_depends_on_its_length(trained, report, qac_deploy, samples):
    written = json.dumps(compiled_with(qac_deploy, trained[1], "--samples", samples))
    written = written.replace(str(trained[1]), trained[1].name)  # in the commands
    other = json.loads(written.replace(f" --samples {samples}", ""))
    pipelines = other.pop("pipeline"), dict(report["pipeline"])
    assert pipelines[0]["num_ticks"] != pipelines[1]["num_ticks"]
    steady = [
        {stage: record["steady_shares"] for stage, record in pipeline["stages"].items()}
        for pipeline in pipelines
    ]
    assert steady[0] == steady[1]
    for name in RUN:
        for pipeline in pipelines:
            del pipeline[name]
    assert pipelines[0] == pipelines[1]
    assert other["options"].pop("samples") == samples
    expected = {**report, "options": {k: v for k, v in report["options"].items() if k != "samples"}}
    del expected["pipeline"]
    assert other == expected


def test_the_search_and_the_report_give_one_time_and_energy(optimized, report):
    kept = [point for point in optimized["design_points"] if point["verdict"] == "kept"]
    assert len(kept) > 2
    for point, costs in ((kept[0], report["costs"]), (kept[-1], optimized["costs"])):
        for profile, cost in costs.items():
            assert point["interval_us"][profile] == 1e6 * cost["interval_s"]
            assert point["energy_nj"][profile] == 1e9 * cost["energy_per_sample_j"]


def test_no_design_is_slower_without_a_barrier(optimized, report):
    for document in (optimized, report):
        for profile, cost in document["costs"].items():
            without = document["asynchronous"][profile]
            assert (
                without["interval_s"] < cost["interval_s"] * (1 - cost["barrier_share"]) * 1.000001
            )
            assert without["first_latency_s"] < cost["first_latency_s"]


def test_the_parts_of_time_and_energy_add_up(optimized, report):
    for document in (optimized, report):
        for cost in document["costs"].values():
            assert sum(cost["energy_by_event_j"].values()) == pytest.approx(
                cost["energy_per_sample_j"]
            )
            for core in cost["core_times"]:
                assert sum(core) == pytest.approx(cost["interval_s"])
            paces = sum(time["pace_s"] for time in cost["times"].values())
            assert paces == pytest.approx(cost["interval_s"] * (1 - cost["barrier_share"]))
            assert {time["drained_s"] for time in cost["times"].values()} == {0}


def test_the_stalls_of_each_stage_are_of_the_steady_state(optimized, report):
    for document in (optimized, report):
        pipeline = document["pipeline"]
        windows = {p["name"]: p for p in document["populations"]}
        shares = []
        for record in pipeline["stages"].values():
            steady, population = record["steady_shares"], windows[record["population"]]
            assert sum(steady.values()) == pytest.approx(1)
            interval = population["replicas"] * pipeline["interval_ticks"]
            assert steady["busy"] == pytest.approx(population["timesteps"] / interval)
            if population["kind"] != "input":
                shares.append(steady["starved"] + steady["blocked"])
        assert pipeline["stall_share"] == pytest.approx(sum(shares) / len(shares))
        for row in document["comparison"]:
            if row["kind"] == "pipeline":
                assert row["stalled"] == pipeline["stall_share"]
                assert row["utilisation"] + row["stalled"] == pytest.approx(1)


def test_every_figure_of_the_comparison_is_the_same_wherever_it_is_shown(
    compiled, report, qac_deploy
):
    """JSON, summary, ``compare`` and page."""
    summary, compared = (qac_deploy(c, compiled[1], COLUMNS="200") for c in ("report", "compare"))
    page = (compiled[1] / "report.html").read_text()
    for row in report["comparison"]:
        cells = [
            number(row["latency_us"]),
            number(row["interval_us"]),
            f"{row['throughput_per_s']:,.0f}",
            number(row["energy_nj"]),
        ]
        for process in (summary, compared):
            line = next(x for x in process.stdout.splitlines() if x.startswith(row["design"] + " "))
            assert line.removeprefix(row["design"]).split()[:4] == cells
        shown = page[page.index(f">{breakable(row['design'])}</td>") :].partition("</tr>")[0]
        positions = [shown.index(cell) for cell in cells]
        assert len(set(positions)) >= 3
        if row["kind"] == "pipeline":
            profile = row["design"].removeprefix("loihi-sim, ").removesuffix(", no barrier")
            source = "asynchronous" if "no barrier" in row["design"] else "costs"
            assert row["interval_us"] == 1e6 * report[source][profile]["interval_s"]
            assert row["latency_us"] == 1e6 * report[source][profile]["first_latency_s"]
            energy = report["costs"][profile]["energy_per_sample_j"]
            assert row["energy_nj"] == 1e9 * energy


def test_a_table_is_rendered_twice_from_the_same_cells():
    ticks = {"busy": 1, "starved": 2, "blocked": 0, "drained": 1}
    records = [
        ("<a> [b]", Metered(1234.6, 0.5), 7, Activities(ticks)),
        (Tag("assumed"), None, None, Lines([1.5, "&"])),
    ]
    table = tabulate(
        "a [title]",
        records,
        names("Design", "design", itemgetter(0)),
        numbers("time, µs", "us", itemgetter(1)),
        numbers("on the page alone", None, itemgetter(2)),
        sentences("Ticks", "ticks", itemgetter(3)),
        emphasis=lambda record: Emphasis.STRONG if record[2] else Emphasis.NONE,
    )
    console = Console(width=60, file=io.StringIO())
    print_table(table, console)
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        [],
        ["a", "[title]"],
        ["design", "us", "ticks"],
        ["<a>", "[b]", "1,235", "#####ssssssssss....."],
        ["assumed", "-", "1.50"],
        ["&"],
    ]
    page = str(table.for_page())
    assert '<tr class="strong"><td data-label="Design">&lt;a&gt; [b]</td>' in page
    assert '<td class="n" data-label="time, µs">1,235<svg width="60"' in page
    assert (
        page.count('width="30" height="10" class="busy"') == 2
    )  # half of 60, a quarter of 120 pixels
    assert 'width="60" height="10" class="starved"' in page
    assert '<td class="n" data-label="on the page alone">7</td>' in page
    assert '<span class="kind assumed">assumed</span>' in page
    assert '<td class="sentence" data-label="Ticks">1.50<br>&amp;</td>' in page
    assert [c.short for c in table.only("Design", "Ticks").columns] == ["design", "ticks"]
