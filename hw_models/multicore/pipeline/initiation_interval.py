"""The steady-state initiation interval in closed form: the pipeline's maximum cycle ratio.

The rules of ``pipeline`` make a timed event graph. Every dependency has a delay in ticks and a number of
samples by which it looks back; in the steady state one sample leaves every

    max over cycles (sum of delays) / (samples looked back)

ticks (Baccelli et al., "Synchronization and Linearity", 1992, section 3.2). The window of a population is a
cycle of T_l ticks for as many samples as it has replicas. The frames and credits between two neighbours make
a cycle of (T_p + T_q + 2 link_ticks) / D. Joins and forks make longer ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import ceil
from typing import Any

from hw_models.multicore.pipeline.longest_paths import Arc, Sweeps
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline

_LOOKS = frozenset(2**power for power in range(6, 24))
"""Passes over all dependencies after which a cycle is looked for; at the end there must be one."""


@dataclass(frozen=True)
class Dependency:
    """``target`` of sample k fires at least ``delay`` ticks after ``source`` of sample k - tokens."""

    source: tuple[str, int]
    target: tuple[str, int]
    delay: int
    tokens: int
    buffer: AlignmentBuffer | None = None  # for credits: the buffer whose slots they count


@dataclass(frozen=True, kw_only=True)
class InitiationInterval:
    """The closed-form interval and the cycle that sets it.

    Attributes:
        ticks: ticks from one sample to the next in the steady state.
        populations: populations on the critical cycle, in its order.
        buffers: buffers for whose slots the critical cycle waits; empty if one population's own firing
            window is the limit, and no buffer depth can shorten the interval.
    """

    ticks: Fraction
    populations: tuple[str, ...]
    buffers: tuple[AlignmentBuffer, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change to the pipeline and the interval it would give.

    Attributes:
        slots: D of the changed buffers, for all replicas of the target together.
        windows: T of the changed populations.
        replicas: R of the changed populations.
    """

    description: str
    ticks: Fraction
    slots: Mapping[tuple[str, str], int] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)


def initiation_interval(pipeline: Pipeline) -> InitiationInterval:
    """Solve the maximum cycle ratio exactly, by raising a bound until no cycle exceeds it."""
    dependencies = dependencies_of(pipeline)
    limiting = max(pipeline.windows, key=lambda name: _share_of_window(pipeline, name))
    best = InitiationInterval(
        ticks=_share_of_window(pipeline, limiting), populations=(limiting,), buffers=()
    )
    while exceeds(pipeline, dependencies, best.ticks):
        cycle = _cycle_above(dependencies, best.ticks)
        names = dict.fromkeys(d.source[0] for d in cycle)
        best = InitiationInterval(
            ticks=Fraction(sum(d.delay for d in cycle), sum(d.tokens for d in cycle)),
            populations=tuple(names),
            buffers=tuple(d.buffer for d in cycle if d.buffer is not None),
        )
    return best


def sustains(pipeline: Pipeline, ticks: Fraction | int) -> bool:
    """Whether the steady state is at least as fast as one sample every ``ticks``."""
    return not exceeds(pipeline, dependencies_of(pipeline), Fraction(ticks))


def exceeds(pipeline: Pipeline, dependencies: Sequence[Dependency], ticks: Fraction | int) -> bool:
    """Whether some cycle of a pipeline's dependencies takes more than ``ticks`` per sample."""
    sweeps, arcs = sweeps_and_arcs(pipeline, dependencies, Fraction(ticks))
    return sweeps.has_positive_cycle(arcs)


def sweeps_and_arcs(
    pipeline: Pipeline, dependencies: Sequence[Dependency], ticks: Fraction
) -> tuple[Sweeps, list[Arc]]:
    """Dependencies as arcs; their sum on a cycle is above 0 if it takes more than ``ticks`` per sample."""
    number: dict[tuple[str, int], int] = {}
    for dependency in dependencies:
        for step in (dependency.source, dependency.target):
            number.setdefault(step, len(number))
    place = {name: index for index, name in enumerate(pipeline.windows)}
    tokens, delay = ticks.numerator, ticks.denominator  # once, as there may be many dependencies
    arcs = [
        Arc(number[d.source], number[d.target], delay * d.delay - tokens * d.tokens)
        for d in dependencies
    ]
    sweeps = Sweeps.of([place[name] for name, _ in number], [arc[:2] for arc in arcs])
    return sweeps, arcs


def weight(dependency: Dependency, ticks: Fraction) -> int:
    """The delay beyond ``ticks`` per sample, in units of the denominator of ``ticks``."""
    return ticks.denominator * dependency.delay - ticks.numerator * dependency.tokens


def ideal_interval_ticks(pipeline: Pipeline) -> Fraction:
    """The interval that no buffer depth can beat: the longest firing window, shared by its replicas."""
    return max(_share_of_window(pipeline, name) for name in pipeline.windows)


def least_replicas(pipeline: Pipeline, ticks: int) -> dict[str, int]:
    """Fewest replicas of each population such that no window takes more than ``ticks`` per sample.

    Populations that need only one are left out, and so are those without sources: they are on the host.
    """
    fed = dict.fromkeys(b.target for b in pipeline.buffers)
    return {n: ceil(pipeline.windows[n] / ticks) for n in fed if pipeline.windows[n] > ticks}


def single_changes(pipeline: Pipeline) -> list[Change]:
    """The interval with one more slot, one timestep less, or one more replica, best first.

    Only changes on the critical cycle can shorten the interval, so no others are tried. Of equally good
    ones the cheapest comes first: slots, then timesteps, then replicas.
    """
    limit = initiation_interval(pipeline)
    critical = [name for name in pipeline.windows if name in limit.populations]
    changed: list[Change] = []

    def add(description: str, other: Pipeline, **parts: Any) -> None:
        ticks = initiation_interval(other).ticks
        changed.append(Change(description=description, ticks=ticks, **parts))

    for buffer in dict.fromkeys(limit.buffers):
        count = pipeline.num_replicas(buffer.target)
        wider = replace(buffer, slots=buffer.slots + count)
        buffers = tuple(wider if b == buffer else b for b in pipeline.buffers)
        where = f"{buffer}" if count == 1 else f"{buffer} for each replica"
        description = f"one more slot on {where} (D = {wider.slots})"
        add(description, replace(pipeline, buffers=buffers), slots={wider.edge: wider.slots})
    for group in dict.fromkeys(_equal_windows(pipeline, name) for name in critical):
        if (steps := pipeline.windows[group[0]] - 1) > 0:
            who = group[0] if len(group) == 1 else f"{group[0]} and its max pooling"
            shorter = reduce(_one_step_less, group, pipeline)
            windows = dict.fromkeys(group, steps)
            add(f"one timestep less in {who} (T = {steps})", shorter, windows=windows)
    for name in critical:
        if pipeline.incoming(name):
            count = pipeline.num_replicas(name) + 1
            description = f"one more replica of {name} (R = {count})"
            add(description, _one_replica_more(pipeline, name), replicas={name: count})
    return sorted(changed, key=lambda change: change.ticks)


def _share_of_window(pipeline: Pipeline, name: str) -> Fraction:
    return Fraction(pipeline.windows[name], pipeline.num_replicas(name))


def _equal_windows(pipeline: Pipeline, name: str) -> tuple[str, ...]:
    """The populations whose windows must be as long as that of one of them."""
    return next((group for group in pipeline.equal_windows if name in group), (name,))


def _one_replica_more(pipeline: Pipeline, name: str) -> Pipeline:
    """The pipeline with one more replica, which has as many slots as the others."""
    count = pipeline.num_replicas(name)
    buffers = tuple(
        replace(b, slots=b.slots // count * (count + 1)) if b.target == name else b
        for b in pipeline.buffers
    )
    return replace(pipeline, buffers=buffers, replicas={**pipeline.replicas, name: count + 1})


def _one_step_less(pipeline: Pipeline, name: str) -> Pipeline:
    steps = pipeline.windows[name] - 1
    buffers = []
    for buffer in pipeline.buffers:
        frames = buffer.frames
        if frames is not None and buffer.target == name:
            frames = frames[:steps]
        if frames is not None and buffer.source == name:
            frames = tuple(None if f is None else min(f, steps - 1) for f in frames)
        buffers.append(replace(buffer, frames=frames))
    return replace(pipeline, windows={**pipeline.windows, name: steps}, buffers=tuple(buffers))


def dependencies_of(pipeline: Pipeline) -> list[Dependency]:
    """All rules as dependencies between steps; a step is (population, index).

    Steps to which no frame or credit goes are left out: they follow one tick after the step before.
    """
    hop = 1 + pipeline.link_ticks
    found = []
    for name, steps in _steps_with_links(pipeline).items():
        window = pipeline.windows[name]
        found += [Dependency((name, a), (name, b), b - a, 0) for a, b in pairwise(steps)]
        replicas = pipeline.num_replicas(name)
        found.append(Dependency((name, window - 1), (name, 0), 1, replicas))
    for buffer in pipeline.buffers:
        last_of_source = (buffer.source, pipeline.windows[buffer.source] - 1)
        last_of_target = (buffer.target, pipeline.windows[buffer.target] - 1)
        if buffer.frames is None:
            found.append(Dependency(last_of_source, (buffer.target, 0), hop, 0))
        else:
            found += [
                Dependency((buffer.source, frame), (buffer.target, step), hop, 0)
                for step, frame in enumerate(buffer.frames)
                if frame is not None
            ]
        found.append(Dependency(last_of_target, (buffer.source, 0), hop, buffer.slots, buffer))
    return found


def _steps_with_links(pipeline: Pipeline) -> dict[str, list[int]]:
    """The first and the last step of each population, and those that send or read a selected frame."""
    steps = {name: {0, window - 1} for name, window in pipeline.windows.items()}
    for buffer in pipeline.buffers:
        for step, frame in enumerate(buffer.frames or ()):
            if frame is not None:
                steps[buffer.source].add(frame)
                steps[buffer.target].add(step)
    return {name: sorted(linked) for name, linked in steps.items()}


def _cycle_above(dependencies: Sequence[Dependency], ratio: Fraction) -> list[Dependency]:
    """A cycle whose delays exceed ``ratio`` ticks per sample, if there is one (Bellman-Ford)."""
    weights = [weight(d, ratio) for d in dependencies]
    steps = dict.fromkeys(step for d in dependencies for step in (d.source, d.target))
    distance = dict.fromkeys(steps, 0)
    reached_by: dict[tuple[str, int], Dependency] = {}
    last: tuple[str, int] | None = None
    for number in range(len(steps) + 1):
        for dependency, excess in zip(dependencies, weights, strict=True):
            candidate = distance[dependency.source] + excess
            if candidate > distance[dependency.target]:
                distance[dependency.target] = candidate
                reached_by[dependency.target] = dependency
                last = dependency.target
        assert last is not None, "there is such a cycle"
        if number in _LOOKS and (cycle := _cycle_behind(last, reached_by)):
            return cycle
    assert last is not None
    cycle = _cycle_behind(last, reached_by)
    assert cycle is not None, "a step that is still reached later lies behind a cycle"
    return cycle


def _cycle_behind(
    step: tuple[str, int], reached_by: Mapping[tuple[str, int], Dependency]
) -> list[Dependency] | None:
    """The cycle that a walk back from a step runs into, if it does."""
    seen = set()
    while step not in seen:
        seen.add(step)
        if step not in reached_by:
            return None
        step = reached_by[step].source
    cycle = [reached_by[step]]
    while cycle[-1].source != step:
        cycle.append(reached_by[cycle[-1].source])
    return cycle[::-1]
