"""How far the answers move when an assumed hardware figure does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deploy.compilation import Design, Sensitivity
from deploy.steady_costs import SteadyRun
from hw_models.multicore.buffer_depths import with_depths
from hw_models.multicore.initiation_interval import initiation_interval
from hw_models.multicore.mapping import Mapping, map_network
from hw_models.multicore.pipeline import BufferSlots, uniform_slots
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError, TargetError

_SLOTS = "pipeline.default_buffer_slots"
_NO_INFLUENCE = ("integers.", "chips.", "mesh.")  # they decide what fits, or only where it lies
_KEEPS_MAPPING = ("cost_profiles.", "pipeline.link_ticks")

MOST_CORES_MAPPED_AGAIN = 1_000
"""Larger designs are not mapped again: figures that only change the mapping are left out for them."""


def sensitivity(
    design: Design, target: TargetDescription, run: SteadyRun | None
) -> list[Sensitivity]:
    """The answers with each assumed figure of a target halved and doubled, one at a time.

    Energy and seconds move with the cost coefficients; cores and ticks with all others. Figures that the
    design does not use are left out: the default depth where depths were chosen, and the integer widths,
    which decide what the network is.
    """
    results = []
    for name, value, tried in _changes(design, target):
        figures = {**target.figures, name: replace(target.figures[name], value=tried)}
        changed = TargetDescription(replace(target.file, figures=figures))
        slots: BufferSlots = design.mapping.slots
        if name == _SLOTS:
            slots = uniform_slots(design.network, int(tried), design.mapping.replicas)
        mapping: Mapping | None = design.mapping
        if not name.startswith(_KEEPS_MAPPING):
            mapping = _mapped(design, changed, slots)
        pipeline = replace(design.pipeline, link_ticks=changed.link_ticks)
        pipeline = with_depths(pipeline, slots)
        costs = {}
        if run is not None and name.startswith("cost_profiles."):
            costs = run.costs(changed)
        results.append(
            Sensitivity(
                figure=name,
                value=value,
                tried=tried,
                num_cores=None if mapping is None else len(mapping.cores),
                interval_ticks=float(initiation_interval(pipeline).ticks),
                interval_us={n: cost.interval_s * 1e6 for n, cost in costs.items()},
                energy_nj={n: cost.energy_per_sample_j * 1e9 for n, cost in costs.items()},
            )
        )
    return results


def _changes(design: Design, target: TargetDescription) -> Iterator[tuple[str, float, float]]:
    """(figure, its value, another value) for each assumed figure that the design uses."""
    is_large = len(design.mapping.cores) > MOST_CORES_MAPPED_AGAIN
    for name, figure in target.figures.items():
        chosen = name == _SLOTS and (design.options.slots or design.options.optimize)
        if figure.kind != "assumed" or chosen or name.startswith(_NO_INFLUENCE):
            continue
        if is_large and not name.startswith(_KEEPS_MAPPING):
            continue
        if name.endswith(".chip_crossing_pj") and design.mapping.num_chips == 1:
            continue
        for tried in (figure.value / 2, figure.value * 2):
            whole = isinstance(figure.value, int)
            other = int(tried) if whole else tried
            if other != figure.value:
                yield name, figure.value, other


def _mapped(design: Design, target: TargetDescription, slots: BufferSlots) -> Mapping | None:
    try:
        mapping = design.mapping
        return map_network(design.network, target, slots, mapping.replicas, mapping.most_events)
    except (MappingError, TargetError):
        return None
