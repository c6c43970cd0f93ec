"""The critical path: by hand, and without gaps on random pipelines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from random_pipelines import random_pipeline

from hw_models.multicore.pipeline.critical_path import critical_path
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline


def test_two_stages_that_take_turns():
    """a (T=2) -> b (T=3) with one slot: a's second sample waits for b's first."""
    buffer = AlignmentBuffer(source="a", target="b", slots=1, frames=None)
    pipeline = Pipeline(windows={"a": 2, "b": 3}, buffers=(buffer,), link_ticks=0)
    path = critical_path(schedule_pipeline(pipeline, 2), 1)
    assert [(s.population, s.sample, s.start, s.stop, s.reason) for s in path] == [
        ("a", 0, 0, 2, "first"),
        ("b", 0, 2, 5, "frame"),
        ("a", 1, 5, 7, "credit"),
        ("b", 1, 7, 10, "frame"),
    ]


def test_the_path_of_random_pipelines_has_no_gap():
    rng = np.random.default_rng(0)
    for _ in range(200):
        schedule = schedule_pipeline(random_pipeline(rng), 7)
        path = critical_path(schedule, 6)
        assert path[0].start == 0
        assert path[0].reason == "first"
        assert path[-1].stop == schedule.completion_ticks[6]
        assert all(a.stop == b.start for a, b in pairwise(path))
