"""Recompute a design's results with each assumed hardware figure halved and doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deploy.design.compilation import Design, Sensitivity
from deploy.design.design import lower_graph, place, provision
from deploy.design.steady_costs import ShownSamples, SteadyRun, shown_samples, steady_run
from hw_models.multicore.cost.steady_pace import SteadyCost
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.target_description import TargetDescription, describe_target
from toolchain.datasets import Dataset
from toolchain.errors import IntegerWidthError, MappingError, TargetError

_SLOTS = "pipeline.default_buffer_slots"
_KEEPS_MAPPING = ("cost_profiles.", "pipeline.link_ticks")

MOST_CORES_MAPPED_AGAIN = 1_000
"""Larger designs are not mapped again, so figures that change the mapping are left out."""


def sensitivity(
    design: Design, target: TargetDescription, dataset: Dataset | None, run: SteadyRun | None
) -> list[Sensitivity]:
    """The results with each assumed figure of a target halved and doubled, one at a time.

    They equal those of compiling for the changed target with the same options: the model is lowered again if
    integer widths change, and mapped, scheduled and priced again. Figures that the design does not use are
    left out: the default depth if the user or a search has chosen depths, and crossings on a single chip.

    Args:
        run: of the design; None without a data set, and then there are no costs.
    """
    return [_results(design, target, dataset, run, *change) for change in _changes(design, target)]


def _changes(design: Design, target: TargetDescription) -> Iterator[tuple[str, float, float]]:
    """(figure, its value, another value) for each assumed figure that the design uses."""
    is_large = len(design.mapping.cores) > MOST_CORES_MAPPED_AGAIN
    for name, figure in target.figures.items():
        chosen = name == _SLOTS and (design.options.slots or design.options.optimize)
        if figure.kind != "assumed" or chosen:
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


def _results(
    design: Design,
    target: TargetDescription,
    dataset: Dataset | None,
    run: SteadyRun | None,
    figure: str,
    value: float,
    tried: float,
) -> Sensitivity:
    figures = {**target.figures, figure: replace(target.figures[figure], value=tried)}
    num_cores, interval_ticks = None, None
    costs: dict[str, SteadyCost] = {}
    try:
        changed_target = describe_target(replace(target.file, figures=figures))
        changed = _changed(design, target, changed_target, figure)
        num_cores = len(changed.mapping.cores)
        interval_ticks = float(initiation_interval(changed.pipeline).ticks)
        if run is not None and dataset is not None:
            changed_run = _run_of(changed, design, run, dataset)
            costs = {} if changed_run is None else changed_run.costs(changed_target)
    except (IntegerWidthError, MappingError, TargetError):
        pass  # the network does not fit
    return Sensitivity(
        figure=figure,
        value=value,
        tried=tried,
        num_cores=num_cores,
        interval_ticks=interval_ticks,
        interval_us={name: cost.interval_s * 1e6 for name, cost in costs.items()},
        energy_nj={name: cost.energy_per_sample_j * 1e9 for name, cost in costs.items()},
    )


def _changed(
    design: Design, target: TargetDescription, changed: TargetDescription, figure: str
) -> Design:
    """The design on a target with another figure.

    Raises:
        QacDeployError: it does not fit the changed target.
    """
    if figure.startswith(_KEEPS_MAPPING):
        return replace(design, mapping=replace(design.mapping, target=changed))
    network, provisioning = design.network, design.provisioning
    if changed.widths != target.widths:
        images = None if design.lowering is None else design.lowering.images
        network = lower_graph(design.graph, changed, design.options, images).network
    if figure == _SLOTS:
        provisioning = provision(network, changed, design.options)
    mapping = place(network, changed, provisioning, exchange_cores=design.cores_exchanged)
    return replace(design, mapping=mapping)


def _run_of(changed: Design, design: Design, run: SteadyRun, dataset: Dataset) -> SteadyRun | None:
    """The steady run of the changed design; what has not changed is not computed again."""
    shown: ShownSamples = run.shown
    if changed.network is not design.network:
        shown = shown_samples(changed.network, dataset)
    elif changed.mapping.cores == design.mapping.cores and changed.pipeline == design.pipeline:
        return run
    return steady_run(changed.mapping, changed.pipeline, shown)
