"""Frames that a slot of an alignment buffer holds at once, by a run of the pipeline tick by tick."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from random_pipelines import random_pipeline
from small_networks import residual_network

from hw_models.multicore.mapping.core_program import core_programs
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.multicore.pipeline.repetition import frames_held
from hw_models.target_description import load_target
from sim.core_by_core import frames_and_probes, verify_cores
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork

LOIHI = load_target("loihi-sim")


def most_held(schedule, buffer):
    """Most frames of one sample in the buffer in any tick: arrived, and still to be read."""
    if buffer.frames is None:
        return 1
    steps = schedule.step_ticks
    held = defaultdict(set)  # (sample, tick) -> frames
    for sample in range(schedule.num_samples):
        for step, frame in enumerate(buffer.frames):
            if frame is not None:
                arrived = steps[buffer.source][sample, frame] + 1
                for tick in range(arrived, steps[buffer.target][sample, step] + 1):
                    held[sample, tick].add(frame)
    return max(map(len, held.values()), default=1)


def test_as_many_frames_are_held_as_in_a_long_run():
    several = 0
    for seed in range(25):
        pipeline = random_pipeline(np.random.default_rng(seed))
        schedule = schedule_pipeline(pipeline, 200)
        held = frames_held(pipeline)
        assert held == {b.edge: most_held(schedule, b) for b in pipeline.buffers}
        several += max(held.values()) > 1
    assert several > 5


def aligned(method):
    network = residual_network()
    synapses = [replace(s, alignment=method) for s in network.synapses]
    return IntegerNetwork.build(network.populations, synapses)


@pytest.mark.parametrize(
    ("method", "stem_to_join", "compartments"),
    [("average", 1, 5), ("replicate", 3, 11), ("truncate", 3, 11)],
)
def test_each_frame_that_a_slot_holds_takes_a_compartment(method, stem_to_join, compartments):
    """The join waits for the inner layer, and meanwhile its slot holds all three frames of the stem."""
    mapping = map_network(aligned(method), LOIHI, uniform_provisioning(aligned(method), 2))
    assert mapping.frames_held["stem", "join"] == stem_to_join
    use = mapping.cores_of("join")[0].use
    assert use.compartments == compartments * use.neurons


def test_a_core_with_too_few_places_for_frames_computes_something_else():
    network = aligned("replicate")
    mapping = map_network(network, LOIHI, uniform_provisioning(network, 2))
    pixels = np.random.default_rng(0).integers(0, 16, (2, 1, 4, 4))
    frames = frames_and_probes(mapping, pixels, run_stepped(network, pixels).trains)
    schedule = schedule_pipeline(mapping.pipeline, len(frames["input"]))
    assert verify_cores(mapping, schedule, frames) is None

    def fewer(mapping, population):
        for program in core_programs(mapping, population):
            edges = (replace(e, frames=max(e.frames - 1, 1)) for e in program.edges)
            yield replace(program, edges=tuple(edges))

    assert verify_cores(mapping, schedule, frames, programs=fewer) is not None
