"""The steady state: events of a run that shows few samples in turn, and figures that longer runs keep."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_pipelines import random_pipeline
from single_synapses import within_exponents
from strategies import integer_networks, random_pixels

from hw_models.multicore.cost.asynchronous_time import asynchronous_time
from hw_models.multicore.cost.event_counts import count_events
from hw_models.multicore.cost.steady_pace import _window, steady_cost, steady_state
from hw_models.multicore.cost.tick_cost import tick_durations_ns, ticks_cost
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.buffer_depths import with_depths
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
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


@settings(max_examples=40)
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
        same = np.allclose if field.name == "queues" else np.array_equal
        assert same(counts, expected), field.name


@settings(max_examples=20)
@given(integer_networks(), st.integers(0, 2**32 - 1), st.data())
def test_figures_are_what_every_further_period_of_a_run_costs(network, seed, data):
    """A run twice as long, priced whole: each of its later periods costs what the steady state says."""
    network = within_exponents(network)
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    mapping, pipeline, pixels, trains = mapped(network, replicas, 2, seed)
    profile = LOIHI.cost_profiles["sanafe"]
    steady = steady_state(pipeline, len(pixels))
    found = steady_cost(mapping, profile, steady, steady.count_events(mapping, pixels, trains))
    assert len(steady.ticks) == steady.num_samples * initiation_interval(pipeline).ticks
    assert sum(found.shares.values()) == pytest.approx(1)
    assert set(found.shares) == set(mapping.grids)
    assert {time.drained_s for time in found.times.values()} == {0}

    long = schedule_pipeline(pipeline, 2 * steady.schedule.num_samples)
    events = count_events(mapping, long, pixels, trains)
    period = len(steady.ticks)
    for start in (steady.ticks.start, steady.ticks.start + 1, steady.ticks.stop):
        if start + period > steady.schedule.num_ticks:
            continue
        ticks = range(start, start + period)
        later = ticks_cost(
            mapping, profile, long, events[start : ticks.stop], ticks, steady.num_samples
        )
        assert later.interval_s == pytest.approx(found.interval_s, rel=1e-12)
        assert later.events_per_sample == pytest.approx(found.events_per_sample, rel=1e-12)
        assert np.allclose(later.core_times, found.core_times, rtol=1e-9, atol=1e-18)
    first = tick_durations_ns(mapping, profile, events)[: long.first_latency_ticks].sum()
    assert found.first_latency_s == pytest.approx(first * 1e-9)


def test_a_steady_state_of_random_pipelines_repeats_itself():
    """Also where the interval is a fraction: whole periods, and no stage without a sample."""
    rng = np.random.default_rng(0)
    fractions = 0
    for _ in range(60):
        pipeline = random_pipeline(rng)
        ticks = initiation_interval(pipeline).ticks
        fractions += ticks.denominator > 1
        steady = steady_state(pipeline, 4)
        assert steady.num_samples % 4 == 0
        assert len(steady.ticks) == steady.num_samples * ticks
        long = schedule_pipeline(pipeline, steady.schedule.num_samples + steady.num_samples)
        for name, steps in long.step_ticks.items():
            inside = (steps >= steady.ticks.start) & (steps < steady.ticks.stop)
            assert inside.sum() == steady.num_samples * pipeline.windows[name]
            again = steps[inside] + len(steady.ticks)
            assert set(again.tolist()) <= set(steps.reshape(-1).tolist())
        for spans in steady.schedule.spans.values():
            for span in spans:
                if span.start < steady.ticks.stop and span.stop > steady.ticks.start:
                    assert span.activity != "drained"
    assert fractions > 3


def test_neither_more_slots_nor_more_replicas_slow_a_pipeline_down():
    rng = np.random.default_rng(1)
    faster = 0
    for _ in range(60):
        pipeline = random_pipeline(rng)
        buffer = pipeline.buffers[int(rng.integers(len(pipeline.buffers)))]
        count = pipeline.num_replicas(buffer.target)
        deeper = with_depths(
            pipeline, {b.edge: b.slots + count * (b == buffer) for b in pipeline.buffers}
        )
        more = replace(
            with_depths(
                pipeline,
                {
                    b.edge: b.slots // count * (count + 1) if b.target == buffer.target else b.slots
                    for b in pipeline.buffers
                },
            ),
            replicas={**pipeline.replicas, buffer.target: count + 1},
        )
        today, *others = (
            Fraction(len(steady.ticks), steady.num_samples)
            for steady in (steady_state(p, 1) for p in (pipeline, deeper, more))
        )
        assert max(others) <= today
        faster += min(others) < today
    assert faster > 3


@settings(max_examples=15)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_seconds_and_joules_are_linear_in_the_coefficients(network, seed):
    """Everything twice as dear and as slow; powers of two, so exactly."""
    mapping, pipeline, pixels, trains = mapped(within_exponents(network), {}, 2, seed)
    profile = LOIHI.cost_profiles["sanafe"]
    doubled = replace(
        profile,
        **{
            f.name: 2 * getattr(profile, f.name)
            for f in fields(profile)
            if f.name.endswith(("_pj", "_ns")) and f.name != "barrier_ns"
        },
        barrier_ns=tuple((tiles, 2 * ns) for tiles, ns in profile.barrier_ns),
    )
    steady = steady_state(pipeline, len(pixels))
    events = steady.count_events(mapping, pixels, trains)
    once, twice = (steady_cost(mapping, p, steady, events) for p in (profile, doubled))
    assert twice.interval_s == pytest.approx(2 * once.interval_s, rel=1e-12)
    assert twice.first_latency_s == pytest.approx(2 * once.first_latency_s, rel=1e-12)
    assert twice.energy_per_sample_j == pytest.approx(2 * once.energy_per_sample_j, rel=1e-12)
    assert twice.shares == pytest.approx(once.shares)
    apart = (asynchronous_time(mapping, p, steady, events) for p in (profile, doubled))
    assert np.divide(*(time.interval_s for time in apart)) == pytest.approx(0.5, rel=1e-9)


def test_a_period_too_long_to_count_is_cut():
    assert _window(8, 2, 3) == 24
    assert _window(8, 2, 5 * 7 * 11 * 13) == 8  # without the turns of the replicas
    assert _window(8, 1021, 1) == 1024
