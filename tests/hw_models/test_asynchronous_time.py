"""Time without a barrier, against a plain reading of the rule core by core, and by hand."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from strategies import integer_networks, random_pixels

from hw_models.multicore.cost.asynchronous_time import asynchronous_time, tick_ends_ns
from hw_models.multicore.cost.event_counts import Events, count_events
from hw_models.multicore.cost.steady_pace import steady_cost, steady_state
from hw_models.multicore.cost.tick_cost import (
    arrivals_ns,
    computing_ns,
    core_ticks_ns,
    neurons_ns,
    run_cost,
)
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerInput

LOIHI = load_target("loihi-sim")


def mapped_run(network, num_samples):
    provisioning = uniform_provisioning(network, 2)
    schedule = schedule_pipeline(pipeline_of(network, provisioning, 1), num_samples)
    return map_network(network, LOIHI, provisioning), schedule


def sources_of_cores(mapping):
    """For each core those that hold a source neuron of one of its own, synapse by synapse."""
    sources = {row: set() for row in range(len(mapping.cores))}
    homes = {}
    for population in mapping.network.populations:
        home = np.full(population.shape, -1)
        for row, core in enumerate(mapping.cores):
            if core.tile.population == population.name:
                home[core.tile.slices] = row
        homes[population.name] = home.reshape(-1)
    for synapse in mapping.network.synapses:
        if isinstance(mapping.network[synapse.source], IntegerInput):
            continue
        for target, source in np.argwhere(dense_synapses(mapping.network, synapse)):
            sources[homes[synapse.target][target]].add(homes[synapse.source][source])
    return sources


@settings(max_examples=50)
@given(integer_networks(), st.integers(0, 2**32 - 1), st.sampled_from(["sanafe", "davies2018"]))
def test_every_core_waits_for_its_neighbours_only(network, seed, profile_name):
    network = within_exponents(network)
    pixels = random_pixels(network, seed)
    mapping, schedule = mapped_run(network, len(pixels))
    events = count_events(mapping, schedule, pixels, run_stepped(network, pixels).trains)
    profile = LOIHI.cost_profiles[profile_name]
    durations, sending, arrivals = (
        part(profile, events) for part in (computing_ns, neurons_ns, arrivals_ns)
    )
    sources = sources_of_cores(mapping)
    talks = {
        core: {core, *own, *(other for other in sources if core in sources[other])}
        for core, own in sources.items()
    }
    ends, by_tick = dict.fromkeys(sources, 0.0), []
    for tick in range(schedule.num_ticks):
        starts = {core: max(ends[other] for other in talks[core]) for core in ends}
        ends = {
            core: max(
                start + max(durations[core, tick], arrivals[core, tick]),
                *(
                    starts[source] + max(sending[source, tick], arrivals[core, tick])
                    for source in sources[core]
                ),
                0.0,
            )
            for core, start in starts.items()
        }
        by_tick.append([ends[row] for row in range(len(mapping.cores))])
    found = tick_ends_ns(mapping, profile, events)
    assert found == pytest.approx(np.array(by_tick).T)
    with_barrier = core_ticks_ns(profile, events)
    assert (found.max(axis=0) <= np.cumsum(with_barrier.max(axis=0)) + 1e-6).all()
    assert found[:, -1].max() >= with_barrier.sum(axis=1).max() - 1e-6


@settings(max_examples=30)
@given(integer_networks(), st.integers(0, 2**32 - 1), st.sampled_from(["sanafe", "davies2018"]))
def test_the_steady_pace_is_that_of_a_long_run_and_never_slower_than_with_a_barrier(
    network, seed, profile_name
):
    network = within_exponents(network)
    pixels = random_pixels(network, seed, samples=2)
    provisioning = uniform_provisioning(network, 2)
    mapping, pipeline = (
        map_network(network, LOIHI, provisioning),
        pipeline_of(network, provisioning, 1),
    )
    steady = steady_state(pipeline, len(pixels))
    events = steady.count_events(mapping, pixels, run_stepped(network, pixels).trains)
    profile = LOIHI.cost_profiles[profile_name]
    found = asynchronous_time(mapping, profile, steady, events)
    with_barrier = steady_cost(mapping, profile, steady, events)
    assert found.interval_s <= with_barrier.interval_s * (1 - with_barrier.barrier_share) * (
        1 + 1e-9
    )
    assert found.first_latency_s < with_barrier.first_latency_s
    first = steady.schedule.first_latency_ticks
    window = range(first, first + len(steady.ticks))
    repeated = Events(
        *(
            np.tile(getattr(events, f.name)[:, window.start : window.stop], 40)
            for f in fields(Events)
        )
    )
    ends = tick_ends_ns(mapping, profile, repeated).max(axis=0)
    later = (ends[-1] - ends[len(ends) // 2 - 1]) / 20
    assert found.interval_s == pytest.approx(later * 1e-9 / steady.num_samples, rel=1e-6)


def test_cores_that_do_not_talk_do_not_wait():
    """Two branches from the same pixels; ``left`` is slow in tick 0, ``right`` in tick 1.

    Each population has one core, every tick takes 1 ns to send spikes, and these two 99 ns more to look up
    synapses. With a barrier the two add up. Without, ``right`` waits in tick 1 for ``join`` alone, which
    ended tick 0 after 1 ns: both branches end tick 1 after 101 ns, and the five ticks left take 1 ns each.
    """
    edges = (
        ("input", "left"),
        ("input", "right"),
        ("left", "join"),
        ("right", "join"),
        ("join", "logits"),
    )
    branches = network_of(
        *map(spiking, ("left", "right", "join")),
        *(connect(source, target, dense([[1]])) for source, target in edges),
    )
    mapping, schedule = mapped_run(branches, 1)
    assert [core.tile.population for core in mapping.cores] == ["left", "right", "join", "logits"]
    counts = {f.name: np.zeros((4, schedule.num_ticks)) for f in fields(Events)}
    profile = LOIHI.cost_profiles["sanafe"]
    counts["spikes"][:] = 1 / profile.spike_ns
    counts["messages_in"][0, 0] = counts["messages_in"][1, 1] = 99 / profile.message_in_ns
    events = Events(**counts)
    assert schedule.num_ticks == 7
    assert tick_ends_ns(mapping, profile, events)[:, -1].max() == pytest.approx(101 + 5)
    with_barrier = run_cost(mapping, profile, schedule, events)
    assert with_barrier.interval_s * (1 - with_barrier.barrier_share) == pytest.approx(205e-9)
