"""A run in Lava from Python: equal to the stepped engine and the tick model, or an error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deploy.check.engines as check
import qac_deploy as qd
from deploy.backends.lava.environment import find_lava_python
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from sim.runners.lava import LavaRun
from sim.stepped import run_stepped


def run_as_lava_should(build, pixels, *, num_ticks, python, probes=None):
    """What Lava returns if nothing is wrong."""
    schedule = schedule_pipeline(build.pipeline, len(pixels))
    return LavaRun(
        simulation=run_stepped(build.network, pixels),
        step_ticks=schedule.step_ticks,
        stalls={stage: schedule.activity_ticks(stage) for stage in schedule.spans},
    )


def other_logit(run):
    logits = run.simulation.logits.copy()
    logits[1, 3] += 1
    return replace(run, simulation=replace(run.simulation, logits=logits))


def other_stalls(run):
    stage, ticks = next(iter(run.stalls.items()))
    return replace(run, stalls={**run.stalls, stage: {**ticks, "busy": ticks["busy"] + 1}})


@pytest.mark.parametrize(
    ("change", "words"),
    [(other_logit, "logits differ at"), (other_stalls, "stall counters"), (lambda run: run, None)],
)
def test_a_run_that_differs_raises(flow, monkeypatch, change, words):
    monkeypatch.setattr(check, "find_lava_python", lambda explicit: Path("python"))
    monkeypatch.setattr(
        check, "run_build_in_lava", lambda *a, **options: change(run_as_lava_should(*a, **options))
    )
    pixels = flow.data.test_pixels[:2]
    if words is None:
        run = flow.build.simulate(pixels, "lava")
        assert "equal the tick model's" in run.notes[0]
        assert set(run.trains) == set(run.counts)
    else:
        with pytest.raises(qd.QacDeployError, match=f"Lava differs .*{words}"):
            flow.build.simulate(pixels, "lava")


@pytest.mark.lava
def test_lava_gives_the_integers_of_the_exact_engine(flow):
    pixels = flow.data.test_pixels[:2]
    run = flow.build.simulate(pixels, "lava", lava_python=find_lava_python())
    exact = flow.build.simulate(pixels)
    assert np.array_equal(run.logits, exact.logits)
    for name, train in exact.trains.items():
        assert np.array_equal(run.trains[name], train)
