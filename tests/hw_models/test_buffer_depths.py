"""Least buffer depths: they sustain the interval in simulation, and no slot can be taken away."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from random_pipelines import random_pipeline

from hw_models.multicore.pipeline.buffer_depths import least_depths, steady_stall_share, with_depths
from hw_models.multicore.pipeline.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    sustains,
)
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline


def test_depths_of_a_residual_join_by_hand():
    """a (T=2) -> b (T=2) -> c (T=2) with a skip a -> c, no links, one result every 2 ticks.

    Between neighbours a slot is held from the source's first step to the target's last: 4 ticks, so
    2 slots. The skip's is held over b's window too: 6 ticks, 3 slots.
    """
    buffers = tuple(
        AlignmentBuffer(source=s, target=t, slots=1, frames=None)
        for s, t in (("a", "b"), ("b", "c"), ("a", "c"))
    )
    pipeline = Pipeline(windows={"a": 2, "b": 2, "c": 2}, buffers=buffers, link_ticks=0)
    depths = least_depths(pipeline, 2, dict.fromkeys([b.edge for b in buffers], 1))
    assert depths == {("a", "b"): 2, ("b", "c"): 2, ("a", "c"): 3}
    assert steady_stall_share(with_depths(pipeline, depths), Fraction(2)) == 0
    assert steady_stall_share(pipeline, Fraction(6)) == pytest.approx(2 / 3)


def test_least_depths_of_random_pipelines():
    rng = np.random.default_rng(0)
    for _ in range(60):
        pipeline = random_pipeline(rng)
        cost = {b.edge: int(rng.integers(1, 100)) for b in pipeline.buffers}
        ideal = ideal_interval_ticks(pipeline)
        ticks = ideal + Fraction(int(rng.integers(0, 4)), 2)
        depths = least_depths(pipeline, ticks, cost)
        sized = with_depths(pipeline, depths)
        assert initiation_interval(sized).ticks <= ticks
        done = schedule_pipeline(sized, 160).completion_ticks
        assert done[-1] - done[79] <= 80 * ticks + ideal
        for edge, slots in depths.items():
            each = pipeline.num_replicas(edge[1])
            assert slots % each == 0
            if slots > each:
                assert not sustains(with_depths(pipeline, {**depths, edge: slots - each}), ticks)
        stages = [stage for name in pipeline.windows for stage in pipeline.stages(name)]
        schedule = schedule_pipeline(sized, 160)
        interval = initiation_interval(sized).ticks
        fed = {b.target for b in pipeline.buffers}
        busy = [
            schedule.activity_ticks(stage)["busy"] / (160 * interval)
            for stage in stages
            if stage.split("#")[0] in fed
        ]
        share = steady_stall_share(sized, interval)
        assert share == pytest.approx(1 - sum(busy) / len(busy), abs=0.02)


def test_replicas_for_every_step_leave_no_stall():
    """a (T=1, host) -> b (T=3) -> c (T=2): three and two replicas give one result a tick, all busy."""
    buffers = tuple(
        AlignmentBuffer(source=s, target=t, slots=slots, frames=None)
        for s, t, slots in (("a", "b", 3), ("b", "c", 2))
    )
    replicas = {"b": 3, "c": 2}
    pipeline = Pipeline(
        windows={"a": 1, "b": 3, "c": 2}, buffers=buffers, link_ticks=1, replicas=replicas
    )
    depths = least_depths(pipeline, 1, dict.fromkeys([b.edge for b in buffers], 1))
    # a slot is held for 1 + 3 + 2 links and for 3 + 2 + 2 links: 6 and 7 samples, in threes and twos
    assert depths == {("a", "b"): 6, ("b", "c"): 8}
    assert steady_stall_share(with_depths(pipeline, depths), Fraction(1)) == 0


def test_an_interval_below_the_longest_window_is_refused():
    pipeline = Pipeline(windows={"a": 3}, buffers=(), link_ticks=0)
    with pytest.raises(
        ValueError, match="no buffer can sustain 2 ticks: a firing window is longer"
    ):
        least_depths(pipeline, 2, {})
