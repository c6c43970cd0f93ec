"""Figures that docs/faq.md quotes are those of the page or command that it names."""

from __future__ import annotations

import json
import re

import pytest
from markdown_pages import DOCS, table_with, tables

QUESTIONS = " ".join((DOCS / "faq.md").read_text("utf-8").split())


def test_the_share_of_energy_in_the_questions_is_that_of_the_first_result(compiled):
    said = re.search(
        r"neuron updates take (\d+) % of the energy: ([\d.]+) of ([\d.]+) µJ", QUESTIONS
    )
    costs = json.loads((compiled[1] / "report.json").read_text())["costs"]["davies2018"]
    updates = sum(e for name, e in costs["energy_by_event_j"].items() if "update" in name)
    total = costs["energy_per_sample_j"]
    expected = (100 * updates / total, 1e6 * updates, 1e6 * total)
    # the network is trained here, and another processor rounds another way
    assert [float(number) for number in said.groups()] == pytest.approx(expected, rel=0.03)


def test_the_energies_on_the_pe_array_are_those_of_its_page():
    said = re.search(
        r"as printed takes (\d+) µJ, the same SNN with bit planes (\d+) µJ, the ANN bit by bit (\d+) µJ "
        r"and with multipliers (\d+) µJ",
        QUESTIONS,
    )
    (figures,) = (t for t in tables(DOCS / "pe-array.md") if t[0][:2] == ["mode", "iterations"])
    energy = {row[0]: row[figures[0].index("energy, µJ")] for row in figures[1:]}
    modes = ("snn_temporal", "snn_bit_planes", "ann_bit_serial", "ann_multiplier")
    assert said.groups() == tuple(energy[f"`{mode}`"] for mode in modes)


def test_the_accuracies_are_those_of_the_pages():
    rows = table_with(
        DOCS / "faq.md",
        "ResNet-20 on Fashion-MNIST",
        "float ANN",
        "spiking, 8-bit integers",
        "made by",
    )
    (trained,) = (
        dict(zip(t[0], t[1], strict=True))
        for t in tables(DOCS / "results.md")
        if "integer network %" in t[0] and t[1][0] == "resnet-20"
    )
    assert f"mean T {trained['mean T']}" in rows[0][0]
    assert rows[0][1:3] == [f"{trained[c]} %" for c in ("float ANN %", "integer network %")]
    page = (DOCS / "post-training.md").read_text("utf-8").partition("### ResNet-20")[2]
    (float_accuracy,) = re.findall(
        r"first 2,000 test images. The float network has ([\d.]+)\.", page
    )
    (integers,) = re.findall(r"mixed T, 8-bit integers \| (.*?) \| (.*?) \|", page)
    assert [row[1:3] for row in rows[1:]] == [[f"{float_accuracy} %", f"{n} %"] for n in integers]
