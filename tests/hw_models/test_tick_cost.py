"""Seconds and joules: every event recounted one by one, and times that add up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from math import lcm

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from small_targets import small_target
from strategies import integer_networks, random_pixels

from hw_models.multicore.cost.event_counts import Events, count_events
from hw_models.multicore.cost.tick_cost import computing_ns, run_cost
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerInput
from toolchain.networks.linear_maps import Dense

LOIHI = load_target("loihi-sim")

EVENT_NAMES = {
    "synaptic event": "synaptic",
    "convolution event": "convolution",
    "active update": "active_updates",
    "spike": "spikes",
    "message out": "messages_out",
    "hop east-west": "hops_east_west",
    "hop north-south": "hops_north_south",
    "chip crossing": "chip_crossings",
}


@pytest.fixture(scope="module")
def small_chips():
    """Chips of two cores on two mesh tiles, so that most messages leave theirs."""
    mesh = {"width": 2, "height": 1, "cores_per_tile": 1}
    return small_target(mesh=mesh)


def cost_of_run(network, pixels, profile="sanafe", target=LOIHI, replicas=None):
    provisioning = uniform_provisioning(network, 2, replicas)
    schedule = schedule_pipeline(pipeline_of(network, provisioning, 1), len(pixels))
    mapping = map_network(network, target, provisioning)
    trains = run_stepped(network, pixels).trains
    cost = run_cost(
        mapping,
        target.cost_profiles[profile],
        schedule,
        count_events(mapping, schedule, pixels, trains),
    )
    return mapping, schedule, trains, cost


def recounted(mapping, schedule, pixels, trains):
    """Events added up spike by spike and synapse by synapse."""
    shape = (len(mapping.cores), schedule.num_ticks)
    events = Events(*(np.zeros(shape, np.int64) for _ in fields(Events)))
    core_of = {p.name: cores_of_neurons(mapping, p) for p in mapping.network.populations}
    messages, talking = defaultdict(int), set()  # between two cores in a tick; who may send to whom
    for population in mapping.network.populations:
        if not isinstance(population, IntegerInput):
            recount_neurons(events, schedule, population, core_of[population.name], trains)
    for synapse in mapping.network.synapses:
        recount_synapse(events, messages, mapping, schedule, synapse, core_of, pixels, trains)
        talking |= pairs_of_cores(mapping.network, synapse, core_of)
    for row, core in enumerate(mapping.cores):
        idle = core.use.compartments - events.active_updates[row]
        events.inactive_updates[row] = np.maximum(idle, 0)
    return replace(events, queues=_queues(mapping, events, messages, talking))


def _way(mapping, source, target):
    """Links from one core to another, hop by hop: along x, then along y."""
    start, end = mapping.cores[source], mapping.cores[target]
    links = [("out of", source)]
    if start.chip_index != end.chip_index:
        return links
    at = list(start.position)
    for axis in (0, 1):
        while at[axis] != end.position[axis]:
            step = 1 if end.position[axis] > at[axis] else -1
            at[axis] += step
            links.append((start.chip_index, tuple(at), axis, step))
    return links


def _queues(mapping, events, messages, talking):
    loads = defaultdict(float)
    for (source, target, tick), count in messages.items():
        way = _way(mapping, source, target)
        for link in way:
            loads[link, tick] += count / (len(way) + 1)
    queues = np.zeros(events.spikes.shape)
    for source, target in talking:
        way = _way(mapping, source, target)
        for tick in np.flatnonzero(events.messages_out[source] * events.messages_in[target]):
            load = sum(loads[link, tick] for link in way) / len(way)
            queues[target, tick] = max(queues[target, tick], load)
    return queues


def cores_of_neurons(mapping, population):
    """Index of the core of each neuron, ``(replicas, neurons)``; -1 on no core."""
    cores = np.full((mapping.num_replicas(population.name), *population.shape), -1)
    for row, core in enumerate(mapping.cores):
        if core.tile.population == population.name:
            cores[core.replica][core.tile.slices] = row
    return cores.reshape(len(cores), -1)


def recount_neurons(events, schedule, population, cores, trains):
    """Every neuron is updated in each of its steps, and some spike."""
    for (sample, step), tick in np.ndenumerate(schedule.step_ticks[population.name]):
        own = cores[sample % len(cores)]
        np.add.at(events.active_updates, (own, tick), 1)
        if population.name in trains:
            spikes = trains[population.name][sample, step].reshape(-1)
            np.add.at(events.spikes, (own[spikes], tick), 1)


def recount_synapse(events, messages, mapping, schedule, synapse, core_of, pixels, trains):
    """Every spike of the source reaches the targets of every replica that its sender feeds."""
    source = mapping.network[synapse.source]
    is_input = isinstance(source, IntegerInput)
    frames = num_spikes(source, pixels, trains)
    links = dense_synapses(mapping.network, synapse)
    is_dense = any(isinstance(linear_map, Dense) for linear_map in synapse.maps)
    kind = events.synaptic if is_dense else events.convolution
    senders, receivers = core_of[synapse.source], core_of[synapse.target]
    for (sample, step), tick in np.ndenumerate(schedule.step_ticks[synapse.source]):
        own = sample % len(senders)
        # the host sends pixels to the replica that takes the sample; a core, to all that it ever feeds
        fed = [sample] if is_input else range(own, lcm(len(senders), len(receivers)), len(senders))
        reached = sorted({k % len(receivers) for k in fed})
        for replica in reached:
            integrated = min(tick + 1, schedule.num_ticks - 1)
            np.add.at(events.active_updates, (receivers[replica], integrated), 1)
        for neuron in np.flatnonzero(frames[sample, step]):
            spikes = frames[sample, step, neuron]
            rows, synapses = np.unique(receivers[reached][:, links[:, neuron]], return_counts=True)
            kind[rows, tick] += spikes * synapses
            events.messages_in[rows, tick] += spikes
            if not is_input:  # the host injects pixels; no core sends them
                recount_messages(
                    events, messages, mapping, senders[own, neuron], rows, tick, spikes
                )


def pairs_of_cores(network, synapse, core_of):
    """Cores that may send each other spikes: replicas that ever share a sample, neuron by neuron."""
    if isinstance(network[synapse.source], IntegerInput):
        return set()
    senders, receivers = core_of[synapse.source], core_of[synapse.target]
    pairs = np.argwhere(dense_synapses(network, synapse))
    shared = {
        (sample % len(senders), sample % len(receivers))
        for sample in range(lcm(len(senders), len(receivers)))
    }
    return {
        pair
        for own, replica in shared
        for pair in zip(senders[own][pairs[:, 1]], receivers[replica][pairs[:, 0]], strict=True)
    }


def num_spikes(source, pixels, trains):
    """Spikes of each neuron in each step, ``(samples, T, neurons)``; a pixel sends one per bit."""
    if isinstance(source, IntegerInput):
        frames = np.array([bin(int(pixel)).count("1") for pixel in pixels.reshape(-1)])
    else:
        frames = trains[source.name].astype(int)
    return frames.reshape(len(pixels), source.timesteps, -1)


def recount_messages(events, messages, mapping, sender, receivers, tick, spikes):
    """One message per receiving core, hop by hop, or over the edge of the chip."""
    home = mapping.cores[sender]
    for receiver, core in ((receiver, mapping.cores[receiver]) for receiver in receivers):
        events.messages_out[sender, tick] += spikes
        messages[sender, receiver, tick] += spikes
        if core.chip_index != home.chip_index:
            events.chip_crossings[sender, tick] += spikes
            continue
        x, y = np.abs(np.subtract(home.position, core.position))
        events.hops_east_west[sender, tick] += spikes * x
        events.hops_north_south[sender, tick] += spikes * y


@settings(max_examples=60)
@given(integer_networks(), st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_events_are_those_of_every_single_spike(small_chips, network, seed, is_small, data):
    network = within_exponents(network)
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    pixels = random_pixels(network, seed, samples=data.draw(st.integers(1, 5)))
    target = small_chips if is_small else LOIHI
    mapping, schedule, trains, cost = cost_of_run(network, pixels, target=target, replicas=replicas)
    expected = recounted(mapping, schedule, pixels, trains)
    channels_last = {
        name: np.ascontiguousarray(train.transpose(1, 0, 3, 4, 2)).transpose(1, 0, 4, 2, 3)
        for name, train in trains.items()
    }
    for layout in (trains, channels_last):
        events = count_events(mapping, schedule, pixels, layout)
        for field in fields(Events):
            pair = getattr(events, field.name), getattr(expected, field.name)
            same = np.allclose if field.name == "queues" else np.array_equal
            assert same(*pair), field.name
    for name, kind in EVENT_NAMES.items():
        total = getattr(expected, kind).sum() / len(pixels)
        assert cost.events_per_sample[name] == pytest.approx(total), name


@settings(max_examples=30)
@given(
    integer_networks(),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["sanafe", "davies2018"]),
    st.integers(1, 3),
)
def test_times_and_energies_add_up(network, seed, profile, count):
    network = within_exponents(network)
    pixels = random_pixels(network, seed)
    replicas = {"layer0": count}
    mapping, schedule, _, cost = cost_of_run(network, pixels, profile, replicas=replicas)
    barrier_s = LOIHI.cost_profiles[profile].barrier_duration_ns(mapping.num_tiles) * 1e-9
    barriers_s = barrier_s * schedule.num_ticks / len(pixels)
    assert cost.barrier_share * cost.interval_s == pytest.approx(barriers_s)
    assert barriers_s < cost.interval_s
    assert sum(cost.energy_by_event_j.values()) == pytest.approx(cost.energy_per_sample_j)
    times = np.array(cost.core_times)
    assert (times >= 0).all()
    assert times.sum(axis=1) == pytest.approx(np.full(len(mapping.cores), cost.interval_s))
    for name, time in cost.times.items():
        rows = [i for i, core in enumerate(mapping.cores) if core.tile.population == name]
        assert time.computing_s == pytest.approx(times[rows, 0].mean())
        stages = schedule.pipeline.stages(name)
        if all(schedule.activity_ticks(stage)["blocked"] == 0 for stage in stages):
            assert time.blocked_s == 0
    paces = sum(time.pace_s for time in cost.times.values())
    assert paces == pytest.approx(cost.interval_s - barriers_s)
    assert cost.shares == pytest.approx({n: t.pace_s / paces for n, t in cost.times.items()})


def test_synapses_work_in_the_tick_in_which_the_spike_is_sent():
    """A neuron that spikes in its last two of three steps: its target looks its synapse up in those ticks."""
    chain = network_of(
        spiking("layer", timesteps=3, initial=-1),
        connect("input", "layer", dense([[1]])),
        connect("layer", "logits", dense([[1]])),
    )
    provisioning = uniform_provisioning(chain, 2)
    schedule = schedule_pipeline(pipeline_of(chain, provisioning, 1), 1)
    pixels = np.ones((1, 1, 1, 1), np.int64)
    trains = run_stepped(chain, pixels).trains
    assert trains["layer"].reshape(-1).tolist() == [False, True, True]
    events = count_events(map_network(chain, LOIHI, provisioning), schedule, pixels, trains)
    layer, logits = range(2)
    assert schedule.step_ticks["layer"].tolist() == [[2, 3, 4]]
    assert events.spikes[layer].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert events.messages_in[layer].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert events.synaptic[layer].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert events.messages_in[logits].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert events.synaptic[logits].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert events.active_updates[layer].tolist() == [0, 1, 1, 1, 1, 0, 0]  # its buffer, its steps
    assert events.active_updates[logits].tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_one_synapse_by_hand():
    """One pixel of value 3 (two bits), one readout neuron with two slots, link of one tick.

    Tick 0 injects the pixel, whose two axon events reach the core and their synapses in it; in tick 1 the
    buffer integrates; in tick 2 the readout adds. In each tick the other compartments are serviced idle.
    """
    alone = network_of(connect("input", "logits", dense([[1]])), max_value=3)
    _, schedule, _, cost = cost_of_run(alone, np.full((1, 1, 1, 1), 3))
    assert schedule.num_ticks == 3
    barrier, synapse, arrival, active, idle = 600, 4.7, 16.0, 9.7, 6.0
    ticks_ns = [
        2 * synapse + 2 * arrival + 2 * idle + barrier,
        active + idle + barrier,
        active + idle + barrier,
    ]
    assert cost.interval_s == pytest.approx(sum(ticks_ns) * 1e-9)
    (core,) = cost.core_times
    assert core[0] == pytest.approx(
        cost.interval_s - 3 * barrier * 1e-9
    )  # alone, it waits for nobody
    energy_pj = 2 * 33.6 + 2 * 72.8 + 4 * 51.2
    assert cost.energy_per_sample_j == pytest.approx(energy_pj * 1e-12)


@pytest.mark.parametrize("profile", ["sanafe", "davies2018"])
def test_one_event_of_each_kind_takes_its_own_time(profile):
    times = LOIHI.cost_profiles[profile]
    durations = {
        "synaptic": times.synaptic_event_ns,
        "convolution": times.convolution_event_ns,
        "active_updates": times.active_update_ns,
        "inactive_updates": times.inactive_update_ns,
        "spikes": times.spike_ns,
        "messages_out": times.message_out_ns,
        "messages_in": times.message_in_ns,
    }
    nothing = Events(*(np.zeros((1, 1)) for _ in fields(Events)))
    for event in fields(Events):
        taken_ns = computing_ns(times, replace(nothing, **{event.name: np.ones((1, 1))}))
        assert taken_ns.item() == durations.get(event.name, 0), event.name
