"""The tick model: hand-computed cases, a plain tick-by-tick reference, and the closed-form interval."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import integer_networks

from hw_models.multicore.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    single_changes,
)
from hw_models.multicore.pipeline import (
    AlignmentBuffer,
    Pipeline,
    pipeline_of,
    uniform_slots,
)
from hw_models.multicore.pipeline_ticks import ACTIVITIES, schedule_pipeline
from toolchain.errors import MappingError
from toolchain.integer_network import IntegerNetwork


def chain(windows, slots=2, link_ticks=0, frames=None):
    names = list(windows)
    buffers = tuple(
        AlignmentBuffer(source=a, target=b, slots=slots, frames=frames) for a, b in pairwise(names)
    )
    return Pipeline(windows=windows, buffers=buffers, link_ticks=link_ticks)


def drawn(schedule):
    """The schedule as text: one line a population, one letter a tick."""
    letters = {"busy": "#", "starved": "s", "blocked": "b", "drained": "."}
    return {
        name: "".join(letters[s.activity] * s.num_ticks for s in spans)
        for name, spans in schedule.spans.items()
    }


def test_ideal_pipeline_with_two_slots():
    schedule = schedule_pipeline(chain({"a": 1, "b": 3, "c": 2}), 3)
    assert drawn(schedule) == {
        "a": "##bb#.......",
        "b": ".#########..",
        "c": "..ss##s##s##",
    }


def test_one_slot_makes_neighbours_take_turns():
    schedule = schedule_pipeline(chain({"a": 2, "b": 3}, slots=1), 2)
    assert drawn(schedule) == {
        "a": "##bbb##...",
        "b": ".s###ss###",
    }


def test_link_ticks_delay_frames_and_credits():
    schedule = schedule_pipeline(chain({"a": 1, "b": 1}, slots=1, link_ticks=1), 2)
    assert drawn(schedule) == {"a": "#bbb#..", "b": "..#sss#"}


def test_replicate_starts_before_the_source_has_finished():
    schedule = schedule_pipeline(chain({"a": 2, "b": 4}, frames=(0, 0, 1, 1)), 1)
    assert drawn(schedule) == {"a": "##...", "b": ".####"}


def test_a_selected_frame_that_is_late_starves_a_window_inside():
    schedule = schedule_pipeline(chain({"a": 4, "b": 2}, frames=(0, 2)), 1)
    assert drawn(schedule) == {"a": "####", "b": ".#s#"}


def test_stalls_name_the_edge_that_was_waited_for():
    schedule = schedule_pipeline(chain({"a": 1, "b": 3, "c": 2}), 3)
    assert schedule.stall_causes("a") == {("blocked", ("a", "b")): 2}
    assert schedule.stall_causes("c") == {("starved", ("b", "c")): 4}


def tick_by_tick(pipeline, num_samples):
    """The rules of ``pipeline``, one tick after the other: what the recurrence must equal."""
    hop = 1 + pipeline.link_ticks
    fired = {n: np.full((num_samples, w), 10**9) for n, w in pipeline.windows.items()}
    position = dict.fromkeys(pipeline.windows, (0, 0))
    letters = dict.fromkeys(pipeline.windows, "")
    tick = 0
    while any(k < num_samples for k, _ in position.values()):
        firing = []
        for name, window in pipeline.windows.items():
            k, t = position[name]
            incoming, outgoing = pipeline.incoming(name), pipeline.outgoing(name)
            if k == num_samples:
                letters[name] += "."
                continue
            needs = [
                fired[b.source][k, -1 if b.frames is None else b.frames[t]] + hop
                for b in incoming
                if b.frames is None or b.frames[t] is not None
            ]
            needs = needs if t == 0 or any(b.frames for b in incoming) else []
            complete = all(tick >= need for need in needs)
            seen = not incoming or any(tick >= fired[b.source][0, 0] + hop for b in incoming)
            free = t > 0 or all(
                k < b.slots or tick >= fired[b.target][k - b.slots, -1] + hop for b in outgoing
            )
            if complete and free:
                firing.append((name, k, t, window))
                letters[name] += "#"
            else:
                letters[name] += "." if not complete and not seen else "b" if complete else "s"
        for name, k, t, window in firing:
            fired[name][k, t] = tick
            position[name] = (k, t + 1) if t + 1 < window else (k + 1, 0)
        tick += 1
    return fired, letters


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    integer_networks(alignments=("average", "replicate", "truncate")),
    st.data(),
    st.integers(0, 2),
    st.integers(1, 7),
)
def test_equals_the_tick_by_tick_rules(network, data, link_ticks, num_samples):
    slots = {edge: data.draw(st.integers(1, 3)) for edge in uniform_slots(network, 1)}
    pipeline = pipeline_of(network, slots, link_ticks)
    schedule = schedule_pipeline(pipeline, num_samples)
    fired, letters = tick_by_tick(pipeline, num_samples)
    for name in pipeline.windows:
        assert np.array_equal(schedule.step_ticks[name], fired[name])
    assert drawn(schedule) == letters
    for name in pipeline.windows:
        totals = schedule.activity_ticks(name)
        assert sum(totals.values()) == schedule.num_ticks
        assert set(totals) == set(ACTIVITIES)
        assert totals["busy"] == num_samples * pipeline.windows[name]


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    integer_networks(alignments=("average", "replicate", "truncate")), st.data(), st.integers(0, 2)
)
def test_steady_state_reaches_the_closed_form_interval(network, data, link_ticks):
    slots = {edge: data.draw(st.integers(1, 4)) for edge in uniform_slots(network, 1)}
    pipeline = pipeline_of(network, slots, link_ticks)
    interval = initiation_interval(pipeline).ticks
    done = schedule_pipeline(pipeline, 400).completion_ticks
    # after the transient the schedule repeats every c samples, c * interval ticks later
    periods = [
        c
        for c in range(1, 61)
        if np.array_equal(done[300:] - done[300 - c : 400 - c], np.full(100, float(c * interval)))
    ]
    assert periods


def test_interval_of_a_chain_is_its_longest_window_when_buffers_suffice():
    limit = initiation_interval(chain({"a": 1, "b": 3, "c": 2}, slots=2))
    assert (limit.ticks, limit.populations, limit.buffers) == (3, ("b",), ())


def test_interval_counts_the_links_of_a_short_buffer():
    pipeline = chain({"a": 3, "b": 3}, slots=2, link_ticks=1)
    limit = initiation_interval(pipeline)
    assert limit.ticks == Fraction(3 + 3 + 2, 2)
    assert set(limit.populations) == {"a", "b"}
    assert [str(b) for b in limit.buffers] == ["a -> b"]
    assert ideal_interval_ticks(pipeline) == 3
    assert [(c.description, c.ticks) for c in single_changes(pipeline)] == [
        ("one more slot on a -> b (D = 3)", Fraction(3)),
        ("one timestep less in a (T = 2)", Fraction(7, 2)),
        ("one timestep less in b (T = 2)", Fraction(7, 2)),
    ]


def test_a_short_skip_edge_limits_a_residual_join():
    windows = {"fork": 2, "long": 2, "join": 2}
    buffers = tuple(
        AlignmentBuffer(source=a, target=b, slots=2, frames=None)
        for a, b in [("fork", "long"), ("fork", "join"), ("long", "join")]
    )
    limit = initiation_interval(Pipeline(windows=windows, buffers=buffers, link_ticks=1))
    assert limit.ticks == Fraction(2 + 2 + 2 + 3, 2)
    assert [str(b) for b in limit.buffers] == ["fork -> join"]


def test_a_buffer_without_slots_is_refused():
    with pytest.raises(MappingError) as refusal:
        pipeline_of(IntegerNetwork.build([], []), {("conv1", "conv2"): 0}, link_ticks=1)
    assert str(refusal.value) == (
        "the alignment buffer conv1 -> conv2 must have at least 1 slot, not 0"
    )
