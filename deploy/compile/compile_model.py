"""The whole flow from a model file to a build folder, top to bottom."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.backends.lava.emit_bundle import emit_bundle
from deploy.build.folder import BUILD, require_replaceable_folder, whole_folder, write_json
from deploy.build.load import ARRAY, LAVA, MODEL, REPORT, TARGET
from deploy.compile.check_options import check_options
from deploy.compile.measure_design import measure_design
from deploy.design.accuracy import Accuracy, AccuracyFunction, as_accuracy
from deploy.design.compilation import Compilation, CompileOptions, DesignPoint
from deploy.design.design import build_design, lowering_images_of
from deploy.design.extent import check_extent
from deploy.design.measured_data import measured_data
from deploy.optimize.measurements import Measurements
from deploy.optimize.search import optimize_design
from deploy.report.chrome_trace import chrome_trace
from deploy.report.html import render_html
from deploy.report.records import Report
from deploy.report.report_document import report_document
from hw_models.multicore.mapping.mapping_file import MAPPING, mapping_document
from hw_models.multicore.mapping.size_estimate import check_size
from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.loop_nest import Unrolling
from hw_models.pe_array.shaped_array import with_unrolling
from hw_models.target_description import load_target
from toolchain.errors import ModelFileError, OptionError
from toolchain.files.checkpoint import load_checkpoint, load_structure
from toolchain.files.digest import file_sha256
from toolchain.networks.integer_network.serialize import save_integer_network

MOST_WINDOWS = 200_000
"""Most firing windows in the pipeline run that is shown; scheduling and writing them takes seconds."""


def compile_model(
    model: Path,
    out: Path,
    options: CompileOptions,
    on_stage: Callable[[str], None] = lambda stage: None,
    accuracy: Accuracy | AccuracyFunction | None = None,
) -> Report:
    """Compile a model file into a build folder, written whole or not at all; returns its report.

    Args:
        accuracy: defines the accuracy of logits, of maps for example; None takes the share of right classes
            if the network chooses one class per sample.

    Raises:
        QacDeployError: the model, a description or the data set cannot be used, or the network does not fit.
    """
    check_options(options)
    require_replaceable_folder(out, BUILD)
    target, array = load_target(options.target), load_array(options.array)
    on_stage("estimating the size")
    structure = load_structure(model)
    if structure is not None:
        check_extent(structure)
        slots = options.slots or target.default_buffer_slots
        check_size(structure, target, slots, options.replicate)
        del structure
    on_stage("reading the model")
    digest = file_sha256(model) if model.is_file() else ""
    checkpoint = load_checkpoint(model)
    check_extent(checkpoint.graph)
    _check_samples(options.samples, len(checkpoint.graph.populations))
    measure = as_accuracy(accuracy)
    dataset, data_note = measured_data(model, checkpoint, options.data, measure)
    images = lowering_images_of(checkpoint.graph, dataset, options)
    design = build_design(checkpoint.graph, target, options, on_stage, images)
    measurements = Measurements(
        model=checkpoint.graph,
        target=target,
        dataset=dataset,
        on_stage=on_stage,
        accuracy_measure=measure,
        images=images,
    )
    points: list[DesignPoint] = []
    if options.optimize is not None:
        design, points = optimize_design(design, measurements)
    if options.unrolling is not None:
        array = with_unrolling(array, Unrolling.of(options.unrolling), design.network)
    measured = measure_design(
        design, measurements, array, model=model, checkpoint=checkpoint, out=out
    )
    notes = [note for note in (data_note, measured.data_note) if note is not None]
    compilation = replace(measured, data_note="; ".join(notes) or None, design_points=points)
    on_stage(f"writing {out}")
    return _write(compilation, out, digest)


def _check_samples(samples: int, num_populations: int) -> None:
    windows = samples * num_populations
    if windows > MOST_WINDOWS:
        raise OptionError(
            f"--samples {samples:,}: {windows:,} firing windows of {num_populations} populations are more "
            f"than the {MOST_WINDOWS:,} that a report shows; use at most "
            f"{MOST_WINDOWS // num_populations:,} samples: steady figures do not depend on them"
        )


def _write(compilation: Compilation, out: Path, model_sha256: str) -> Report:
    report = report_document(compilation)
    design = compilation.design
    with whole_folder(out, BUILD) as folder:
        save_integer_network(design.network, folder)
        shutil.copyfile(compilation.model, folder / MODEL)
        if file_sha256(folder / MODEL) != model_sha256:
            raise ModelFileError(
                f"{compilation.model}: was replaced while it was compiled; compile it again"
            )
        (folder / TARGET).write_text(compilation.target.file.text, encoding="utf-8")
        (folder / ARRAY).write_text(compilation.array.file.text, encoding="utf-8")
        write_json(folder / MAPPING, mapping_document(design.mapping))
        write_json(folder / "pe_array.json", report["pe_array"])
        write_json(folder / "pipeline.trace.json", chrome_trace(compilation.schedule))
        write_json(folder / REPORT, report)
        (folder / "report.html").write_text(render_html(report), encoding="utf-8")
        emit_bundle(
            design.network,
            folder / LAVA,
            provisioning=design.provisioning,
            link_ticks=compilation.target.link_ticks,
            cores=design.mapping.cores_by_population(),
        )
    return report
