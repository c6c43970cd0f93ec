"""The whole flow from a model file to a build folder, top to bottom."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from deploy.array_comparison import ArrayComparison, compare_on_array
from deploy.build_folder import MODEL, REPORT, whole_folder, write_json
from deploy.compilation import Compilation, CompileOptions, DesignPoint
from deploy.design import build_design, lowering
from deploy.fidelity import compare_alignments, measure_fidelity
from deploy.lava_emitter.emit_bundle import emit_bundle
from deploy.optimize import optimize_design
from deploy.report.chrome_trace import chrome_trace
from deploy.report.html import render_html
from deploy.report.report_document import report_document
from deploy.sensitivity import sensitivity
from deploy.steady_costs import shown_samples, steady_run
from hw_models.multicore.initiation_interval import (
    initiation_interval,
    single_changes,
)
from hw_models.multicore.mapping_file import MAPPING, mapping_document
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.array_description import PeArray, load_array
from hw_models.target_description import load_target
from toolchain.checkpoint import Checkpoint, load_checkpoint
from toolchain.datasets import DATASETS, Dataset, load_dataset
from toolchain.errors import DataError, TargetError
from toolchain.integer_network import IntegerNetwork
from toolchain.integer_network.serialize import save_integer_network


def compile_model(
    model: Path,
    out: Path,
    options: CompileOptions,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Compilation:
    """Compile a model file into a build folder, written whole or not at all.

    Raises:
        QacDeployError: whatever is wrong with the model, the target or the fit between them.
    """
    on_stage("reading the model")
    checkpoint = load_checkpoint(model)
    target, array = load_target(options.target), load_array(options.array)
    dataset = _dataset(checkpoint, options)
    design = build_design(checkpoint.graph, target, options, on_stage)
    points: list[DesignPoint] = []
    if options.optimize is not None:
        design, points = optimize_design(design, checkpoint.graph, target, dataset, on_stage)
    network, mapping, pipeline = design.network, design.mapping, design.pipeline
    on_stage("scheduling the pipeline")
    schedule = schedule_pipeline(pipeline, options.samples)
    fidelity, trade, shown = None, [], None
    if dataset is not None:
        on_stage(f"measuring on {dataset.name}")
        fidelity = measure_fidelity(design.graph, network, dataset)
        trade = compare_alignments(
            design.graph, lowering(target, options), pipeline, mapping.slots, dataset
        )
        shown = shown_samples(network, dataset)
    run = None if shown is None else steady_run(mapping, pipeline, shown)
    on_stage("counting the PE array's cycles")
    on_array = _on_array(network, array, dataset)
    on_stage("varying the assumed figures")
    compilation = Compilation(
        model=model,
        options=design.options,
        checkpoint=checkpoint,
        target=target,
        array=array,
        network=network,
        mapping=mapping,
        pipeline=pipeline,
        schedule=schedule,
        interval=initiation_interval(pipeline),
        changes=single_changes(pipeline),
        data_name=None if dataset is None else dataset.name,
        fidelity=fidelity,
        alignment_trade=trade,
        design_points=points,
        costs={} if run is None else run.costs(target),
        asynchronous={} if run is None else run.without_barrier(target),
        sensitivity=sensitivity(design, target, dataset, run),
        on_array=on_array,
    )
    on_stage(f"writing {out}")
    _write(compilation, out)
    return compilation


def _dataset(checkpoint: Checkpoint, options: CompileOptions) -> Dataset | None:
    """The data set asked for; without one, the model's own if it is known here and its files are."""
    if options.data is not None:
        return load_dataset(options.data)
    trained_on = checkpoint.training.get("data")
    try:
        return load_dataset(trained_on) if trained_on in DATASETS else None
    except DataError:
        return None


def _on_array(network: IntegerNetwork, array: PeArray, dataset: Dataset | None) -> ArrayComparison:
    """The array beside the pipeline; that a layer does not fit its buffers is no reason to stop."""
    try:
        return compare_on_array(network, array, dataset)
    except TargetError as error:
        return ArrayComparison(array=array, modes={}, samples=0, refusal=str(error))


def _write(compilation: Compilation, out: Path) -> None:
    report = report_document(compilation)
    with whole_folder(out) as folder:
        save_integer_network(compilation.network, folder)
        shutil.copyfile(compilation.model, folder / MODEL)
        write_json(folder / MAPPING, mapping_document(compilation.mapping))
        write_json(folder / "pe_array.json", report["pe_array"])
        write_json(folder / "pipeline.trace.json", chrome_trace(compilation.schedule))
        write_json(folder / REPORT, report)
        (folder / "report.html").write_text(render_html(report), encoding="utf-8")
        emit_bundle(
            compilation.network,
            folder / "lava",
            buffer_slots=compilation.mapping.slots,
            link_ticks=compilation.target.link_ticks,
            cores=compilation.mapping.cores_by_population(),
            replicas=compilation.mapping.replicas,
        )
