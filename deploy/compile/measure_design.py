"""Measure a design: all that a report says of it, for ``compile`` and for ``verify`` alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.design.accuracy import Accuracy
from deploy.design.activity import measure_activity
from deploy.design.array_comparison import compare_on_array
from deploy.design.compilation import Compilation, Design
from deploy.design.design import lowering
from deploy.design.fidelity import AlignmentTrade, compare_alignments, measure_fidelity
from deploy.design.sensitivity import sensitivity
from deploy.design.steady_costs import shown_samples, steady_run
from hw_models.multicore.pipeline.initiation_interval import initiation_interval, single_changes
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.array_description import PeArray
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset, data_record
from toolchain.files.checkpoint import Checkpoint


def measure_design(
    design: Design,
    target: TargetDescription,
    array: PeArray,
    dataset: Dataset | None,
    *,
    model: Path,
    checkpoint: Checkpoint,
    out: Path,
    accuracy: Accuracy | None = None,
    with_other_designs: bool = True,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Compilation:
    """The results of a design, without those of the search that found it.

    Args:
        model: the file that ``checkpoint`` was read from.
        out: the build folder.
        accuracy: the user's own; None takes the share of right classes.
        with_other_designs: compare the alignments, and vary each assumed figure.
    """
    network, mapping, pipeline = design.network, design.mapping, design.pipeline
    on_stage("scheduling the pipeline")
    schedule = schedule_pipeline(pipeline, design.options.samples)
    fidelity, shown = None, None
    trade: list[AlignmentTrade] = []
    if dataset is not None:
        on_stage(f"measuring on {dataset.name}")
        fidelity = measure_fidelity(design.graph, network, dataset, accuracy)
        if with_other_designs:
            trade = compare_alignments(
                design.graph,
                lowering(target, design.options),
                design.provisioning,
                target.link_ticks,
                dataset,
                accuracy,
            )
        shown = shown_samples(network, dataset)
    run = None if shown is None else steady_run(mapping, pipeline, shown)
    on_stage("recording spikes of a few samples")
    activity = measure_activity(network, dataset)
    on_stage("counting the PE array's cycles")
    on_array = compare_on_array(network, array, dataset)
    if with_other_designs:
        on_stage("varying the assumed figures")
    return Compilation(
        model=model,
        design=design,
        checkpoint=checkpoint,
        target=target,
        array=array,
        schedule=schedule,
        interval=initiation_interval(pipeline),
        changes=single_changes(pipeline),
        data_name=None if dataset is None else dataset.name,
        data_record=None if dataset is None else data_record(dataset, out),
        data_contents=[] if dataset is None else dataset.contents,
        data_note=None,
        fidelity=fidelity,
        alignment_trade=trade,
        design_points=[],
        costs={} if run is None else run.costs(target),
        asynchronous={} if run is None else run.without_barrier(target),
        cost_samples=0 if shown is None else len(shown.pixels),
        sensitivity=sensitivity(design, target, dataset, run) if with_other_designs else [],
        on_array=on_array,
        activity=activity,
    )
