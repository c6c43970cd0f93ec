"""What conversion keeps: the summary of all stages, and what calibration regains (Table 3)."""

from __future__ import annotations

import math

import numpy as np
import torch

from deploy.reproduce.experiment import Experiment, Plot
from deploy.reproduce.measures import (
    LEVELS,
    converted_graph,
    file_label,
    first_test_images,
    mean_timesteps,
    run_integers,
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
    """Float ANN, quantized ANN, float SNN and integer network, and QCFS at T = 4 beside them."""
    pixels, labels = first_test_images(study, samples)
    module = study.qac_network()
    graph = converted_graph(study, module)
    float_ann = ann_logits(study.continued_ann(), pixels, study.dataset.max_value)
    quantized = ann_logits(module, pixels, study.dataset.max_value)
    spiking = run_float_snn(graph, pixels).logits
    integers = run_integers(graph, pixels)
    qcfs = converted_graph(study, study.qcfs_network(LEVELS))
    plain = logits_by_timestep(frame_by_frame(qcfs, LEVELS), pixels)[-1]
    same = int((quantized.argmax(1) == spiking.argmax(1)).sum())
    populations = graph.spiking
    neurons = [math.prod(p.shape) for p in populations]
    weighted = sum(n * p.timesteps for n, p in zip(neurons, populations, strict=True)) / sum(
        neurons
    )
    minutes = {name: seconds / 60 for name, seconds in study.training_seconds().items()}
    row = (
        study.name,
        accuracy(float_ann, labels),
        accuracy(quantized, labels),
        accuracy(spiking, labels),
        float((integers == labels).mean()),
        mean_timesteps(graph),
        weighted,
        accuracy(plain, labels),
    )
    return Experiment(
        name=f"summary-{file_label(study)}",
        title=f"{study.name} on {study.dataset.name}, {len(labels):,} test images",
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
    """What calibrating v(0) and v_th regains where conversion loses (Table 3)."""
    pixels, labels = first_test_images(study, samples)
    module = study.qac_network()
    graph = converted_graph(study, module)
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
        before, after = (
            accuracy(run_float_snn(g, pixels, dtype=torch.float32).logits, labels)
            for g in (variant, result.graph)
        )
        integers = None
        if name.startswith("average"):
            integers = float((run_integers(result.graph, pixels) == labels).mean())
        rows.append((name, before, after, after - before, integers))
    return Experiment(
        name=f"calibration-{file_label(study)}",
        title=f"Calibration (Table 3): {study.name} on {study.dataset.name}",
        columns=("alignment", "before %", "after %", "gain %", "integer network after %"),
        rows=rows,
        notes=[
            f"v(0) and v_th per channel, {CALIBRATION_SAMPLES:,} unlabelled training images, 8 epochs; "
            f"accuracy on {len(labels):,} test images, which calibration never sees.",
        ],
        plot=Plot(
            kind="bars",
            x_label="alignment",
            y_label="accuracy, %",
            x=[row[0] for row in rows],
            series={
                "before": [100 * row[1] for row in rows],
                "after": [100 * row[2] for row in rows],
            },
        ),
    )
