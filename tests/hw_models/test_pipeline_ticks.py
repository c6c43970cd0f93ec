"""The tick model: hand-computed cases, a plain tick-by-tick reference, and the closed-form interval."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import integer_networks

from hw_models.multicore.pipeline.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    least_replicas,
    single_changes,
)
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline, pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES, schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from toolchain.errors import OptionError
from toolchain.networks.integer_network import IntegerNetwork


def chain(windows, slots=2, link_ticks=0, frames=None, **replicas):
    """Slots are those of each replica."""
    names = list(windows)
    buffers = tuple(
        AlignmentBuffer(source=a, target=b, slots=slots * replicas.get(b, 1), frames=frames)
        for a, b in pairwise(names)
    )
    return Pipeline(windows=windows, buffers=buffers, link_ticks=link_ticks, replicas=replicas)


def drawn(schedule):
    """The schedule as text: one line a stage, one letter a tick."""
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


def test_two_replicas_take_samples_in_turn():
    schedule = schedule_pipeline(chain({"a": 1, "b": 3, "c": 1}, slots=4, b=2), 5)
    assert drawn(schedule) == {
        "a": "#####......",
        "b#0": ".#########.",
        "b#1": "..######...",
        "c": "..ss##s##s#",
    }
    assert schedule.step_ticks["b"][:, 0].tolist() == [1, 2, 4, 5, 7]
    assert schedule.activity_ticks("b#1") == {"busy": 6, "starved": 0, "blocked": 0, "drained": 5}


def test_a_slot_belongs_to_the_replica_that_works_on_its_sample():
    """One slot for each of two replicas: sample 2 waits for the first to have finished sample 0."""
    schedule = schedule_pipeline(chain({"a": 1, "b": 2}, slots=1, b=2), 4)
    assert drawn(schedule) == {"a": "##b##..", "b#0": ".##s##.", "b#1": "..##s##"}
    assert schedule.stall_causes("a") == {("blocked", ("a", "b")): 1}


def test_more_replicas_than_samples_leave_some_drained():
    schedule = schedule_pipeline(chain({"a": 1, "b": 2}, b=3), 2)
    assert drawn(schedule) == {"a": "##..", "b#0": ".##.", "b#1": "..##", "b#2": "...."}


def test_stalls_name_the_edge_that_was_waited_for():
    schedule = schedule_pipeline(chain({"a": 1, "b": 3, "c": 2}), 3)
    assert schedule.stall_causes("a") == {("blocked", ("a", "b")): 2}
    assert schedule.stall_causes("c") == {("starved", ("b", "c")): 4}


def tick_by_tick(pipeline, num_samples):
    """The rules of ``pipeline``, one tick after the other: what the recurrence must equal."""
    hop = 1 + pipeline.link_ticks
    fired = {n: np.full((num_samples, w), 10**9) for n, w in pipeline.windows.items()}
    stages = {
        stage: (name, replica, len(pipeline.stages(name)))
        for name in pipeline.windows
        for replica, stage in enumerate(pipeline.stages(name))
    }
    position = {stage: (replica, 0) for stage, (_, replica, _) in stages.items()}
    letters = dict.fromkeys(stages, "")
    tick = 0
    while any(k < num_samples for k, _ in position.values()):
        firing = []
        for stage, (name, replica, count) in stages.items():
            window = pipeline.windows[name]
            k, t = position[stage]
            incoming, outgoing = pipeline.incoming(name), pipeline.outgoing(name)
            if k >= num_samples:
                letters[stage] += "."
                continue
            needs = [
                fired[b.source][k, -1 if b.frames is None else b.frames[t]] + hop
                for b in incoming
                if b.frames is None or b.frames[t] is not None
            ]
            needs = needs if t == 0 or any(b.frames for b in incoming) else []
            complete = all(tick >= need for need in needs)
            first = replica  # sample of the stage
            seen = not incoming or any(tick >= fired[b.source][first, 0] + hop for b in incoming)
            free = t > 0 or all(
                k < b.slots or tick >= fired[b.target][k - b.slots, -1] + hop for b in outgoing
            )
            if complete and free:
                firing.append((stage, name, k, t, window, count))
                letters[stage] += "#"
            else:
                letters[stage] += "." if not complete and not seen else "b" if complete else "s"
        for stage, name, k, t, window, count in firing:
            fired[name][k, t] = tick
            position[stage] = (k, t + 1) if t + 1 < window else (k + count, 0)
        tick += 1
    return fired, letters


def drawn_pipeline(network, data, link_ticks, most_slots):
    """Any depth of each buffer and one to three replicas of each population on the chip."""
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    slots = {
        edge: data.draw(st.integers(1, most_slots)) * replicas[edge[1]]
        for edge in uniform_provisioning(network, 1).slots
    }
    return pipeline_of(network, Provisioning(slots=slots, replicas=replicas), link_ticks)


@settings(max_examples=300)
@given(
    integer_networks(alignments=("average", "replicate", "truncate")),
    st.data(),
    st.integers(0, 2),
    st.integers(1, 7),
)
def test_equals_the_tick_by_tick_rules(network, data, link_ticks, num_samples):
    pipeline = drawn_pipeline(network, data, link_ticks, most_slots=3)
    schedule = schedule_pipeline(pipeline, num_samples)
    fired, letters = tick_by_tick(pipeline, num_samples)
    for name in pipeline.windows:
        assert np.array_equal(schedule.step_ticks[name], fired[name])
    assert drawn(schedule) == letters
    for name in pipeline.windows:
        count = pipeline.num_replicas(name)
        for replica, stage in enumerate(pipeline.stages(name)):
            totals = schedule.activity_ticks(stage)
            assert sum(totals.values()) == schedule.num_ticks
            assert set(totals) == set(ACTIVITIES)
            samples = len(range(replica, num_samples, count))
            assert totals["busy"] == samples * pipeline.windows[name]


@settings(max_examples=300)
@given(
    integer_networks(alignments=("average", "replicate", "truncate")), st.data(), st.integers(0, 2)
)
def test_steady_state_reaches_the_closed_form_interval(network, data, link_ticks):
    pipeline = drawn_pipeline(network, data, link_ticks, most_slots=4)
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
        ("one more replica of b (R = 2)", Fraction(3)),  # with its own two slots
        ("one timestep less in a (T = 2)", Fraction(7, 2)),
        ("one timestep less in b (T = 2)", Fraction(7, 2)),
    ]


def test_windows_of_exact_max_pooling_shorten_together():
    """Its populations have the T of their source: no change names one of them alone."""
    pipeline = replace(chain({"a": 3, "m": 3, "b": 2}, slots=2), equal_windows=(("a", "m"),))
    assert [(c.description, c.ticks) for c in single_changes(pipeline)] == [
        ("one timestep less in a and its max pooling (T = 2)", Fraction(2)),
    ]


def test_a_replica_halves_its_window_in_the_bound():
    limit = initiation_interval(chain({"a": 1, "b": 3, "c": 1}, slots=4, b=2))
    assert (limit.ticks, limit.populations, limit.buffers) == (Fraction(3, 2), ("b",), ())
    alone = chain({"a": 1, "b": 5, "c": 3, "d": 2}, slots=4)
    assert [(c.description, c.ticks) for c in single_changes(alone)] == [
        ("one more replica of b (R = 2)", Fraction(3)),
        ("one timestep less in b (T = 4)", Fraction(4)),
    ]
    assert least_replicas(alone, 4) == {"b": 2}
    assert least_replicas(alone, 2) == {"b": 3, "c": 2}
    assert least_replicas(alone, 1) == {"b": 5, "c": 3, "d": 2}


def test_replicas_share_the_slots_of_their_buffer():
    """D = 2, one for each replica of b, over 1 + 3 + 2 ticks: one slot more for each is D = 4."""
    limit = initiation_interval(chain({"a": 1, "b": 3}, slots=1, link_ticks=1, b=2))
    assert limit.ticks == Fraction(1 + 3 + 2, 2)
    changes = single_changes(chain({"a": 1, "b": 3}, slots=1, link_ticks=1, b=2))
    assert [(c.description, c.ticks) for c in changes] == [
        ("one more slot on a -> b for each replica (D = 4)", Fraction(3, 2)),
        ("one more replica of b (R = 3)", Fraction(2)),
        ("one timestep less in b (T = 2)", Fraction(5, 2)),
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
    provisioning = Provisioning(slots={("conv1", "conv2"): 0})
    with pytest.raises(OptionError) as refusal:
        pipeline_of(IntegerNetwork.build([], []), provisioning, link_ticks=1)
    assert str(refusal.value) == (
        "the alignment buffer conv1 -> conv2 must have at least 1 slot, not 0"
    )


@pytest.mark.parametrize(
    ("replicas", "complaint"),
    [
        (
            {"layer0": 2},
            "the alignment buffer input -> layer0 must have as many slots for each of the 2 replicas of "
            "'layer0': a multiple of 2, not 3",
        ),
        (
            {"input": 2},
            "'input' cannot be replicated, it is not a population on the chip; these are: layer0, logits",
        ),
        ({"layer0": 0}, "'layer0' must have at least 1 replica, not 0"),
    ],
)
def test_replicas_that_cannot_be_are_refused(replicas, complaint):
    chain = network_of(
        spiking("layer0", timesteps=2),
        connect("input", "layer0", dense([[1]])),
        connect("layer0", "logits", dense([[1]])),
    )
    provisioning = replace(uniform_provisioning(chain, 3), replicas=replicas)
    with pytest.raises(OptionError) as refusal:
        pipeline_of(chain, provisioning, 1)
    assert str(refusal.value) == complaint
