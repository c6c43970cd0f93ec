"""Choose an alignment for each population: start its window early if that costs little accuracy.

A population that need not wait for the last frames of its sources starts its window earlier, and so do all
that follow it, but it loses accuracy. So each change is first tried alone; then the changes are combined,
those with the least loss per tick first, as long as the accuracy allows.

Accuracy is measured on real images. Only the changed population and those after it are run; the spike
trains of all others are kept from the run before. With P populations there are at most 4 P runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deploy.design.accuracy import AccuracyMeter
from deploy.design.compilation import CompileOptions, Design
from deploy.design.design import lower_model
from deploy.design.lowerings import PLAIN
from deploy.optimize.measurements import Measurements
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from sim.frame_by_frame import run_frame_by_frame
from toolchain.errors import IntegerWidthError, MappingError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import AlignmentMethod, LayerGraph
from toolchain.networks.layer_graph.maximum import possible_alignments

SAMPLES_PER_BATCH = 64


@dataclass(frozen=True)
class _Change:
    population: str
    method: AlignmentMethod

    def __str__(self) -> str:
        return f"{self.method} into {self.population}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """A network and its measures. It is mapped only if it is kept, as that takes longer.

    Attributes:
        packed: spike trains of all populations, in bits, ``(samples, bytes)`` each.
    """

    options: CompileOptions
    graph: LayerGraph
    network: IntegerNetwork
    latency_ticks: int
    accuracy: float
    packed: dict[str, np.ndarray]


def realign(
    design: Design, measurements: Measurements, lowest_accuracy: float
) -> Iterator[tuple[str, Design]]:
    """Changes of alignment with an earlier first result, each made in the design before it.

    Args:
        measurements: with a data set; the accuracy of each design is added.
        lowest_accuracy: on tuning images, 0..1.

    Yields:
        The change, and the design.
    """
    search = _Realignment(measurements, design.provisioning, lowest_accuracy)
    # integers are fitted to images only where all synapses average; so that each change is compared with
    # the same integers, and changes nothing in front of it, all are lowered without images
    options = replace(design.options, lowering=PLAIN)
    base = search.measure(options, *measurements.lowered(options), {})
    changes = _changes(design)
    loss_per_tick = {}
    for number, change in enumerate(changes, 1):
        measurements.on_stage(f"{change}, alone: {number} of {len(changes)}")
        if (trial := search.attempt(base, change)) is not None:
            lost = max(base.accuracy - trial.accuracy, 0.0)
            loss_per_tick[change] = lost / (base.latency_ticks - trial.latency_ticks)
    for number, change in enumerate(sorted(loss_per_tick, key=lambda c: loss_per_tick[c]), 1):
        measurements.on_stage(f"{change}: {number} of {len(loss_per_tick)}")
        if (trial := search.attempt(base, change)) is None:
            continue
        try:
            realigned = measurements.mapped(
                trial.options, trial.graph, trial.network, design.provisioning
            )
        except MappingError:
            continue
        base = trial
        measurements.accuracies[base.network] = base.accuracy
        yield str(change), realigned


@dataclass(frozen=True, eq=False)
class _Realignment:
    measurements: Measurements
    provisioning: Provisioning
    lowest_accuracy: float

    def attempt(self, base: _Trial, change: _Change) -> _Trial | None:
        """``base`` with one change.

        None if it gains no tick, if it loses too much accuracy, or if the target cannot hold its integers.
        """
        known = self.measurements
        alignments = {**base.options.alignments, change.population: change.method}
        options = replace(base.options, alignments=alignments)
        try:
            graph, lowered = lower_model(known.model, known.target, options)
        except IntegerWidthError:
            return None
        network = lowered.network
        if self.latency(network) >= base.latency_ticks:
            return None
        affected = _downstream(network, change.population)
        kept = {name: bits for name, bits in base.packed.items() if name not in affected}
        trial = self.measure(options, graph, network, kept)
        return trial if trial.accuracy >= self.lowest_accuracy else None

    def latency(self, network: IntegerNetwork) -> int:
        """Ticks until the first result."""
        link_ticks = self.measurements.target.link_ticks
        pipeline = pipeline_of(network, self.provisioning, link_ticks)
        return schedule_pipeline(pipeline, 1).first_latency_ticks

    def measure(
        self,
        options: CompileOptions,
        graph: LayerGraph,
        network: IntegerNetwork,
        kept: dict[str, np.ndarray],
    ) -> _Trial:
        """Accuracy and spike trains of a network, given the trains of unchanged populations."""
        pixels, labels = self.measurements.tuning_images
        packed: dict[str, list[np.ndarray]] = {
            p.name: [] for p in network.spiking if p.name not in kept
        }
        meter = AccuracyMeter(network.readout, self.measurements.accuracy_measure)
        for start in range(0, len(pixels), SAMPLES_PER_BATCH):
            batch = slice(start, start + SAMPLES_PER_BATCH)
            trains = {name: _unpacked(network, name, bits[batch]) for name, bits in kept.items()}
            run = run_frame_by_frame(network, pixels[batch], known=trains, with_counts=False)
            meter.add(run.logits, network.readout.unit)
            for name, parts in packed.items():
                parts.append(np.packbits(run.trains[name].reshape(len(run.logits), -1), axis=1))
        accuracy = meter.result(labels)
        assert accuracy is not None  # the budget needs one
        new = {name: np.concatenate(parts) for name, parts in packed.items()}
        return _Trial(
            options=options,
            graph=graph,
            network=network,
            latency_ticks=self.latency(network),
            accuracy=accuracy,
            packed={**kept, **new},
        )


def _changes(design: Design) -> list[_Change]:
    """Each other method into each spiking population; only the first of two that read equal frames."""
    changes = []
    for population in design.network.spiking:
        synapses = design.network.incoming(population.name)
        current = synapses[0].alignment
        for method in possible_alignments(design.network, population.name):
            steps = {design.network[s.source].timesteps for s in synapses} | {population.timesteps}
            same = method == "truncate" and len(steps) == 1
            if method not in (current, "average") and not same:
                changes.append(_Change(population.name, method))
    return changes


def _downstream(network: IntegerNetwork, name: str) -> set[str]:
    """A population and all that it reaches over any number of synapses."""
    reached = {name}
    for synapse in network.synapses:  # in topological order of their targets
        if synapse.source in reached:
            reached.add(synapse.target)
    return reached


def _unpacked(network: IntegerNetwork, name: str, bits: np.ndarray) -> np.ndarray:
    population = network[name]
    shape = (population.timesteps, *population.shape)
    size = int(np.prod(shape))
    return np.unpackbits(bits, axis=1, count=size).view(bool).reshape(len(bits), *shape)
