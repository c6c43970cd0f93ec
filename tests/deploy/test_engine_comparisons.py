"""The comparisons behind `simulate`, `verify` and `compare` report a single wrong integer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_networks import residual_network
from strategies import random_pixels

from deploy.backends.lava.environment import find_lava_python
from deploy.build.load import load_build
from deploy.check import engines
from deploy.check import verify as ladder
from deploy.check.engines import compare_array, compare_lava_run
from deploy.check.judged_build import judge
from deploy.check.verify import RtlLimit, verify
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.functional import run_on_array
from sim.runners.lava import LavaRun
from sim.stepped import run_stepped
from toolchain.errors import LavaError

NETWORK = residual_network()
PIXELS = random_pixels(NETWORK, 3, samples=4)
REFERENCE = run_stepped(NETWORK, PIXELS)
SCHEDULE = schedule_pipeline(pipeline_of(NETWORK, uniform_provisioning(NETWORK, 2), 1), len(PIXELS))
SPIKING = list(REFERENCE.counts)


def changed(arrays, name, at, change):
    """The arrays with one of them copied and one of its entries changed."""
    array = arrays[name].copy()
    array.reshape(-1)[at] = change(array.reshape(-1)[at])
    return {**arrays, name: array}


def off_by_one(value):
    return value + 1


def good_run():
    """What Lava gives where everything is right."""
    return LavaRun(
        simulation=REFERENCE,
        step_ticks=dict(SCHEDULE.step_ticks),
        stalls={stage: dict(SCHEDULE.activity_ticks(stage)) for stage in SCHEDULE.spans},
    )


def test_an_equal_run_in_lava_has_no_difference():
    assert compare_lava_run(REFERENCE, SCHEDULE, good_run()).first_difference is None


@pytest.mark.parametrize("name", SPIKING)
def test_a_wrong_count_of_lava_is_named(name):
    counts = changed(REFERENCE.counts, name, 3, off_by_one)
    run = replace(good_run(), simulation=replace(REFERENCE, counts=counts))
    found = compare_lava_run(REFERENCE, SCHEDULE, run)
    assert found.integers is not None
    assert found.integers.startswith(f"{name}: counts differ at (sample, channel, row, column)")
    assert (found.step_ticks, found.stalls) == (None, None)
    assert found.first_difference == found.integers


def test_a_wrong_spike_and_a_wrong_logit_of_lava_are_named():
    trains = changed(REFERENCE.trains, SPIKING[-1], -1, np.logical_not)
    run = replace(good_run(), simulation=replace(REFERENCE, trains=trains))
    assert f"{SPIKING[-1]}: trains differ at" in compare_lava_run(REFERENCE, SCHEDULE, run).integers
    logits = REFERENCE.logits.copy()
    logits[-1, -1] -= 1
    run = replace(good_run(), simulation=replace(REFERENCE, logits=logits))
    assert "logits differ at" in compare_lava_run(REFERENCE, SCHEDULE, run).integers


def test_a_train_that_lava_does_not_give_is_a_difference():
    trains = {n: t for n, t in REFERENCE.trains.items() if n != SPIKING[0]}
    run = replace(good_run(), simulation=replace(REFERENCE, trains=trains))
    found = compare_lava_run(REFERENCE, SCHEDULE, run)
    assert found.integers == f"{SPIKING[0]}: its spike trains are missing"


@pytest.mark.parametrize("name", list(SCHEDULE.step_ticks))
def test_one_tick_off_is_named(name):
    run = replace(good_run(), step_ticks=changed(SCHEDULE.step_ticks, name, -1, off_by_one))
    found = compare_lava_run(REFERENCE, SCHEDULE, run)
    assert found.step_ticks == f"{name}: steps fire in other ticks than in the tick model"
    assert (found.integers, found.stalls) == (None, None)
    assert found.first_difference == found.step_ticks


@pytest.mark.parametrize("activity", ["busy", "starved", "blocked", "drained"])
def test_one_wrong_stall_counter_is_named(activity):
    run = good_run()
    stage = list(run.stalls)[-1]
    run.stalls[stage][activity] += 1
    found = compare_lava_run(REFERENCE, SCHEDULE, run)
    assert found.stalls is not None
    assert found.stalls.startswith(f"{stage}: stall counters ")
    assert (found.integers, found.step_ticks) == (None, None)
    assert found.first_difference == found.stalls


def test_an_equal_array_has_no_difference():
    assert compare_array(REFERENCE, NETWORK, load_array("pe-array"), PIXELS) is None


@pytest.mark.parametrize("mode", ["snn_temporal", "snn_bit_planes"])
def test_one_wrong_count_of_the_array_is_named(monkeypatch, mode):
    """Under either schedule; the other one is right."""

    def run(network, array, pixels, used):
        result = run_on_array(network, array, pixels, used)
        if used.name != mode:
            return result
        return replace(result, counts=changed(result.counts, SPIKING[1], 5, off_by_one))

    monkeypatch.setattr(engines, "run_on_array", run)
    found = compare_array(REFERENCE, NETWORK, load_array("pe-array"), PIXELS)
    assert found.startswith(f"{mode}: {SPIKING[1]}: counts differ at")


def no_lava():
    raise LavaError("none here")


def flipped(build):
    """A build whose judge found one more spike, or one less, than there is."""
    name = next(iter(build.reference.trains))
    trains = changed(build.reference.trains, name, 7, np.logical_not)
    counts = {n: t.sum(axis=1, dtype=np.int64) for n, t in trains.items()}
    return replace(build, reference=replace(build.reference, counts=counts, trains=trains))


def test_every_rung_reports_a_difference(compiled, monkeypatch):
    """The judge's spikes are changed; what computes without them is given a difference to report."""
    build = judge(load_build(compiled[1]), 1)
    good = {rung.name: rung.status for rung in verify(build, no_lava)}
    assert set(good.values()) == {"equal", "skipped"}
    rtl = SimpleNamespace(
        left_out={},
        max_pools=(),
        num_kernels=1,
        cycles=10,
        simulator="icarus",
        difference="stem: in the RTL",
    )
    monkeypatch.setattr(ladder, "verify_cores", lambda *_, **__: "stem: on a core")
    monkeypatch.setattr(ladder, "verify_in_rtl", lambda *_, **__: rtl)
    limit = RtlLimit(simulator="icarus", cycles=1_000)
    wrong = {rung.name: rung for rung in verify(flipped(build), no_lava, rtl=limit)}
    different = [name for name, rung in wrong.items() if rung.status == "different"]
    assert different == [
        "stepped engine -> exact engine",
        "integer network -> cores",
        "integer network -> PE array",
        "PE array -> its RTL",
    ]
    assert all("stem: " in wrong[name].detail for name in different)


@pytest.mark.lava
def test_the_rung_of_lava_reports_a_difference(compiled):
    build = flipped(judge(load_build(compiled[1]), 1))
    wrong = {rung.name: rung for rung in verify(build, find_lava_python)}
    rung = wrong["Lava bundle -> Lava on the CPU"]
    assert rung.status == "different"
    assert rung.detail.startswith("stem: counts differ at")
