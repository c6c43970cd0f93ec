"""Measure a design: all that a report says of it, for ``compile`` and for ``verify`` alike."""

from __future__ import annotations

from pathlib import Path

from deploy.design.activity import measure_activity
from deploy.design.array_comparison import compare_on_array
from deploy.design.compilation import Compilation, Design, Sensitivity
from deploy.design.design import lower_graph
from deploy.design.fidelity import AlignmentTrade, compare_alignments, measure_fidelity
from deploy.design.limits import MOST_EVENT_COUNTS, MOST_POPULATIONS_VARIED
from deploy.design.sensitivity import sensitivity
from deploy.optimize.measurements import Measurements
from deploy.optimize.suggestions import not_tried, suggest
from hw_models.multicore.pipeline.initiation_interval import initiation_interval, single_changes
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.array_description import PeArray
from toolchain.datasets import data_record
from toolchain.files.checkpoint import Checkpoint
from toolchain.networks.layer_graph import LayerGraph


def measure_design(
    design: Design,
    measurements: Measurements,
    array: PeArray,
    *,
    model: Path,
    checkpoint: Checkpoint,
    out: Path,
    with_other_designs: bool = True,
) -> Compilation:
    """The results of a design, without those of the search that found it.

    Args:
        measurements: of the model, with the target and the data set; accuracy is measured on test samples.
        model: the file that ``checkpoint`` was read from.
        out: the build folder.
        with_other_designs: compare the alignments, suggest changes, and vary each assumed figure.
    """
    network, pipeline = design.network, design.pipeline
    target, dataset = measurements.target, measurements.dataset
    accuracy, on_stage = measurements.accuracy_measure, measurements.on_stage
    measurements = measurements.for_report()
    measurements.remember(design)
    on_stage("scheduling the pipeline")
    schedule = schedule_pipeline(pipeline, design.options.samples)
    is_deep = len(network.populations) > MOST_POPULATIONS_VARIED
    fidelity = None
    trade: list[AlignmentTrade] = []
    if dataset is not None:
        on_stage(f"measuring on {dataset.name}")
        fidelity = measure_fidelity(design.graph, network, dataset, accuracy)
        measurements.accuracies[network] = fidelity.integer_accuracy
        if with_other_designs and not is_deep:
            on_stage("comparing the alignments")
            own = _alignments(design.graph)
            trade = compare_alignments(
                design.graph,
                lambda graph: (
                    network
                    if _alignments(graph) == own
                    else lower_graph(graph, target, design.options, measurements.images).network
                ),
                design.provisioning,
                target.link_ticks,
                dataset,
                accuracy,
            )
    run = None if dataset is None else measurements.run(design)
    on_stage("recording spikes of a few samples")
    activity = measure_activity(network, dataset)
    on_stage("counting the PE array's cycles")
    on_array = compare_on_array(network, array, dataset)
    changes = single_changes(pipeline)
    suggestions, left_out = [], None
    figures: list[Sensitivity] = []
    if with_other_designs and is_deep:
        left_out = (
            f"changes, finer tiles, other alignments and other values of assumed figures were not tried, "
            f"since each of them compiles {len(network.populations)} populations again; the limit is "
            f"{MOST_POPULATIONS_VARIED}"
        )
    elif with_other_designs:
        suggestions = suggest(design, measurements, changes)
        left_out = not_tried(design, measurements)
        on_stage("varying the assumed figures")
        figures = sensitivity(design, target, dataset, run)
    return Compilation(
        model=model,
        design=design,
        checkpoint=checkpoint,
        target=target,
        array=array,
        schedule=schedule,
        interval=initiation_interval(pipeline),
        changes=changes,
        accuracy_function=None if accuracy is None else accuracy.name,
        data_name=None if dataset is None else dataset.name,
        data_record=None if dataset is None else data_record(dataset, out),
        data_contents=[] if dataset is None else dataset.contents,
        data_note=None if dataset is None or run is not None else _not_counted(design),
        fidelity=fidelity,
        alignment_trade=trade,
        design_points=[],
        point=measurements.point(design, "as compiled", ""),
        suggestions=suggestions,
        suggestions_left_out=left_out,
        costs={} if run is None else run.costs(target),
        asynchronous={} if run is None else run.without_barrier(target),
        cost_samples=0 if run is None else len(run.shown.pixels),
        sensitivity=figures,
        on_array=on_array,
        activity=activity,
    )


def _alignments(graph: LayerGraph) -> list[str]:
    return [synapse.alignment for synapse in graph.synapses]


def _not_counted(design: Design) -> str:
    return (
        f"energy and time are not measured: {len(design.mapping.cores):,} cores in all ticks until the first "
        f"result need more than {MOST_EVENT_COUNTS:,} counts of each kind of event; use fewer timesteps or "
        f"populations"
    )
