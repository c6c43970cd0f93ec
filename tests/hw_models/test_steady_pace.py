"""The steady state: events of a run that shows few samples in turn, and a pace that longer runs keep."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from single_synapses import within_exponents
from strategies import integer_networks, random_pixels

from hw_models.multicore.event_counts import count_events
from hw_models.multicore.initiation_interval import initiation_interval
from hw_models.multicore.mapping import map_network
from hw_models.multicore.pipeline import pipeline_of
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from hw_models.multicore.provisioning import uniform_provisioning
from hw_models.multicore.steady_pace import steady_pace, steady_schedule
from hw_models.multicore.tick_cost import run_cost
from hw_models.target_description import load_target
from sim.stepped import run_stepped

LOIHI = load_target("loihi-sim")


def mapped(network, replicas, samples, seed):
    provisioning = uniform_provisioning(network, 2, replicas)
    pixels = random_pixels(network, seed, samples=samples)
    return (
        map_network(network, LOIHI, provisioning),
        pipeline_of(network, provisioning, 1),
        pixels,
        run_stepped(network, pixels).trains,
    )


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(integer_networks(), st.integers(0, 2**32 - 1), st.data())
def test_few_samples_in_turn_are_those_of_the_run_written_out(network, seed, data):
    network = within_exponents(network)
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    mapping, pipeline, pixels, trains = mapped(network, replicas, 3, seed)
    schedule = schedule_pipeline(pipeline, 8)
    shown = np.arange(8) % 3
    in_turn = count_events(mapping, schedule, pixels, trains)
    written_out = count_events(
        mapping, schedule, pixels[shown], {name: train[shown] for name, train in trains.items()}
    )
    for field in fields(in_turn):
        counts, expected = getattr(in_turn, field.name), getattr(written_out, field.name)
        assert np.array_equal(counts, expected), field.name


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(integer_networks(), st.integers(0, 2**32 - 1), st.data())
def test_a_run_three_times_as_long_keeps_the_pace(network, seed, data):
    """One image again and again, so that the steady state repeats after whole intervals.

    Up to a hundredth: what is left of the transient moves single events over the ends of the middle.
    """
    network = within_exponents(network)
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2])) for p in network.populations[1:]}
    mapping, pipeline, pixels, trains = mapped(network, replicas, 2, seed)
    last = {name: train[1:] for name, train in trains.items()}
    profile = LOIHI.cost_profiles["sanafe"]
    # whole rounds of critical cycles that look back 2, 4, 6 or 8 samples
    period = 24 * initiation_interval(pipeline).ticks.denominator
    schedule = steady_schedule(pipeline, period)
    pace = steady_pace(
        mapping, profile, schedule, count_events(mapping, schedule, pixels[1:], last)
    )
    assert sum(pace.shares.values()) == pytest.approx(1)
    assert set(pace.shares) == set(mapping.grids)

    def total_s(samples):
        long = schedule_pipeline(pipeline, samples)
        events = count_events(mapping, long, pixels[1:], last)
        return run_cost(mapping, profile, long, events).total_s

    samples = schedule.num_samples
    further = total_s(3 * samples + 2 * period) - total_s(3 * samples)
    assert pace.interval_s == pytest.approx(further / (2 * period), rel=0.01)
