"""Other conversion methods: QCFS with averaging (Table 8), and baselines from the same float ANN."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from torch import nn

from deploy.reproduce.experiment import Experiment, Plot, plot_columns
from deploy.reproduce.measures import (
    LEVELS,
    data_note,
    paper_figures,
    snn_accuracy,
)
from deploy.reproduce.study import Study
from toolchain.method.baselines import (
    averaged,
    calibrate_biases,
    frame_by_frame,
    logits_by_timestep,
    silence_overfired,
)
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer, SlipRelu, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.training import accuracy
from toolchain.training.evaluate import as_input


def table8(study: Study, samples: int) -> Experiment:
    """Accuracy of one QCFS network with and without temporal averaging."""
    pixels, labels = study.test_images(samples)
    graph = study.converted(study.qcfs_network(LEVELS))
    timesteps = (1, 2, 3, 4, 8, 16)
    plain = logits_by_timestep(frame_by_frame(graph, max(timesteps)), pixels)
    paper = paper_figures()["table8"]
    rows = []
    for steps in timesteps:
        column = paper["timesteps"].index(steps)
        of_paper = [values[column] / 100 for values in paper[LEVELS].values()]
        without = accuracy(plain[steps - 1], labels)
        averaging = snn_accuracy(averaged(graph, steps), pixels, labels)
        rows.append((steps, without, averaging, averaging - without, *of_paper))
    columns = (
        *("T", "QCFS %", "QCFS + averaging %", "gain %"),
        *("paper QCFS %", "paper + averaging %"),
    )
    series = {"QCFS": "QCFS %", "QCFS + averaging": "QCFS + averaging %"}
    return Experiment(
        name=f"table8-{study.file_label}",
        title=f"Table 8, averaging on QCFS (L = {LEVELS}): {study.label}",
        columns=columns,
        rows=rows,
        notes=[
            f"{len(labels):,} test images. The paper's numbers are ResNet-20 on CIFAR-10.",
            data_note(study),
        ],
        plot=plot_columns("lines", "accuracy, %", columns, rows, series),
    )


def baselines(study: Study, samples: int) -> Experiment:
    """Accuracy of other conversion methods, applied to the same float ANN or trained from it."""
    pixels, labels = study.test_images(samples)
    timesteps = (1, 2, 4, 8, 16)
    longest = max(timesteps)
    qcfs = study.converted(study.qcfs_network(LEVELS))
    slip = study.converted(_steps_alone(study.sliprelu_network(LEVELS)))
    opened = quantize_activations(
        study.continued_ann(), lambda: FixedTimestepQuantizer(LEVELS), max_pool="average"
    )
    held_out = study.dataset.train_pixels[:256]
    balance_thresholds(opened, as_input(held_out, study.dataset.max_value))
    balanced = study.converted(opened)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "RMP": lambda: logits_by_timestep(frame_by_frame(balanced, longest, 0.0), pixels),
        "OPI": lambda: logits_by_timestep(frame_by_frame(balanced, longest), pixels),
        "QCFS": lambda: logits_by_timestep(frame_by_frame(qcfs, longest), pixels),
        "SlipReLU": lambda: logits_by_timestep(frame_by_frame(slip, longest), pixels),
        "SRP": lambda: silence_overfired(frame_by_frame(qcfs, longest), pixels, LEVELS),
    }
    rows: list[tuple[str | float, ...]] = []
    for name, run in runs.items():
        logits = run()
        rows.append((name, *(accuracy(logits[t - 1], labels) for t in timesteps)))
    by_method: dict[str, Callable[[int], LayerGraph]] = {
        "SNNC-AP (biases)": lambda t: calibrate_biases(frame_by_frame(balanced, t), held_out),
        "QCFS + averaging": lambda t: averaged(qcfs, t),
    }
    for name, build in by_method.items():
        rows.append((name, *(snn_accuracy(build(t), pixels, labels) for t in timesteps)))
    graph = study.converted(study.qac_network())
    ours = snn_accuracy(graph, pixels, labels)
    return Experiment(
        name=f"baselines-{study.file_label}",
        title=f"Conversion methods: {study.label}",
        columns=("method", *(f"T={t} %" for t in timesteps)),
        rows=rows,
        notes=[
            f"{len(labels):,} test images. QAC at mean T {graph.mean_timesteps:.2f}: {ours:.2%}.",
            "RMP, OPI and SNNC-AP start from the float ANN with thresholds at the 99.9 % quantile of 256 "
            "training images; QCFS, SlipReLU and SRP from networks trained with L = 4. SRP takes 4 more "
            "steps, before its first, to find the neurons it silences.",
        ],
        plot=Plot(
            kind="lines",
            x_label="T",
            y_label="accuracy, %",
            x=list(timesteps),
            series={
                **{str(r[0]): [100 * float(v) for v in r[1:]] for r in rows},
                f"QAC, mean T {graph.mean_timesteps:.2f}": [100 * ours] * len(timesteps),
            },
        ),
    )


def _steps_alone(module: nn.Module) -> nn.Module:
    """A SlipReLU network without its sloped part, which spiking neurons do not compute."""
    stepped = copy.deepcopy(module)
    for quantizer in quantizers(stepped).values():
        assert isinstance(quantizer, SlipRelu)
        quantizer.slope = 0.0
    return stepped
