"""Make a model file of a network from elsewhere, compared with that network's own execution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deploy.convert.conversion import Conversion, ConversionReport, MeasuredAccuracy
from deploy.convert.convert_file import convert_file
from deploy.convert.convert_module import Module, convert_module, name_of
from deploy.convert.options import ConvertOptions
from deploy.convert.recognise import Format, recognise
from deploy.design.accuracy import measure_accuracy
from deploy.design.check_fits import check_fits
from deploy.design.fidelity import MEASURED_SAMPLES, affordable_samples
from toolchain.datasets import DATASETS, Dataset, can_be_found, data_record, load_dataset
from toolchain.errors import DataError, errors_of_file
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import has_classes


def convert_network(
    source: Path | Module,
    out: Path,
    options: ConvertOptions,
    on_stage: Callable[[str], None] = lambda words: None,
    dataset: Dataset | None = None,
) -> ConversionReport:
    """Read a network, compare it with its own execution, and write a model file.

    Args:
        source: a file, recognised by its content, or a module or program of PyTorch.
        on_stage: called with what is done next.
        dataset: the data set of ``options.data``, if it is loaded already.

    Raises:
        QacDeployError: the file is damaged, of another kind or has no spiking form, an option does not
            belong to it, or the data set does not fit. Nothing is written then.
    """
    file_format = recognise(source) if isinstance(source, Path) else Format.MODULE
    options.require_of(file_format)
    data_note = None
    if dataset is None and options.data is not None:
        dataset, data_note = _data_set(options.data, required=file_format is not Format.STATE_DICT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if isinstance(source, Path):
            name = source.name
            with errors_of_file(source):
                conversion = convert_file(source, file_format, options, dataset, on_stage)
        else:
            name = name_of(source)
            conversion = convert_module(source, options, dataset, on_stage)
    said = (str(warning.message) for warning in caught if warning.category is UserWarning)
    conversion = replace(conversion, notes=tuple(dict.fromkeys((*conversion.notes, *said))))
    training: dict[str, Any] = {
        "imported_from": f"{name}: {conversion.source}",
        "compared_with": conversion.runtime,
        "normalization": options.normalize,
        **conversion.record,
        "data": options.data,
    }
    accuracy = None
    if dataset is not None:
        check_fits(conversion.graph, dataset)
        if can_be_found(dataset.name):
            training |= data_record(dataset, out)
        else:
            training["data"] = None
            data_note = (
                f"data set '{dataset.name}' is not in a file, so {out} does not record it and compile cannot "
                f"measure on it; save it as .npz, and load that with load_data"
            )
        on_stage("measure the accuracy")
        accuracy = _accuracy(conversion, dataset)
    save_checkpoint(out, Checkpoint(conversion.graph, training))
    return ConversionReport(
        model=str(out),
        conversion=conversion,
        accuracy=accuracy,
        data_note=data_note,
        training=training,
    )


def _data_set(name: str, *, required: bool) -> tuple[Dataset | None, str | None]:
    """The data set, or why one that is known by its name cannot be read here.

    The networks of the QCFS code are for known data sets, which may be elsewhere. Of others nothing is known.
    """
    try:
        return load_dataset(name), None
    except DataError as error:
        if required or name not in DATASETS:
            raise
        return None, f"{name} is recorded without a digest of its samples: {error}"


def _accuracy(conversion: Conversion, dataset: Dataset) -> MeasuredAccuracy | None:
    graph, measured = conversion.graph, conversion.post_training
    if measured is not None and measured.test is not None:
        return MeasuredAccuracy(samples=measured.test.samples, accuracy=measured.test.converted)
    if not has_classes(graph.readout):
        return None
    most = affordable_samples(graph, MEASURED_SAMPLES)
    samples = min(len(dataset.test_labels), most)
    run = run_float_snn(graph, dataset.test_pixels[:samples], dtype=torch.float32)
    accuracy = measure_accuracy(graph.readout, run.logits, dataset.test_labels[:samples], None)
    assert accuracy is not None
    assert math.isfinite(accuracy)
    return MeasuredAccuracy(samples=samples, accuracy=accuracy)
