"""Accuracy of each stage of the conversion, and the gain of calibration (Table 3)."""

from __future__ import annotations

import math

import numpy as np

from deploy.reproduce.experiment import Experiment, plot_columns
from deploy.reproduce.measures import (
    LEVELS,
    run_integers,
    snn_accuracy,
)
from deploy.reproduce.study import Study
from toolchain.method.baselines import (
    frame_by_frame,
    logits_by_timestep,
)
from toolchain.method.calibration import CalibrationPlan, calibrate
from toolchain.method.float_snn import run_float_snn
from toolchain.passes.align_edges import align_edges
from toolchain.passes.change_timesteps import use_uniform_timesteps
from toolchain.training import accuracy, ann_logits

CALIBRATION_SAMPLES = 1_024


def summary(study: Study, samples: int) -> Experiment:
    """Accuracy of the float ANN, quantized ANN, float SNN and integer network, and of QCFS at T = 4."""
    pixels, labels = study.test_images(samples)
    module = study.qac_network()
    graph = study.converted(module)
    float_ann = ann_logits(study.continued_ann(), pixels, study.dataset.max_value)
    quantized = ann_logits(module, pixels, study.dataset.max_value)
    spiking = run_float_snn(graph, pixels).logits
    integers = run_integers(graph, pixels)
    qcfs = study.converted(study.qcfs_network(LEVELS))
    plain = logits_by_timestep(frame_by_frame(qcfs, LEVELS), pixels)[-1]
    same = int((quantized.argmax(1) == spiking.argmax(1)).sum())
    populations = graph.spiking
    neurons = [math.prod(p.shape) for p in populations]
    weighted = float(np.average([p.timesteps for p in populations], weights=neurons))
    minutes = {name: seconds / 60 for name, seconds in study.training_seconds().items()}
    row = (
        study.name,
        accuracy(float_ann, labels),
        accuracy(quantized, labels),
        accuracy(spiking, labels),
        float((integers == labels).mean()),
        graph.mean_timesteps,
        weighted,
        accuracy(plain, labels),
    )
    return Experiment(
        name=f"summary-{study.file_label}",
        title=f"{study.label}, {len(labels):,} test images",
        columns=(
            "network",
            "float ANN %",
            "quantized ANN %",
            "float SNN %",
            "integer network %",
            "mean T",
            "mean T by neuron",
            f"QCFS T={LEVELS} %",
        ),
        rows=[row],
        notes=[
            f"SNN and quantized ANN choose the same class on {same:,} of {len(labels):,} images; their "
            f"logits differ by at most {abs(quantized - spiking).max():.1e} (float64).",
            f"T per layer: {', '.join(f'{p.name} {p.timesteps}' for p in populations)}.",
            f"{study.epochs} epochs of the float ANN, then {study.further_epochs} more each for the float "
            f"ANN shown, the quantized ANN and QCFS. Minutes of training on this machine: "
            f"{', '.join(f'{name} {m:.1f}' for name, m in minutes.items())}.",
        ],
        values={
            "same_argmax": same,
            "largest_logit_difference": float(abs(quantized - spiking).max()),
            "training_minutes": minutes,
        },
    )


def calibration(study: Study, samples: int) -> Experiment:
    """Accuracy that calibrating v(0) and v_th regains after a conversion that loses some (Table 3)."""
    pixels, labels = study.test_images(samples)
    module = study.qac_network()
    graph = study.converted(module)
    held_out = study.dataset.train_pixels[-CALIBRATION_SAMPLES:]
    targets = ann_logits(module, held_out, study.dataset.max_value)
    variants = {
        "truncate": align_edges(graph, "truncate"),
        "replicate": align_edges(graph, "replicate"),
        "average, all T = 1": align_edges(use_uniform_timesteps(graph, 1), "average"),
    }
    rows = []
    for name, variant in variants.items():
        result = calibrate(variant, np.asarray(held_out), targets, CalibrationPlan(epochs=8))
        before, after = (snn_accuracy(g, pixels, labels) for g in (variant, result.graph))
        integers = None
        if name.startswith("average"):
            integers = float((run_integers(result.graph, pixels) == labels).mean())
        rows.append((name, before, after, after - before, integers))
    columns = ("alignment", "before %", "after %", "gain %", "integer network after %")
    return Experiment(
        name=f"calibration-{study.file_label}",
        title=f"Calibration (Table 3): {study.label}",
        columns=columns,
        rows=rows,
        notes=[
            f"v(0) and v_th per channel, {CALIBRATION_SAMPLES:,} unlabelled training images, 8 epochs; "
            f"accuracy on {len(labels):,} test images, which calibration never sees.",
        ],
        plot=plot_columns(
            "bars", "accuracy, %", columns, rows, {"before": "before %", "after": "after %"}
        ),
    )
