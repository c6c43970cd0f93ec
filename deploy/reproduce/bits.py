"""Weight bits as a dial: accuracy over the bits of the weights and the mean T, with and without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deploy.reproduce.experiment import Experiment, Plot
from deploy.reproduce.measures import snn_accuracy
from deploy.reproduce.study import Study
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import TargetDescription, load_target
from sim.exact.engine import run_exact
from toolchain.datasets import PixelSource
from toolchain.errors import MappingError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers
from toolchain.rounding.lower_on_images import lower_on_dataset
from toolchain.training import TimestepBudget

WEIGHT_BITS = (8, 6, 4, 3, 2)
MEAN_TIMESTEPS = 1.5
"""Budget of the second network, beside the study's own."""


class Row(NamedTuple):
    """Accuracies and area for one number of bits."""

    mean_timesteps: float
    weight_bits: int
    float_snn: float
    nearest: float
    fitted: float
    trained: float
    weights_kib: float
    cores: int | None


def bits(study: Study, samples: int) -> Experiment:
    """Accuracy of integer networks over weight bits and mean T: rounded after training, and trained with."""
    pixels, labels = study.test_images(samples)
    target = load_target("loihi-sim")
    short = TimestepBudget(limit=MEAN_TIMESTEPS, price=0.05)
    name = f"qac-mean{MEAN_TIMESTEPS:g}"
    graphs = {
        "qac-case4": study.qac_graph(),
        name: study.once(name, lambda: study.converted(study.qac_network(budget=short, name=name))),
    }
    rows: list[Row] = []
    for kind, graph in graphs.items():
        spiking = snn_accuracy(graph, pixels, labels)
        for num_bits in WEIGHT_BITS:
            widths = replace(target.widths, weight_bits=num_bits)
            rounded = lower_to_integers(graph, widths)
            fitted = lower_on_dataset(graph, widths, study.dataset).network
            trained = study.integer_network(graph, widths, f"{kind}-integers{num_bits}")
            rows.append(
                Row(
                    graph.mean_timesteps,
                    num_bits,
                    spiking,
                    _accuracy(rounded, pixels, labels),
                    _accuracy(fitted, pixels, labels),
                    _accuracy(trained, pixels, labels),
                    _weights_kib(trained),
                    _cores(trained, target),
                )
            )
    columns = (
        *("mean T", "weight bits", "float SNN %", "rounded to nearest %", "rounded on images %"),
        *("trained with integers %", "weights, KiB", "cores"),
    )
    return Experiment(
        name=f"bits-{study.file_label}",
        title=f"Weight bits and mean T: {study.label}",
        columns=columns,
        rows=rows,
        notes=[
            f"{len(labels):,} test images, integers of loihi-sim. Training with integers goes on from the "
            f"quantized network for {study.integer_epochs} epoch{'s' * (study.integer_epochs > 1)}.",
            "The memory of the weights is their number times their bits; cores are those of the mapping, "
            "where neurons and axons take room, too.",
        ],
        plot=_plot(graphs, rows),
    )


def _accuracy(network: IntegerNetwork, pixels: PixelSource, labels: np.ndarray) -> float:
    batches = [pixels[start : start + 256] for start in range(0, len(pixels), 256)]
    predictions = [run_exact(network, batch, with_counts=False).predictions for batch in batches]
    return float((np.concatenate(predictions) == labels).mean())


def _weights_kib(network: IntegerNetwork) -> float:
    """Number of weights times the bits of each synapse's largest, in KiB."""
    bits = (
        s.weighted.weight.size * (1 + int(np.abs(s.weighted.weight.astype(int)).max()).bit_length())
        for s in network.synapses
    )
    return sum(bits) / 8 / 1024


def _cores(network: IntegerNetwork, target: TargetDescription) -> int | None:
    """Cores that the network takes; None if it does not fit the chip."""
    provisioning = uniform_provisioning(network, target.default_buffer_slots)
    try:
        return len(map_network(network, target, provisioning).cores)
    except MappingError:
        return None


def _plot(graphs: Mapping[str, LayerGraph], rows: Sequence[Row]) -> Plot:
    series: dict[str, list[float | None]] = {}
    for number, graph in enumerate(graphs.values()):
        of_graph = rows[number * len(WEIGHT_BITS) : (number + 1) * len(WEIGHT_BITS)]
        mean = f"mean T {graph.mean_timesteps:.2f}"
        series[f"rounded on images, {mean}"] = [100 * row.fitted for row in of_graph]
        series[f"trained, {mean}"] = [100 * row.trained for row in of_graph]
    return Plot(
        kind="lines",
        x_label="weight bits",
        y_label="accuracy, %",
        x=list(WEIGHT_BITS),
        series=series,
    )
