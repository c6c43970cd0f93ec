"""Every number in the worked example of docs/integer-contract.md is what the stepped engine computes."""

from __future__ import annotations

import re
from ast import literal_eval

import numpy as np
import pytest
from builders import connect, dense
from markdown_pages import DOCS, table_with

from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from sim.stepped import firing_window, input_currents, integrate_and_fire, run_stepped
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)

PAGE = DOCS / "integer-contract.md"
EXAMPLE = " ".join(PAGE.read_text("utf-8").partition("## Worked example")[2].split())
PIXELS = np.array(literal_eval(re.search(r"The pixels are (\[.*?\])", EXAMPLE)[1])).reshape(
    1, -1, 1, 1
)


def column(text):
    values = literal_eval(text) if isinstance(text, str) else text
    return np.array(values, np.int64).reshape(-1, 1, 1)


def populations():
    found = [IntegerInput(name="input", shape=(PIXELS.size, 1, 1), max_value=255, unit=1.0)]
    for name, steps, threshold, start, bias in table_with(PAGE, "population", "T", "Θ", "V₀", "B"):
        shape, steps = column(bias).shape, int(steps)
        if threshold:
            neurons = {"threshold": column(threshold), "initial_potential": column(start)}
            found.append(
                IntegerSpiking(
                    name=name, shape=shape, timesteps=steps, bias=column(bias), **neurons
                )
            )
        else:
            found.append(
                IntegerReadout(name=name, shape=shape, timesteps=steps, bias=column(bias), unit=1.0)
            )
    return found


def synapses():
    rows = table_with(PAGE, "synapse", "W", "x")
    ends = [(*name.split(" -> "), literal_eval(weight), int(x)) for name, weight, x in rows]
    return [connect(a, b, dense(weight), exponent=x) for a, b, weight, x in ends]


@pytest.fixture(scope="module")
def network():
    return IntegerNetwork.build(populations(), synapses())


@pytest.fixture(scope="module")
def frames(network):
    """What each population sends in each step, ``(1, T, C, 1, 1)``."""
    return {"input": PIXELS[:, None]} | {
        name: train.astype(np.int64) for name, train in run_stepped(network, PIXELS).trains.items()
    }


def said(pattern):
    """The lists of numbers in the one place where the example has this pattern."""
    (found,) = re.findall(pattern, EXAMPLE)
    return [literal_eval(text) for text in ([found] if isinstance(found, str) else found)]


LIST = r"(\[[^\]]*\])"


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_step_of_a_window(network, frames, name):
    potentials = firing_window(network, network[name], frames)[0, :, :, 0, 0]
    currents = np.broadcast_to(
        input_currents(network, network[name], frames)[0, :, :, 0, 0], potentials.shape
    )
    start = network[name].initial_potential.reshape(1, -1)
    before = np.concatenate([start, potentials[:-1]])
    spikes = frames[name][0, :, :, 0, 0]
    expected = [
        [f"{name}[{neuron}]", *map(str, (step, before[step, neuron], before[step, neuron] + current,
         spikes[step, neuron], potentials[step, neuron]))]
        for neuron in range(potentials.shape[1])
        for step, current in enumerate(currents[:, neuron])
    ]  # fmt: skip
    rows = table_with(PAGE, "neuron", "step", "V before", "V + I", "spike", "V after")
    assert [row for row in rows if row[0].startswith(name)] == expected


def test_the_sums_in_the_text(network, frames):
    weights = {(s.source, s.target): s.weighted.weight.astype(int) for s in network.synapses}
    counts = {name: f.sum(axis=1).reshape(-1) for name, f in frames.items()}

    def products(source, target):
        return (weights[source, target] @ counts[source]).tolist()

    def current(name):
        return input_currents(network, network[name], frames)[0, 0].reshape(-1).tolist()

    numbers = said(
        rf"W · {LIST} = {LIST}, shifted by (\d+): {LIST}\. With the bias, I = {LIST} "
        rf"in each of four"
    )
    assert numbers == [
        counts["input"].tolist(), products("input", "a"), 1, [2 * v for v in products("input", "a")],
        current("a"),
    ]  # fmt: skip
    numbers = said(
        rf"From `a`: W · {LIST} = {LIST}\. From the pixels: W · {LIST} = {LIST}, shifted by (\d+): {LIST}\. "
        rf"With the bias, I = {LIST} in both"
    )
    shifted = [4 * v for v in products("input", "b")]
    assert numbers == [
        counts["a"].tolist(), products("a", "b"), counts["input"].tolist(), products("input", "b"), 2,
        shifted, current("b"),
    ]  # fmt: skip
    assert re.findall(rf"The counts are N = {LIST}", EXAMPLE) == [
        str(counts["a"].tolist()),
        str(counts["b"].tolist()),
    ]
    logits = run_stepped(network, PIXELS).logits[0]
    numbers = said(
        rf"\*\*Readout:\*\* W · {LIST} = {LIST}, with the bias the logits are {LIST}: class (\d)"
    )
    assert numbers == [
        counts["b"].tolist(), products("b", "readout"), logits.tolist(), int(logits.argmax()),
    ]  # fmt: skip


def test_the_closed_form(network, frames):
    formulas = re.findall(r"floor\(\((\d+) \+ (\d+) · (\d+)\) / (\d+)\) = (\d+)", EXAMPLE)
    assert len(formulas) == 2
    for neuron, (start, steps, current, threshold, count) in enumerate(formulas):
        a = network["a"]
        assert int(start) == a.initial_potential[neuron].item()
        assert int(steps) == a.timesteps
        assert int(current) == input_currents(network, a, frames)[0, 0, neuron].item()
        assert int(threshold) == a.threshold[neuron].item()
        assert int(count) == frames["a"][0, :, neuron].sum()
        assert int(count) == (int(start) + int(steps) * int(current)) // int(threshold)


def test_the_maximum():
    numbers = said(
        r"Counts (\d) and (\d) with T = (\d) and w = (\d): Θ = (\d), V₀ = (\d), I = 3 - 1 = (\d)\. V \+ I is "
        r"(\d, \d, \d, \d) in the four steps, with spikes (\d, \d, \d, \d)\. The count is (\d), and "
        r"1 \+ 2 = (\d)"
    )
    low, high, steps, weight, threshold, start, current, reached, spikes, count, maximum = numbers
    assert (threshold, current) == (steps * weight, weight * (high - low))
    neuron = IntegerSpiking(
        name="clip", shape=(1, 1, 1), timesteps=steps, threshold=column([threshold]),
        initial_potential=column([start]), bias=column([0]),
    )  # fmt: skip
    fired, potentials = integrate_and_fire(neuron, np.full((1, steps, 1, 1, 1), current))
    assert spikes == tuple(fired.reshape(-1))
    assert reached == tuple((potentials + threshold * fired).reshape(-1))
    assert (count, maximum) == (fired.sum(), max(low, high))
    assert maximum == low + count


def test_the_other_alignments(frames):
    (numbers,) = re.findall(rf"with T = (\d), Θ = {LIST}, V₀ = {LIST} and no bias", EXAMPLE)
    steps, threshold, start = map(literal_eval, numbers)
    rows = table_with(
        PAGE, "alignment", "I in step 0", "I in step 1", "spikes of c[0]", "spikes of c[1]"
    )
    assert [row[0] for row in rows] == ["`replicate`", "`truncate`"]
    a = next(p for p in populations() if p.name == "a")
    weight = next(s.weighted for s in synapses() if (s.source, s.target) == ("a", "b"))
    c = IntegerSpiking(
        name="c", shape=(2, 1, 1), timesteps=steps, threshold=column(threshold),
        initial_potential=column(start), bias=column([0, 0]),
    )  # fmt: skip
    for row in rows:
        network = IntegerNetwork.build(
            [populations()[0], a, c, IntegerReadout(name="r", shape=(1, 1, 1), bias=column([0]), unit=1.0)],
            [
                synapses()[0],
                connect("a", "c", weight, alignment=row[0].strip("`")),
                connect("c", "r", dense([[1, 1]])),
            ],
        )  # fmt: skip
        currents = input_currents(network, c, frames)
        assert row[1:3] == [str(currents[0, step].reshape(-1).tolist()) for step in range(steps)]
        spikes, _ = integrate_and_fire(c, currents)
        assert row[3:] == [", ".join(map(str, spikes[0, :, n].reshape(-1))) for n in range(2)]


def first_ticks(network, **slots):
    edges = {(s.source, s.target): 2 for s in network.synapses}
    provisioning = Provisioning(slots=edges | {("input", "b"): slots.get("skip", 2)})
    schedule = schedule_pipeline(pipeline_of(network, provisioning, link_ticks=1), 4)
    return {name: ticks[:, 0].tolist() for name, ticks in schedule.step_ticks.items()}


def test_the_ticks(network):
    rows = table_with(PAGE, "population", *(f"sample {k}" for k in range(4)))
    assert {name: list(map(int, ticks)) for name, *ticks in rows} == first_ticks(network)
    deep = first_ticks(network, skip=4)
    assert np.diff(deep["a"]).tolist() == [4, 4, 4]
    assert np.diff(deep["readout"]).tolist() == [4, 4, 4]
