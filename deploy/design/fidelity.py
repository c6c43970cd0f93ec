"""Compare the integer network with the float network, and the alignments with each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from deploy.design.accuracy import Accuracy, AccuracyMeter, measure_accuracy
from deploy.design.check_fits import check_fits
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from sim.engines import Request, fastest_engine, simulate
from toolchain.datasets import Dataset
from toolchain.errors import IntegerWidthError
from toolchain.method.float_snn import SAMPLES_PER_BATCH, run_float_snn
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import (
    ALIGNMENT_METHODS,
    AlignmentMethod,
    LayerGraph,
    ReadoutOutput,
    Synapse,
    has_classes,
    readout_outputs,
    split_outputs,
)
from toolchain.networks.layer_graph.maximum import possible_alignments
from toolchain.networks.linear_maps import num_accumulations
from toolchain.networks.temporal_alignment import selected_frames
from toolchain.passes.align_edges import align_edges

MEASURED_SAMPLES = (128, 1_000)
"""Fewest and most test samples that compile measures accuracy on; data sets with fewer are measured whole."""

ALIGNMENT_SAMPLES = (64, 256)
"""Fewest and most test samples for each of the three alignments."""

MOST_ACCUMULATIONS = 150 * 10**9
"""Multiply-accumulates on all samples together; large networks are measured on fewer samples."""

BATCH_BYTES = 32 * 2**20
"""Largest spike train of a batch of the float network, to fit in a processor's caches."""


@dataclass(frozen=True, kw_only=True)
class OutputFidelity:
    """Logits of one output: those of the integer network compared with those of the float network.

    Attributes:
        same_argmax_share: share of pixels, of all samples, at which the same channel is the largest; None
            for an output of one channel.
        largest_difference: of two logits, relative to the largest magnitude of a float logit.
    """

    name: str
    channels: int
    height: int
    width: int
    same_argmax_share: float | None
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """The integer network compared with the float network in single precision, on test samples.

    Attributes:
        accuracy_function: name of the user's function; None if the accuracy is the share of right classes.
        float_accuracy, integer_accuracy: None if the logits are not those of classes, without a function.
        same_argmax: samples on which both choose the same class; None if the logits are not those of
            classes.
        count_difference: per population, the share of neurons whose spike count differs.
    """

    samples: int
    accuracy_function: str | None
    float_accuracy: float | None
    integer_accuracy: float | None
    same_argmax: int | None
    outputs: list[OutputFidelity]
    count_difference: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AlignmentTrade:
    """Accuracy and ticks with one alignment method for the whole network."""

    method: AlignmentMethod
    samples: int
    integer_accuracy: float | None
    first_latency_ticks: int
    interval_ticks: float


def measure_fidelity(
    graph: LayerGraph,
    network: IntegerNetwork,
    dataset: Dataset,
    accuracy: Accuracy | None = None,
) -> Fidelity:
    """Run both networks on the same test samples.

    Raises:
        DataError: the network cannot take the data set's samples.
        AccuracyError: the user's function fails.
    """
    pixels, labels = _samples(dataset, affordable_samples(graph, MEASURED_SAMPLES))
    check_fits(graph, dataset, accuracy)
    readout = network.readout
    by_float, by_integer = (AccuracyMeter(readout, accuracy) for _ in range(2))
    outputs = {output.name: _Agreement() for output in readout_outputs(readout)}
    differing: Counter[str] = Counter()
    run = fastest_engine(network).prepare(network, Request())
    size = _samples_per_batch(graph)
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        integers = run(batch)
        floats = run_float_snn(graph, batch, with_counts=True, dtype=torch.float32)
        by_float.add(floats.logits)
        by_integer.add(integers.logits, readout.unit)
        parts = split_outputs(readout, integers.logits)
        for name, expected in split_outputs(readout, floats.logits).items():
            outputs[name].add(expected, parts[name], readout.unit)
        for name, counts in integers.counts.items():
            differing[name] += int((counts != floats.counts[name]).sum())
    of_outputs = [outputs[o.name].result(o) for o in readout_outputs(readout)]
    return Fidelity(
        samples=len(pixels),
        accuracy_function=None if accuracy is None else accuracy.name,
        float_accuracy=by_float.result(labels),
        integer_accuracy=by_integer.result(labels),
        same_argmax=outputs[readout.name].same if has_classes(readout) else None,
        outputs=of_outputs,
        count_difference={
            name: different / (len(pixels) * math.prod(network[name].shape))
            for name, different in differing.items()
        },
    )


@dataclass(eq=False)
class _Agreement:
    """Sums over batches of one output."""

    pixels: int = 0
    same: int = 0
    difference: float = 0.0
    magnitude: float = 0.0

    def add(self, floats: np.ndarray, integers: np.ndarray, unit: float) -> None:
        """Compare logits ``(B, C, H, W)``."""
        same = floats.argmax(axis=1) == integers.argmax(axis=1)
        self.pixels += same.size
        self.same += int(same.sum())
        self.difference = max(self.difference, float(np.abs(floats - unit * integers).max()))
        self.magnitude = max(self.magnitude, float(np.abs(floats).max()))

    def result(self, output: ReadoutOutput) -> OutputFidelity:
        channels = output.stop - output.start
        return OutputFidelity(
            name=output.name,
            channels=channels,
            height=output.height,
            width=output.width,
            same_argmax_share=self.same / self.pixels if channels > 1 else None,
            largest_difference=self.difference / self.magnitude if self.magnitude else 0.0,
        )


def compare_alignments(
    graph: LayerGraph,
    lower: Callable[[LayerGraph], IntegerNetwork],
    provisioning: Provisioning,
    link_ticks: int,
    dataset: Dataset,
    accuracy: Accuracy | None = None,
) -> list[AlignmentTrade]:
    """Accuracy and ticks with each alignment, at the same buffers, replicas and links.

    A network with exact maxima of counts runs with averaging alone.
    """
    possible = [possible_alignments(graph, p.name) for p in graph.populations]
    methods = [m for m in ALIGNMENT_METHODS if all(m in methods for methods in possible)]
    most_work = align_edges(graph, "replicate" if "replicate" in methods else "average")
    pixels, labels = _samples(dataset, affordable_samples(most_work, ALIGNMENT_SAMPLES))
    trades = []
    for method in methods:
        aligned = align_edges(graph, method)
        try:
            network = lower(aligned)
        except IntegerWidthError:
            continue  # the report lists only methods that the target can hold
        run = simulate(network, pixels, with_counts=False)
        timed = pipeline_of(network, provisioning, link_ticks)
        trades.append(
            AlignmentTrade(
                method=method,
                samples=len(pixels),
                integer_accuracy=measure_accuracy(
                    network.readout, run.logits, labels, accuracy, network.readout.unit
                ),
                first_latency_ticks=schedule_pipeline(timed, 1).first_latency_ticks,
                interval_ticks=float(initiation_interval(timed).ticks),
            )
        )
    return trades


def affordable_samples(graph: LayerGraph, bounds: tuple[int, int]) -> int:
    """The samples that ``MOST_ACCUMULATIONS`` allow, but at least and at most as many as the bounds."""
    fewest, most = bounds
    return min(max(fewest, MOST_ACCUMULATIONS // max(accumulations(graph), 1)), most)


def accumulations(graph: LayerGraph) -> int:
    """Multiply-accumulates of one sample; a synapse is applied once for each frame that it carries."""
    return sum(
        num_accumulations(synapse.maps, graph[synapse.source].shape) * _num_frames(graph, synapse)
        for synapse in graph.synapses
    )


def _num_frames(graph: LayerGraph, synapse: Synapse) -> int:
    """Number of different frames that the target reads; the mean over a window counts as one."""
    if synapse.alignment == "average":
        return 1
    windows = graph[synapse.source].timesteps, graph[synapse.target].timesteps
    frames = selected_frames(synapse.alignment, *windows)
    return len({frame for frame in frames if frame is not None})


def _samples(dataset: Dataset, most: int) -> tuple[np.ndarray, np.ndarray]:
    return dataset.test_pixels[:most], dataset.test_labels[:most]


def _samples_per_batch(graph: LayerGraph) -> int:
    """Samples per batch, so that no spike train is above ``BATCH_BYTES`` in single precision; at least 8."""
    largest = max(p.timesteps * math.prod(p.shape) for p in graph.populations)
    return min(max(8, BATCH_BYTES // (4 * largest)), SAMPLES_PER_BATCH)
