"""How faithful the integer network is to the float network, and what each alignment costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from hw_models.multicore.initiation_interval import initiation_interval
from hw_models.multicore.pipeline import pipeline_of
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from hw_models.multicore.provisioning import Provisioning
from sim.any_alignment import run_any_alignment
from sim.exact import ExactEngine, run_exact
from sim.simulation import Simulation
from toolchain.datasets import Dataset
from toolchain.errors import DataError, IntegerWidthError
from toolchain.float_snn import SAMPLES_PER_BATCH, run_float_snn
from toolchain.integer_network import IntegerNetwork, has_constant_current
from toolchain.layer_graph import (
    ALIGNMENT_METHODS,
    AlignmentMethod,
    LayerGraph,
    Synapse,
)
from toolchain.linear_maps import num_accumulations
from toolchain.passes.align_edges import align_edges
from toolchain.temporal_alignment import selected_frames

MEASURED_SAMPLES = (128, 1_000)
"""Fewest and most test samples that compile measures accuracy on; data sets with fewer are measured whole."""

ALIGNMENT_SAMPLES = (64, 256)
"""The same for each of the three alignments."""

MOST_ACCUMULATIONS = 150 * 10**9
"""Multiply-accumulates on all samples together: what keeps large networks to fewer of them."""

BATCH_BYTES = 32 * 2**20
"""Largest spike train of a batch of the float network: what a processor's caches still hold."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Integer network against float network, in single precision, on test samples.

    Attributes:
        same_argmax: samples on which both choose the same class.
        count_difference: per population, the share of neurons whose spike count differs.
    """

    samples: int
    float_accuracy: float
    integer_accuracy: float
    same_argmax: int
    count_difference: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AlignmentTrade:
    """What one alignment method gives on the whole network."""

    method: AlignmentMethod
    samples: int
    integer_accuracy: float
    first_latency_ticks: int
    interval_ticks: float


def simulate(
    network: IntegerNetwork,
    pixels: np.ndarray,
    *,
    with_counts: bool = True,
    with_trains: bool = False,
) -> Simulation:
    """The fastest engine that has these integers: exact, or step by step where no closed form holds."""
    if has_constant_current(network):
        return run_exact(network, pixels, with_counts=with_counts, with_trains=with_trains)
    return run_any_alignment(network, pixels, with_counts=with_counts, with_trains=with_trains)


def measure_fidelity(graph: LayerGraph, network: IntegerNetwork, dataset: Dataset) -> Fidelity:
    """Run both networks on the same test samples.

    Raises:
        DataError: the data set's samples are not what the network takes.
    """
    pixels, labels = _samples(dataset, affordable_samples(graph, MEASURED_SAMPLES))
    classes = network.populations[-1].shape[0]
    if classes != dataset.num_classes:
        raise DataError(
            f"the network has {classes} classes, but data set '{dataset.name}' has "
            f"{dataset.num_classes}; choose the data set it was trained on with --data"
        )
    float_classes, integer_classes = [], []
    differing: Counter[str] = Counter()
    run: Callable[[np.ndarray], Simulation] = partial(run_any_alignment, network, with_trains=False)
    if has_constant_current(network):
        run = ExactEngine(network).run
    size = _samples_per_batch(graph)
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        integers = run(batch)
        floats = run_float_snn(graph, batch, with_counts=True, dtype=torch.float32)
        float_classes.append(floats.logits.argmax(1))
        integer_classes.append(integers.predictions)
        for name, counts in integers.counts.items():
            differing[name] += int((counts != floats.counts[name]).sum())
    by_float, by_integer = np.concatenate(float_classes), np.concatenate(integer_classes)
    return Fidelity(
        samples=len(pixels),
        float_accuracy=float((by_float == labels).mean()),
        integer_accuracy=float((by_integer == labels).mean()),
        same_argmax=int((by_float == by_integer).sum()),
        count_difference={
            name: different / (len(pixels) * math.prod(network[name].shape))
            for name, different in differing.items()
        },
    )


def compare_alignments(
    graph: LayerGraph,
    lower: Callable[[LayerGraph], IntegerNetwork],
    provisioning: Provisioning,
    link_ticks: int,
    dataset: Dataset,
) -> list[AlignmentTrade]:
    """Accuracy against ticks for each alignment, at the same buffers, replicas and links."""
    most_work = align_edges(graph, "replicate")
    pixels, labels = _samples(dataset, affordable_samples(most_work, ALIGNMENT_SAMPLES))
    trades = []
    for method in ALIGNMENT_METHODS:
        aligned = align_edges(graph, method)
        try:
            network = lower(aligned)
        except IntegerWidthError:
            continue  # the report lists the methods that the target can hold
        run = simulate(network, pixels, with_counts=False)
        timed = pipeline_of(network, provisioning, link_ticks)
        trades.append(
            AlignmentTrade(
                method=method,
                samples=len(pixels),
                integer_accuracy=float((run.predictions == labels).mean()),
                first_latency_ticks=schedule_pipeline(timed, 1).first_latency_ticks,
                interval_ticks=float(initiation_interval(timed).ticks),
            )
        )
    return trades


def affordable_samples(graph: LayerGraph, bounds: tuple[int, int]) -> int:
    """As many samples as ``MOST_ACCUMULATIONS`` allow, but within bounds: the fewest and the most."""
    fewest, most = bounds
    return min(max(fewest, MOST_ACCUMULATIONS // max(accumulations(graph), 1)), most)


def accumulations(graph: LayerGraph) -> int:
    """Multiply-accumulates of one sample: of one application of a synapse for each frame it carries."""
    return sum(
        num_accumulations(synapse.maps, graph[synapse.source].shape) * _num_frames(graph, synapse)
        for synapse in graph.synapses
    )


def _num_frames(graph: LayerGraph, synapse: Synapse) -> int:
    """Different frames that the target reads: the mean over a window is one."""
    if synapse.alignment == "average":
        return 1
    windows = graph[synapse.source].timesteps, graph[synapse.target].timesteps
    frames = selected_frames(synapse.alignment, *windows)
    return len({frame for frame in frames if frame is not None})


def _samples(dataset: Dataset, most: int) -> tuple[np.ndarray, np.ndarray]:
    return dataset.test_pixels[:most], dataset.test_labels[:most]


def _samples_per_batch(graph: LayerGraph) -> int:
    """Samples whose largest spike train takes ``BATCH_BYTES`` in single precision; at least 8."""
    largest = max(p.timesteps * math.prod(p.shape) for p in graph.populations)
    return min(max(8, BATCH_BYTES // (4 * largest)), SAMPLES_PER_BATCH)
