"""Accuracy of each stage of the conversion, and what calibration gains (Table 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deploy.reproduce.experiment import Cell, Experiment, plot_columns
from deploy.reproduce.measures import (
    LEVELS,
    run_integers,
    snn_accuracy,
)
from deploy.reproduce.paper import PAPER_DATA, data_note, nearest_network, paper_figures
from deploy.reproduce.study import Study
from toolchain.method.baselines import (
    frame_by_frame,
    logits_by_timestep,
)
from toolchain.method.calibration import CalibrationPlan, calibrate
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes.align_edges import align_by_direction, align_edges
from toolchain.passes.change_timesteps import use_uniform_timesteps
from toolchain.training import accuracy, ann_logits

CALIBRATION_SAMPLES = 1_024
_CALIBRATION_NOTE = (
    f"v(0) and v_th per channel, {CALIBRATION_SAMPLES:,} unlabelled training images, 8 epochs; accuracy on "
    "{samples:,} test images, which calibration never sees."
)


def summary(study: Study, samples: int) -> Experiment:
    """Accuracy of the float ANN, quantized ANN, float SNN and integer network, and of QCFS at T = 4."""
    pixels, labels = study.test_images(samples)
    module = study.qac_network()
    graph = study.qac_graph()
    float_ann = ann_logits(study.continued_ann(), pixels, study.dataset.max_value)
    quantized = ann_logits(module, pixels, study.dataset.max_value)
    spiking = run_float_snn(graph, pixels).logits
    integers = run_integers(study, graph, pixels)
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


def table3(study: Study, samples: int) -> Experiment:
    """Accuracy of the paper's network before and after calibration of v(0) and v_th (Table 3)."""
    variants = {
        "average": lambda graph: align_edges(graph, "average"),
        "Repl + Aver": lambda graph: align_by_direction(
            graph, expansion="replicate", reduction="average"
        ),
    }
    rows: list[list[Cell]] = []
    for name, align in variants.items():
        before, after, _ = calibrated_accuracies(study, samples, name, align)
        rows.append([name, before, after, after - before])
    paper = paper_figures()["table3"]
    like = nearest_network(study)
    for column, data in enumerate(PAPER_DATA.values()):
        before, after = (paper[key][like][column] for key in ("before", "after"))
        if before is not None:
            gain = (after - before) / 100
            rows.append([f"paper, {like} on {data}", before / 100, after / 100, gain])
    columns = ("alignment", "before %", "after %", "gain %")
    return Experiment(
        name=f"table3-{study.file_label}",
        title=f"Table 3, calibration: {study.label}",
        columns=columns,
        rows=rows,
        notes=[
            _CALIBRATION_NOTE.format(samples=min(samples, len(study.dataset.test_labels))),
            "With averaging, the network equals the quantized ANN, whose logits calibration follows, and has "
            "nothing to gain. The paper's accuracies before calibration are those of T in its Table 5.",
            data_note(study),
        ],
        plot=plot_columns(
            "bars", "accuracy, %", columns, rows, {"before": "before %", "after": "after %"}
        ),
    )


def calibration(study: Study, samples: int) -> Experiment:
    """Accuracy that calibrating v(0) and v_th regains after a conversion that loses some."""
    variants = {
        "truncate": lambda graph: align_edges(graph, "truncate"),
        "replicate": lambda graph: align_edges(graph, "replicate"),
        "average, all T = 1": lambda graph: align_edges(use_uniform_timesteps(graph, 1), "average"),
    }
    pixels, labels = study.test_images(samples)
    rows: list[list[Cell]] = []
    for name, align in variants.items():
        before, after, graph = calibrated_accuracies(study, samples, name, align)
        integers = None
        if name.startswith("average"):
            integers = float((run_integers(study, graph, pixels) == labels).mean())
        rows.append([name, before, after, after - before, integers])
    columns = ("alignment", "before %", "after %", "gain %", "integer network after %")
    return Experiment(
        name=f"calibration-{study.file_label}",
        title=f"Calibration of lossy conversions: {study.label}",
        columns=columns,
        rows=rows,
        notes=[_CALIBRATION_NOTE.format(samples=len(labels))],
        plot=plot_columns(
            "bars", "accuracy, %", columns, rows, {"before": "before %", "after": "after %"}
        ),
    )


def calibrated_accuracies(
    study: Study, samples: int, name: str, align: Callable[[LayerGraph], LayerGraph]
) -> tuple[float, float, LayerGraph]:
    """Accuracy of QAC with an alignment, before and after calibration, and the calibrated graph."""

    def measured() -> tuple[float, float, LayerGraph]:
        pixels, labels = study.test_images(samples)
        held_out = np.asarray(study.dataset.train_pixels[-CALIBRATION_SAMPLES:])
        targets = ann_logits(study.qac_network(), held_out, study.dataset.max_value)
        graph = align(study.qac_graph())
        result = calibrate(graph, held_out, targets, CalibrationPlan(epochs=8))
        before, after = (snn_accuracy(g, pixels, labels) for g in (graph, result.graph))
        return before, after, result.graph

    return study.once(("calibrated", name, samples), measured)
