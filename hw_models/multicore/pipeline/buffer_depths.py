"""The shallowest alignment buffers that sustain an interval.

A pipeline sustains an interval when no cycle of its dependencies takes longer per sample (see
``initiation_interval``), so every depth returned here is proved by the bound, not found by trying runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from hw_models.multicore.pipeline.initiation_interval import ideal_interval_ticks, sustains
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.provisioning import BufferSlots


def least_depths(
    pipeline: Pipeline, ticks: Fraction | int, slot_cost: Mapping[tuple[str, str], int]
) -> dict[tuple[str, str], int]:
    """Slots D of each buffer that sustain an interval, of which none can be taken away.

    In front of replicas, none from each of them.

    Args:
        ticks: the interval, at least the longest firing window for its number of replicas.
        slot_cost: what one slot of each buffer takes, such as compartments; the dearest are cut first.
    """
    if ticks < ideal_interval_ticks(pipeline):
        raise ValueError(f"no buffer can sustain {ticks} ticks: a firing window is longer")
    depths = {b.edge: pipeline.num_replicas(b.target) for b in pipeline.buffers}
    while not sustains(with_depths(pipeline, depths), ticks):
        depths = {edge: 2 * slots for edge, slots in depths.items()}
    for edge in sorted(depths, key=lambda edge: (-slot_cost[edge], edge)):
        each = pipeline.num_replicas(edge[1])
        low, high = 1, depths[edge] // each  # bisect: more slots never slow a pipeline down
        while low < high:
            middle = (low + high) // 2
            if sustains(with_depths(pipeline, {**depths, edge: middle * each}), ticks):
                high = middle
            else:
                low = middle + 1
        depths[edge] = high * each
    return depths


def with_depths(pipeline: Pipeline, depths: BufferSlots) -> Pipeline:
    """The same pipeline with other buffers."""
    buffers = tuple(replace(b, slots=depths[b.edge]) for b in pipeline.buffers)
    return replace(pipeline, buffers=buffers)


def steady_stall_share(pipeline: Pipeline, ticks: Fraction) -> float:
    """Part of the steady state in which a stage does not fire, mean over those on the chip.

    Each is busy T_l of every R_l intervals; the rest it is starved or blocked. Populations without
    sources are on the host and not counted.
    """
    fed = {b.target for b in pipeline.buffers}
    windows = sum(window for name, window in pipeline.windows.items() if name in fed)
    stages = sum(pipeline.num_replicas(name) for name in fed)
    return 1 - float(Fraction(windows, stages) / ticks)
