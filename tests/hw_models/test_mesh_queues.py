"""Queues in the mesh, by hand: what lies on a spike's way, and the time that it takes."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from small_targets import small_target

from hw_models.multicore.cost.asynchronous_time import tick_ends_ns
from hw_models.multicore.cost.event_counts import Events, count_events
from hw_models.multicore.cost.mesh_queues import paths
from hw_models.multicore.cost.tick_cost import TIMES, arrivals_ns, computing_ns, run_cost
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from sim.stepped import run_stepped


def two_sources(left, right):
    """``left`` and ``right``, of so many neurons that all fire in their one step, send to ``join``."""

    sizes = {"input": 1, "left": left, "right": right, "join": 1, "logits": 1}
    edges = (
        ("input", "left"),
        ("input", "right"),
        ("left", "join"),
        ("right", "join"),
        ("join", "logits"),
    )
    return network_of(
        *(spiking(name, (sizes[name], 1, 1), bias=1) for name in ("left", "right", "join")),
        *(connect(a, b, dense(np.ones((sizes[b], sizes[a])))) for a, b in edges),
    )


def mapped_run(network, target):
    mapping = map_network(network, target, uniform_provisioning(network, 2))
    return mapping, schedule_pipeline(mapping.pipeline, 1)


@pytest.fixture
def row_of_tiles():
    """left, right, join and logits on a tile each, from west to east."""
    target = small_target(mesh={"width": 4, "height": 1, "cores_per_tile": 1})
    mapping, schedule = mapped_run(two_sources(2, 3), target)
    positions = {core.tile.population: core.position for core in mapping.cores}
    assert positions == {"left": (0, 0), "right": (1, 0), "join": (2, 0), "logits": (3, 0)}
    return mapping, schedule


def test_two_routes_that_share_a_link(row_of_tiles):
    """``left`` sends 2 spikes over 2 hops to ``join``, ``right`` 3 spikes over 1 hop, in one tick.

    Each of the first is a quarter of a message on each of its 4 links: 2/4 on the one out of ``left``, on
    that into the tile of ``right``, and on that into the tile of ``join``. Each of the second is a third on
    each of its 3 links: 3/3 on the one out of ``right``, and as much on the one into the tile of ``join``,
    which then has 3/2. The route from ``left`` has (1/2 + 1/2 + 3/2) / 3 on a link, the one from ``right``
    (1 + 3/2) / 2, which is more.
    """
    mapping, schedule = row_of_tiles
    pixels = np.ones((1, 1, 1, 1), np.int64)
    events = count_events(mapping, schedule, pixels, run_stepped(mapping.network, pixels).trains)
    left, right, join, logits = range(4)
    sent = int(schedule.step_ticks["left"][0, 0])
    assert events.messages_out[[left, right], sent].tolist() == [2, 3]
    expected = np.zeros(events.queues.shape)
    expected[join, sent] = (1 + 3 / 2) / 2
    # one spike of ``join`` crosses one hop: a third of it on each link, alone
    expected[logits, int(schedule.step_ticks["join"][0, 0])] = 1 / 3
    assert events.queues == pytest.approx(expected)
    # five messages with a synapse each: a core receives one in 16 + 4.7 ns
    profile = mapping.target.cost_profiles["sanafe"]
    assert arrivals_ns(profile, events)[join, sent] == pytest.approx(1.25 * (16 + 4.7))


def test_messages_go_along_x_then_along_y():
    """Links are numbered after the cores: four into each tile, column by column, from west to north."""
    target = small_target(mesh={"width": 2, "height": 2, "cores_per_tile": 1})
    mapping, _ = mapped_run(two_sources(1, 1), target)
    positions = [core.position for core in mapping.cores]
    assert positions == [(0, 0), (1, 0), (1, 1), (0, 1)]  # a snake
    to_join, back, same = (
        paths(mapping, np.array([source]), np.array([target]))
        for source, target in [(0, 2), (2, 0), (1, 1)]
    )
    west, east, south, north = (len(positions) + direction for direction in range(4))
    tile = {(x, y): 4 * (2 * x + y) for x in (0, 1) for y in (0, 1)}
    assert to_join.link.tolist() == [0, tile[1, 0] + east, tile[1, 1] + north]
    assert back.link.tolist() == [2, tile[0, 1] + west, tile[0, 0] + south]
    assert same.link.tolist() == [1]
    assert [line.hops.tolist() for line in (to_join, back, same)] == [[2], [2], [0]]


def test_a_message_to_another_chip_loads_the_link_out_of_its_core_alone():
    target = small_target(mesh={"width": 2, "height": 1, "cores_per_tile": 1})
    mapping, _ = mapped_run(two_sources(1, 1), target)
    assert [core.chip_index for core in mapping.cores] == [0, 0, 1, 1]
    across = paths(mapping, np.array([0]), np.array([2]))
    assert across.link.tolist() == [0]
    assert across.hops.tolist() == [0]


def test_a_core_waits_for_what_queues_in_the_mesh(row_of_tiles):
    """``join`` has nothing to compute in tick 3, but 10 messages of 16 ns are on its way."""
    mapping, schedule = row_of_tiles
    profile = mapping.target.cost_profiles["sanafe"]
    counts = {f.name: np.zeros((4, schedule.num_ticks)) for f in fields(Events)}
    left, join, tick = 0, 2, 3
    counts["messages_in"][left, tick] = 5  # all messages of the tick, 80 ns
    counts["queues"][join, tick] = 10
    events = Events(**counts)
    assert computing_ns(profile, events)[join].sum() == 0
    cost = run_cost(mapping, profile, schedule, events)
    assert cost.interval_s * (1 - cost.barrier_share) == pytest.approx(160e-9)
    seconds = dict(zip(TIMES, np.array(cost.core_times).T, strict=True))
    assert seconds["mesh"] == pytest.approx([0, 0, 160e-9, 0])
    assert seconds["computing"] == pytest.approx([80e-9, 0, 0, 0])
    assert cost.times["join"].pace_s == pytest.approx(160e-9)
    assert tick_ends_ns(mapping, profile, events)[:, -1].max() == pytest.approx(160)
