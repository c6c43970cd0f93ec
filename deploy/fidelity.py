"""How faithful the integer network is to the float network, and what each alignment costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from hw_models.multicore.initiation_interval import initiation_interval
from hw_models.multicore.pipeline import BufferSlots, Pipeline, pipeline_of
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from sim.any_alignment import run_any_alignment
from sim.exact import ExactEngine, run_exact
from sim.simulation import Simulation
from toolchain.datasets import Dataset
from toolchain.errors import DataError, IntegerWidthError
from toolchain.float_snn import SAMPLES_PER_BATCH, run_float_snn
from toolchain.integer_network import IntegerNetwork, has_constant_current
from toolchain.layer_graph import ALIGNMENT_METHODS, AlignmentMethod, LayerGraph
from toolchain.passes.align_edges import align_edges

MEASURED_SAMPLES = 1_000
"""Test samples that compile measures accuracy on; data sets with fewer are measured whole."""

ALIGNMENT_SAMPLES = 256
"""The same for each of the three alignments."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Integer network against float network on test samples.

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
    network: IntegerNetwork, pixels: np.ndarray, *, with_trains: bool = False
) -> Simulation:
    """The fastest engine that has these integers: exact, or step by step where no closed form holds."""
    if has_constant_current(network):
        return run_exact(network, pixels, with_trains=with_trains)
    return run_any_alignment(network, pixels)


def measure_fidelity(graph: LayerGraph, network: IntegerNetwork, dataset: Dataset) -> Fidelity:
    """Run both networks on the same test samples.

    Raises:
        DataError: the data set's samples are not what the network takes.
    """
    pixels, labels = _samples(dataset, MEASURED_SAMPLES)
    classes = network.populations[-1].shape[0]
    if classes != dataset.num_classes:
        raise DataError(
            f"the network has {classes} classes, but data set '{dataset.name}' has "
            f"{dataset.num_classes}; choose the data set it was trained on with --data"
        )
    float_classes, integer_classes = [], []
    differing: Counter[str] = Counter()
    run: Callable[[np.ndarray], Simulation] = partial(run_any_alignment, network)
    if has_constant_current(network):
        run = ExactEngine(network).run
    for start in range(0, len(pixels), SAMPLES_PER_BATCH):
        batch = pixels[start : start + SAMPLES_PER_BATCH]
        integers, floats = run(batch), run_float_snn(graph, batch, with_counts=True)
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
    pipeline: Pipeline,
    slots: BufferSlots,
    dataset: Dataset,
) -> list[AlignmentTrade]:
    """Accuracy against ticks for each alignment, at the same buffers, replicas and links."""
    pixels, labels = _samples(dataset, ALIGNMENT_SAMPLES)
    trades = []
    for method in ALIGNMENT_METHODS:
        aligned = align_edges(graph, method)
        try:
            network = lower(aligned)
        except IntegerWidthError:
            continue  # the report lists the methods that the target can hold
        timed = pipeline_of(network, slots, pipeline.link_ticks, pipeline.replicas)
        trades.append(
            AlignmentTrade(
                method=method,
                samples=len(pixels),
                integer_accuracy=float((simulate(network, pixels).predictions == labels).mean()),
                first_latency_ticks=schedule_pipeline(timed, 1).first_latency_ticks,
                interval_ticks=float(initiation_interval(timed).ticks),
            )
        )
    return trades


def _samples(dataset: Dataset, most: int) -> tuple[np.ndarray, np.ndarray]:
    return dataset.test_pixels[:most], dataset.test_labels[:most]
