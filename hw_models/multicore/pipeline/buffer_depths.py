"""The shallowest alignment buffers that sustain an interval.

A pipeline sustains an interval if no cycle of its dependencies takes longer per sample (see
``initiation_interval``). So depths follow from that bound, and no run is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil

from hw_models.multicore.pipeline.initiation_interval import (
    dependencies_of,
    ideal_interval_ticks,
    sustains,
    sweeps_and_arcs,
    weight,
)
from hw_models.multicore.pipeline.longest_paths import Arc
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.provisioning import BufferSlots


def least_depths(
    pipeline: Pipeline, ticks: Fraction | int, slot_cost: Mapping[tuple[str, str], int]
) -> dict[tuple[str, str], int]:
    """Minimal slots D of each buffer that sustain an interval.

    Removing one slot from any buffer, or one per replica of its target, breaks it.

    Args:
        ticks: the interval, at least the longest firing window divided by its replicas.
        slot_cost: cost of one slot of each buffer, such as compartments; the dearest are cut first.

    Raises:
        ValueError: a firing window is longer than the interval.
    """
    if ticks < ideal_interval_ticks(pipeline):
        raise ValueError(f"no buffer can sustain {ticks} ticks: a firing window is longer")
    depths = {b.edge: pipeline.num_replicas(b.target) for b in pipeline.buffers}
    while not sustains(with_depths(pipeline, depths), ticks):
        depths = {edge: 2 * slots for edge, slots in depths.items()}
    sized = with_depths(pipeline, depths)
    dependencies = dependencies_of(sized)
    sweeps, arcs = sweeps_and_arcs(sized, dependencies, Fraction(ticks))
    credits = {d.buffer.edge: n for n, d in enumerate(dependencies) if d.buffer is not None}
    for edge in sorted(depths, key=lambda edge: (-slot_cost[edge], edge)):
        number, each = credits[edge], pipeline.num_replicas(edge[1])
        if depths[edge] > each:
            # the credit closes a cycle with the longest path back to it, which its slots must make up for
            last, first, _ = arcs[number]
            credit = replace(dependencies[number], tokens=0)
            needed = sweeps.longest_paths(first, arcs)[last] + weight(credit, Fraction(ticks))
            depths[edge] = each * max(ceil(Fraction(needed, Fraction(ticks).numerator * each)), 1)
            credit = replace(credit, tokens=depths[edge])
            arcs[number] = Arc(last, first, weight(credit, Fraction(ticks)))
    return depths


def with_depths(pipeline: Pipeline, depths: BufferSlots) -> Pipeline:
    """A pipeline whose buffers have these slots."""
    buffers = tuple(replace(b, slots=depths[b.edge]) for b in pipeline.buffers)
    return replace(pipeline, buffers=buffers)


def steady_stall_share(pipeline: Pipeline, ticks: Fraction) -> float:
    """Share of the steady state in which a stage does not fire, mean over the stages on the chip.

    A stage is busy for T_l ticks in R_l intervals, and starved or blocked in the rest. Populations
    without sources are on the host and not counted.
    """
    fed = {b.target for b in pipeline.buffers}
    windows = sum(window for name, window in pipeline.windows.items() if name in fed)
    stages = sum(pipeline.num_replicas(name) for name in fed)
    return 1 - float(Fraction(windows, stages) / ticks)
