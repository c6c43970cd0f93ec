"""Random pipelines with forks, joins and replicas, every depth D >= 1: all finish, at the bound."""

from __future__ import annotations

import numpy as np
import pytest
from random_pipelines import random_pipeline

from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline

NUM_SAMPLES, LONGEST_PERIOD = 160, 40


@pytest.mark.parametrize("num_graphs", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_random_graphs_finish_at_the_interval_of_the_bound(num_graphs):
    rng = np.random.default_rng(num_graphs)
    for _ in range(num_graphs):
        pipeline = random_pipeline(rng)
        ticks = initiation_interval(pipeline).ticks
        done = schedule_pipeline(pipeline, NUM_SAMPLES).completion_ticks
        assert (np.diff(done) > 0).all()
        # parts that no buffer ties to the slowest one may run ahead; the last to finish sets the pace
        repeats = [
            period
            for period in range(1, LONGEST_PERIOD + 1)
            if done[-1] - done[-1 - period] == period * ticks
        ]
        assert repeats, (pipeline, ticks, done[-20:])
