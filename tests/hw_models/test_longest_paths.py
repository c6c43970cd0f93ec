"""Longest paths and positive cycles in few sweeps, and spans of part of a run."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from hw_models.multicore.pipeline.longest_paths import Arc, Sweeps
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline


def random_arcs(rng):
    """(place of each step, arcs): some ends are joined by several arcs, and some steps with themselves."""
    places = np.sort(rng.integers(0, 6, 10)).tolist()
    arcs = [Arc(*rng.integers(0, 10, 2).tolist(), int(rng.integers(-9, 4))) for _ in range(25)]
    return places, arcs


def test_cycles_and_paths_equal_those_of_networkx():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        places, arcs = random_arcs(rng)
        sweeps = Sweeps.of(places, [arc[:2] for arc in arcs])
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(range(10))
        graph.add_weighted_edges_from((s, t, -w) for s, t, w in arcs)
        positive = sweeps.has_positive_cycle(arcs)
        assert positive == nx.negative_edge_cycle(graph)
        verdicts.append(positive)
        if not positive:
            expected = nx.single_source_bellman_ford_path_length(graph, 0)
            found = sweeps.longest_paths(0, arcs)
            assert {n: -length for n, length in expected.items()} == {n: found[n] for n in expected}
            assert all(found[n] < -(2**50) for n in range(10) if n not in expected)
    assert 50 < sum(verdicts) < 250


class Counted(list):
    """Arcs of a sweep that count how often they are walked through."""

    walks = 0

    def __iter__(self):
        Counted.walks += 1
        return super().__iter__()


@pytest.mark.parametrize("populations", [10, 1_000])
def test_a_chain_of_any_depth_takes_few_sweeps(populations, monkeypatch):
    """Frames forward and credits backward: an arbitrary order takes as many passes as populations."""
    ends = [
        pair for n in range(populations - 1) for pair in ((n, n + 1), (n + 1, n))
    ]  # of steps that are one per population
    arcs = [Arc(source, target, 3 if source < target else -4) for source, target in ends]
    sweeps = Sweeps.of(range(populations), ends)
    monkeypatch.setattr(Counted, "walks", 0)
    monkeypatch.setattr(
        "hw_models.multicore.pipeline.longest_paths._in_order",
        lambda arcs, order: Counted(arcs[number] for number in order),
    )
    assert not sweeps.has_positive_cycle(arcs)
    assert sweeps.longest_paths(0, arcs)[-1] == 3 * (populations - 1)
    assert Counted.walks <= 8


def deep_chain(populations, frames=None):
    names = [f"layer{number}" for number in range(populations)]
    buffers = tuple(
        AlignmentBuffer(source=s, target=t, slots=2, frames=frames) for s, t in pairwise(names)
    )
    return Pipeline(windows=dict.fromkeys(names, 3), buffers=buffers, link_ticks=1)


def test_spans_of_some_ticks_are_few_and_equal_those_of_the_whole_run():
    schedule = schedule_pipeline(deep_chain(12), 60)
    for ticks in (range(5), range(100, 130), range(schedule.num_ticks - 4, schedule.num_ticks)):
        for stage, spans in schedule.spans_in(ticks).items():
            whole = schedule.spans[stage]
            inside = [s for s in whole if s.start < ticks.stop and s.stop > ticks.start]
            assert [s for s in spans if s in inside] == inside
            assert set(spans) <= set(whole)
            assert len(spans) <= len(inside) + 6


def test_steps_without_a_wait_between_them_are_one_span():
    schedule = schedule_pipeline(deep_chain(3, frames=(0, 1, 2)), 1)
    assert [(s.start, s.stop) for s in schedule.spans["layer2"] if s.activity == "busy"] == [(4, 7)]
