"""Calibrate the potentials and thresholds of a model file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from deploy.design.check_fits import check_fits
from toolchain.datasets import data_record, load_dataset, load_recorded
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.method.calibration import CalibrationEpoch, CalibrationPlan, Granularity, calibrate
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import AlignmentMethod, has_classes
from toolchain.passes.align_edges import align_edges
from toolchain.passes.change_timesteps import use_uniform_timesteps
from toolchain.training import accuracy


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Options of ``qac-deploy calibrate``.

    Attributes:
        alignment: of every synapse, when the network runs.
        timesteps: T of every population; None keeps the trained ones.
        data: the data set whose last training images are used; None takes the model's own.
    """

    alignment: AlignmentMethod
    timesteps: int | None
    data: str | None
    samples: int
    granularity: Granularity
    epochs: int
    learning_rate: float


class CalibrationReport(TypedDict):
    """What was calibrated and measured; accuracies are of the test samples, None if there are no classes."""

    model: str
    alignment: AlignmentMethod
    timesteps: int | None
    granularity: Granularity
    samples: int
    data_note: str | None
    epoch: int
    held_out_error_before: float
    held_out_error_after: float
    test_samples: int
    accuracy_before: float | None
    accuracy_after: float | None


def calibrate_model(
    model: Path,
    out: Path,
    options: CalibrateOptions,
    on_epoch: Callable[[CalibrationEpoch], None] = lambda report: None,
    on_data: Callable[[str], None] = lambda description: None,
) -> CalibrationReport:
    """Calibrate a network to the logits of the quantized ANN, which equals the network with averaging.

    Raises:
        QacDeployError: the model or the data cannot be used.
    """
    checkpoint = load_checkpoint(model)
    if options.data is not None:
        dataset, changed = load_dataset(options.data), None
    else:
        dataset, changed = load_recorded(checkpoint.training, model)
    check_fits(checkpoint.graph, dataset)
    on_data(dataset.description)
    ann = align_edges(checkpoint.graph, "average")
    graph = checkpoint.graph
    if options.timesteps is not None:
        graph = use_uniform_timesteps(graph, options.timesteps)
    graph = align_edges(graph, options.alignment)
    pixels = np.asarray(dataset.train_pixels[-options.samples :])
    targets = run_float_snn(ann, pixels, dtype=torch.float32).logits
    plan = CalibrationPlan(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        granularity=options.granularity,
    )
    result = calibrate(graph, pixels, targets, plan, on_epoch)
    before = after = None
    if has_classes(graph.readout):
        before, after = (
            accuracy(
                run_float_snn(g, dataset.test_pixels, dtype=torch.float32).logits,
                dataset.test_labels,
            )
            for g in (graph, result.graph)
        )
    report: CalibrationReport = {
        "model": str(out),
        "alignment": options.alignment,
        "timesteps": options.timesteps,
        "granularity": options.granularity,
        "samples": len(pixels),
        "data_note": changed,
        "epoch": result.epoch,
        "held_out_error_before": result.loss_before,
        "held_out_error_after": result.loss_after,
        "test_samples": len(dataset.test_labels),
        "accuracy_before": before,
        "accuracy_after": after,
    }
    training = {**checkpoint.training, **data_record(dataset, out), "calibration": report}
    save_checkpoint(out, Checkpoint(result.graph, training))
    return report
