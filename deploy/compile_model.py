"""The whole flow from a model file to a build folder, top to bottom."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from deploy.build_folder import MODEL, REPORT, whole_folder, write_json
from deploy.compilation import Compilation, CompileOptions
from deploy.fidelity import (
    compare_alignments,
    measure_fidelity,
    simulate,
)
from deploy.lava_emitter.emit_bundle import emit_bundle
from deploy.report.chrome_trace import chrome_trace
from deploy.report.html import render_html
from deploy.report.report_document import report_document
from hw_models.multicore.initiation_interval import (
    initiation_interval,
    single_changes,
)
from hw_models.multicore.mapping import Mapping as CoreMapping
from hw_models.multicore.mapping import map_network
from hw_models.multicore.mapping_file import MAPPING, mapping_document
from hw_models.multicore.pipeline import pipeline_of, uniform_slots
from hw_models.multicore.pipeline_ticks import Schedule, schedule_pipeline
from hw_models.multicore.tick_cost import RunCost, run_cost
from hw_models.pe_array.array_description import PeArray, load_array
from hw_models.pe_array.estimate import ArrayEstimate, estimate_array
from hw_models.target_description import TargetDescription, load_target
from toolchain.checkpoint import Checkpoint, load_checkpoint
from toolchain.datasets import DATASETS, Dataset, load_dataset
from toolchain.errors import DataError
from toolchain.integer_network import IntegerNetwork, has_constant_current
from toolchain.integer_network.serialize import save_integer_network
from toolchain.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers
from toolchain.passes.align_edges import align_edges


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
    on_stage("lowering to integers")
    graph = aligned_graph(checkpoint, options)
    lower = lowering(target, options)
    network = lower(graph)
    on_stage("mapping onto cores")
    slots = uniform_slots(network, options.slots or target.default_buffer_slots)
    mapping = map_network(network, target, slots)
    on_stage("scheduling the pipeline")
    pipeline = pipeline_of(network, slots, target.link_ticks)
    schedule = schedule_pipeline(pipeline, options.samples)
    dataset = _dataset(checkpoint, options)
    fidelity, trade, costs = None, [], {}
    if dataset is not None:
        on_stage(f"measuring on {dataset.name}")
        fidelity = measure_fidelity(graph, network, dataset)
        trade = compare_alignments(checkpoint.graph, lower, pipeline, slots, dataset)
        costs = _costs(target, mapping, schedule, dataset)
    compilation = Compilation(
        model=model,
        options=options,
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
        costs=costs,
        array_estimates=_array_estimates(network, array),
    )
    on_stage(f"writing {out}")
    _write(compilation, slots, out)
    return compilation


def aligned_graph(checkpoint: Checkpoint, options: CompileOptions) -> LayerGraph:
    """The model's graph, with the alignment asked for on every edge."""
    if options.alignment is None:
        return checkpoint.graph
    return align_edges(checkpoint.graph, options.alignment)


def lowering(
    target: TargetDescription, options: CompileOptions
) -> Callable[[LayerGraph], IntegerNetwork]:
    """How a graph becomes integers for a target and the weight bits asked for."""
    widths = target.widths
    if options.weight_bits is not None:
        widths = replace(widths, weight_bits=options.weight_bits)
    return lambda graph: lower_to_integers(graph, widths)


def _dataset(checkpoint: Checkpoint, options: CompileOptions) -> Dataset | None:
    """The data set asked for; without one, the model's own if it is known here and its files are."""
    if options.data is not None:
        return load_dataset(options.data)
    trained_on = checkpoint.training.get("data")
    try:
        return load_dataset(trained_on) if trained_on in DATASETS else None
    except DataError:
        return None


def _costs(
    target: TargetDescription, mapping: CoreMapping, schedule: Schedule, dataset: Dataset
) -> dict[str, RunCost]:
    """Cost of the scheduled run on real samples, under each of the target's profiles."""
    samples = np.arange(schedule.num_samples) % len(dataset.test_pixels)
    pixels = dataset.test_pixels[samples]
    trains = simulate(mapping.network, pixels, with_trains=True).trains
    return {
        name: run_cost(mapping, profile, schedule, pixels, trains)
        for name, profile in target.cost_profiles.items()
    }


def _array_estimates(network: IntegerNetwork, array: PeArray) -> list[ArrayEstimate]:
    if not has_constant_current(network):
        return []
    return [
        estimate_array(network, array, mode) for mode in ("snn", "ann_multiplier", "ann_bit_serial")
    ]


def _write(compilation: Compilation, slots: Mapping[tuple[str, str], int], out: Path) -> None:
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
            buffer_slots=slots,
            link_ticks=compilation.target.link_ticks,
            cores=compilation.mapping.cores_by_population(),
        )
