"""The plot of designs: what it shows without its script, and what it hands to the script."""

from __future__ import annotations

import json
import re

import pytest

from deploy.report.pareto import Axis, best_of_two, pareto_plot, pareto_script


def design(label, accuracy, interval, on_front=True, **measures):
    measures = {"accuracy": accuracy, "interval_us": interval, **measures}
    return {"label": label, "command": "qac-deploy", "measures": measures, "on_front": on_front}


def data(markup):
    (text,) = re.findall(r'class="pareto-data">(.*?)</script>', markup, re.DOTALL)
    return json.loads(text)


def test_points_of_the_front_and_off_it_are_drawn():
    designs = [design("a", 0.9, {"p": 10.0}), design("b", 0.8, {"p": 20.0}, on_front=False)]
    markup = pareto_plot(designs)
    assert markup.count("<circle") == 2
    assert markup.count('class="front"') == 1
    assert "time between results, µs (p)" in markup


def test_designs_off_the_front_are_counted_where_there_are_any():
    best = design("a", 0.9, {"p": 10.0}), design("b", 0.95, {"p": 20.0})
    worse = design("c", 0.8, {"p": 20.0}, on_front=False)
    assert "other " not in pareto_plot(best).partition("<figcaption>")[2].replace("no other ", "")
    assert "1 other <" in pareto_plot([*best, worse])
    assert "2 others <" in pareto_plot([*best, worse, worse])


def test_long_numbers_of_the_upright_axis_stay_off_its_title():
    def left(most):
        designs = [design("a", 0.9, most), design("b", 0.8, 0.9 * most)]
        drawn = pareto_plot(designs, x="accuracy", y="interval_us")
        (place, *_) = re.findall(r'<text x="([\d.]+)"[^>]*class="tick up"', drawn)
        return float(place)

    assert left(90.0) == 48
    assert left(12_345.0) - 28 >= 7 * len("12,000")


def test_labels_cannot_end_the_script_element():
    hostile = "</script><script>alert(1)</script>"
    designs = [design(hostile, 0.9, {"p": 10.0}), design("b", 0.8, {"p": 20.0})]
    markup = pareto_plot(designs)
    assert "<script>alert" not in markup
    assert data(markup)["designs"][0]["label"] == hostile


def test_profiles_get_an_axis_each_and_their_mean():
    markup = pareto_plot(
        [design("a", 0.9, {"p": 10.0, "q": 30.0}), design("b", 0.8, {"p": 20.0, "q": 20.0})]
    )
    document = data(markup)
    assert [axis["label"] for axis in document["axes"]] == [
        "accuracy, %",
        "time between results, µs (mean of profiles)",
        "time between results, µs (p)",
        "time between results, µs (q)",
    ]
    assert [axis["shown"] for axis in document["axes"]] == [True, False, True, True]
    assert document["designs"][0]["values"] == pytest.approx([90.0, 20.0, 10.0, 30.0])


def test_designs_that_differ_in_one_measure_alone_are_not_plotted():
    designs = [design("a", 0.9, {}), design("b", 0.8, {})]
    assert pareto_plot(designs) == ""
    assert pareto_plot(designs, axes=[Axis(key="accuracy", label="accuracy")]) == ""


def test_best_of_two_follows_the_direction_of_each_measure():
    points = [(1.0, 5.0), (2.0, 7.0), (3.0, 6.0), (2.0, 4.0)]
    assert best_of_two(points, higher_across=False, higher_up=True) == [0, 1]
    assert best_of_two(points, higher_across=True, higher_up=True) == [2, 1]
    assert best_of_two(points, higher_across=False, higher_up=False) == [0, 3]


def test_the_script_loads_nothing():
    script = pareto_script()
    assert "import" not in script
    assert re.findall(r"https?://\S+", script) == ['http://www.w3.org/2000/svg";']
