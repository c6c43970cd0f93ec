"""Other conversion methods (Tables 1, 2 and 7), and QCFS with averaging (Table 8)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from torch import nn

from deploy.reproduce.experiment import Cell, Experiment, Plot, plot_columns
from deploy.reproduce.measures import LEVELS, float_accuracy, snn_accuracy
from deploy.reproduce.paper import (
    PAPER_DATA,
    PaperData,
    data_note,
    nearest_network,
    paper_data,
    paper_figures,
)
from deploy.reproduce.study import Study
from toolchain.method.baseline_neurons import (
    normalize_neurons,
    sign_gradient_logits,
    signed_logits,
    switching_logits,
)
from toolchain.method.baselines import (
    averaged,
    calibrate_biases,
    frame_by_frame,
    logits_by_timestep,
    shifted,
    silence_overfired,
)
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer, SlipRelu, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.training import accuracy
from toolchain.training.evaluate import as_input

TIMESTEPS = (1, 2, 4, 8, 16, 32)
"""T of the methods whose layers all have the same T."""

NORMALIZATION_SAMPLES = 2_048
QAC = "QAC, mixed T"


def conversion_accuracies(study: Study, samples: int) -> dict[str, list[float]]:
    """Accuracy of each conversion method for each of ``TIMESTEPS``; all start from the same float ANN."""
    return study.once(("conversions", samples), lambda: _conversion_accuracies(study, samples))


def _conversion_accuracies(study: Study, samples: int) -> dict[str, list[float]]:
    pixels, labels = study.test_images(samples)
    longest = max(TIMESTEPS)
    qcfs = study.converted(study.qcfs_network(LEVELS))
    slip = study.converted(_steps_alone(study.sliprelu_network(LEVELS)))
    opened = quantize_activations(
        study.continued_ann(), lambda: FixedTimestepQuantizer(LEVELS), max_pool="average"
    )
    held_out = study.dataset.train_pixels[:256]
    balance_thresholds(opened, as_input(held_out, study.dataset.max_value))
    balanced = study.converted(opened)
    normalized = normalize_neurons(balanced, study.dataset.train_pixels[:NORMALIZATION_SAMPLES])

    def of_longest(run: Callable[[], np.ndarray]) -> list[float]:
        """Accuracies of a run whose first t steps are the run of t steps, ``(T, B, classes)``."""
        logits = run()
        return [accuracy(logits[t - 1], labels) for t in TIMESTEPS]

    def of_graphs(build: Callable[[int], LayerGraph]) -> list[float]:
        return [snn_accuracy(build(t), pixels, labels) for t in TIMESTEPS]

    def rated(graph: LayerGraph, share: float = 0.5) -> Callable[[], np.ndarray]:
        return lambda: logits_by_timestep(frame_by_frame(graph, longest, share), pixels)

    return {
        "RMP": of_longest(rated(balanced, 0.0)),
        "TSC": [accuracy(switching_logits(balanced, pixels, t), labels) for t in TIMESTEPS],
        "RTS": of_graphs(lambda t: shifted(balanced, t)),
        "SNNC-AP": of_graphs(lambda t: calibrate_biases(frame_by_frame(balanced, t), held_out)),
        "SNM": of_longest(lambda: signed_logits(normalized, pixels, longest)),
        "OPI": of_longest(rated(balanced)),
        "QCFS": of_longest(rated(qcfs)),
        "SlipReLU": of_longest(rated(slip)),
        "SGDND": of_longest(lambda: sign_gradient_logits(normalized, pixels, longest)),
        "SRP": of_longest(lambda: silence_overfired(frame_by_frame(qcfs, longest), pixels, LEVELS)),
        "QCFS + averaging": of_graphs(lambda t: averaged(qcfs, t)),
    }


def baselines(study: Study, samples: int) -> Experiment:
    """Accuracy of other conversion methods, applied to the same float ANN or trained from it."""
    return _comparison(study, samples, name="baselines", title="Conversion methods", paper=None)


def compare_methods(study: Study, samples: int, *, table: str, data: PaperData) -> Experiment:
    """The same beside the paper's numbers on one of its data sets (Tables 1, 2 and 7)."""
    title = f"{table.replace('table', 'Table ')}, conversion methods"
    return _comparison(study, samples, name=table, title=title, paper=data)


def _comparison(
    study: Study, samples: int, *, name: str, title: str, paper: PaperData | None
) -> Experiment:
    pixels, labels = study.test_images(samples)
    found = conversion_accuracies(study, samples)
    graph = study.qac_graph()
    ours = study.once(("qac", samples), lambda: snn_accuracy(graph, pixels, labels))
    rows: list[list[Cell]] = [[m, *accuracies, None] for m, accuracies in found.items()]
    rows.append([QAC, *([None] * len(TIMESTEPS)), ours])
    columns = ["method", *(f"T={t} %" for t in TIMESTEPS), "mixed T %"]
    notes = [
        f"{len(labels):,} test images. QAC has a mean T of {graph.mean_timesteps:.2f}; the float ANN, which "
        f"all methods start from, has {float_accuracy(study, samples):.2%}.",
        "RMP, TSC, RTS, SNNC-AP (its bias calibration) and OPI have thresholds at the 99.9 % quantile of 256 "
        f"training images; SNM and SGDND at the largest activation of each neuron on "
        f"{NORMALIZATION_SAMPLES:,}. QCFS, SlipReLU and SRP are of networks trained with L = {LEVELS}. SRP "
        f"takes {LEVELS} more steps, before its first, to find the neurons it silences. The T steps of TSC "
        "and of averaging are those of each layer, one layer after the other.",
    ]
    if paper is not None:
        by_network = paper_figures()[name]
        like = nearest_network(study, by_network)
        columns += [f"paper {like} {PAPER_DATA[paper]}: {c}" for c in ("ANN", "T", "SNN")]
        rows = [[*row, *_paper_cells(by_network[like], str(row[0]))] for row in rows]
        notes.append(data_note(study))
        if any(method.endswith("*") for method in by_network[like]):
            notes.append("* The paper has this of another form of the network.")
    return Experiment(
        name=f"{name}-{study.file_label}",
        title=f"{title}: {study.label}",
        columns=columns,
        rows=rows,
        notes=notes,
        plot=Plot(
            kind="lines",
            x_label="T",
            y_label="accuracy, %",
            x=list(TIMESTEPS),
            series={
                **{method: [100 * a for a in accuracies] for method, accuracies in found.items()},
                QAC: [100 * ours] * len(TIMESTEPS),
            },
        ),
    )


def _paper_cells(methods: dict[str, dict[str, list[float]]], name: str) -> list[Cell]:
    """Accuracy of the paper's ANN, its T and the accuracies of its SNN, in percent as it gives them."""
    key = "QAC" if name == QAC else name
    for method in (key, f"{key}*"):
        if method in methods:
            found, mark = methods[method], method.removeprefix(key)
            steps, accuracies = (
                ", ".join(f"{x:g}" for x in found[k]) for k in ("timesteps", "snn")
            )
            return [f"{found['ann']}{mark}", steps, accuracies]
    return [None, None, None]


def _steps_alone(module: nn.Module) -> nn.Module:
    """A SlipReLU network without its sloped part, which spiking neurons do not compute."""
    stepped = copy.deepcopy(module)
    for quantizer in quantizers(stepped).values():
        assert isinstance(quantizer, SlipRelu)
        quantizer.slope = 0.0
    return stepped


def table8(study: Study, samples: int) -> Experiment:
    """Accuracy of one QCFS network with and without temporal averaging."""
    pixels, labels = study.test_images(samples)
    graph = study.converted(study.qcfs_network(LEVELS))
    timesteps = (1, 2, 3, 4, 8, 16)
    plain = logits_by_timestep(frame_by_frame(graph, max(timesteps)), pixels)
    paper = paper_figures()["table8"]
    data = paper_data(study)
    data = data if data in paper else "cifar-10"
    like = nearest_network(study, paper[data])
    rows = []
    for steps in timesteps:
        column = paper["timesteps"].index(steps)
        of_paper = [values[column] / 100 for values in paper[data][like][LEVELS].values()]
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
            f"{len(labels):,} test images. The paper's numbers are of {like} on {PAPER_DATA[data]}; it also "
            f"has L = 2, 8 and 16.",
            data_note(study),
        ],
        plot=plot_columns("lines", "accuracy, %", columns, rows, series),
    )
