"""An alignment for each population: where starting a window early costs little accuracy.

Every population on the way to the logits starts its window earlier when it need not wait for its sources'
last frames, and each loses accuracy of its own by that. So each change is first tried alone; then they are
made together, the cheapest a tick first, for as long as the accuracy allows.

Accuracy is measured on real images, from the changed population on: the spike trains of all others are
kept from the design that the change is made in. With P populations, at most 4 P times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deploy.design.compilation import CompileOptions, Design
from deploy.design.design import lowering
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import TargetDescription
from sim.frame_by_frame import run_frame_by_frame
from toolchain.errors import IntegerWidthError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import ALIGNMENT_METHODS, AlignmentMethod, LayerGraph
from toolchain.passes import chosen_graph

SAMPLES_PER_BATCH = 64


@dataclass(frozen=True)
class _Change:
    population: str
    method: AlignmentMethod

    def __str__(self) -> str:
        return f"{self.method} into {self.population}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """A network with one change more, not yet mapped: that takes longer, and only what is kept needs it.

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
    design: Design,
    model: LayerGraph,
    target: TargetDescription,
    images: tuple[np.ndarray, np.ndarray],
    lowest_accuracy: float,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Iterator[tuple[str, Design, float]]:
    """Changes of alignment that bring the first result sooner, each made in the design before it.

    Args:
        images: pixels ``(B, C, H, W)`` and their classes, to measure accuracy on.
        lowest_accuracy: what no change may go below, 0..1.

    Yields:
        What was changed, the design, and its accuracy on the images.
    """
    search = _Realignment(model, target, design.provisioning, *images)
    base = search.measure(design.options, design.graph, design.network, {})
    changes = _changes(design)
    alone = {}
    for number, change in enumerate(changes, 1):
        on_stage(f"{change}, alone: {number} of {len(changes)}")
        trial = search.attempt(base, change)
        if trial is not None and trial.accuracy >= lowest_accuracy:
            lost = max(base.accuracy - trial.accuracy, 0.0)
            alone[change] = lost / (base.latency_ticks - trial.latency_ticks)
    for number, change in enumerate(sorted(alone, key=lambda change: alone[change]), 1):
        on_stage(f"{change}: {number} of {len(alone)}")
        trial = search.attempt(base, change)
        if trial is not None and trial.accuracy >= lowest_accuracy:
            base = trial
            mapping = map_network(base.network, target, design.provisioning)
            found = Design(options=base.options, graph=base.graph, mapping=mapping)
            yield str(change), found, base.accuracy


@dataclass(frozen=True, eq=False)
class _Realignment:
    model: LayerGraph
    target: TargetDescription
    provisioning: Provisioning
    pixels: np.ndarray
    labels: np.ndarray

    def attempt(self, base: _Trial, change: _Change) -> _Trial | None:
        """``base`` with one change, or None if it gains no tick or the target cannot hold it."""
        options = base.options
        alignments = {**options.alignments, change.population: change.method}
        changed = replace(options, alignments=alignments)
        graph = chosen_graph(self.model, changed)
        try:
            network = lowering(self.target, changed)(graph)
        except IntegerWidthError:
            return None
        if self.latency(network) >= base.latency_ticks:
            return None
        affected = _downstream(network, change.population)
        known = {name: bits for name, bits in base.packed.items() if name not in affected}
        return self.measure(changed, graph, network, known)

    def latency(self, network: IntegerNetwork) -> int:
        """Ticks until the first result."""
        pipeline = pipeline_of(network, self.provisioning, self.target.link_ticks)
        return schedule_pipeline(pipeline, 1).first_latency_ticks

    def measure(
        self,
        options: CompileOptions,
        graph: LayerGraph,
        network: IntegerNetwork,
        known: dict[str, np.ndarray],
    ) -> _Trial:
        """Accuracy and spike trains of a network, given the trains of what did not change."""
        packed: dict[str, list[np.ndarray]] = {
            p.name: [] for p in network.spiking if p.name not in known
        }
        correct = 0
        for start in range(0, len(self.pixels), SAMPLES_PER_BATCH):
            batch = slice(start, start + SAMPLES_PER_BATCH)
            trains = {name: _unpacked(network, name, bits[batch]) for name, bits in known.items()}
            run = run_frame_by_frame(network, self.pixels[batch], known=trains, with_counts=False)
            correct += int((run.predictions == self.labels[batch]).sum())
            for name, parts in packed.items():
                parts.append(np.packbits(run.trains[name].reshape(len(run.logits), -1), axis=1))
        new = {name: np.concatenate(parts) for name, parts in packed.items()}
        return _Trial(
            options=options,
            graph=graph,
            network=network,
            latency_ticks=self.latency(network),
            accuracy=correct / len(self.pixels),
            packed={**known, **new},
        )


def _changes(design: Design) -> list[_Change]:
    """Every other method into each spiking population; of two that read the same frames, the first."""
    changes = []
    for population in design.network.spiking:
        synapses = design.network.incoming(population.name)
        current = synapses[0].alignment
        for method in ALIGNMENT_METHODS:
            steps = {design.network[s.source].timesteps for s in synapses} | {population.timesteps}
            same = method == "truncate" and len(steps) == 1
            if method not in (current, "average") and not same:
                changes.append(_Change(population.name, method))
    return changes


def _downstream(network: IntegerNetwork, name: str) -> set[str]:
    """A population and all that hear from it, over any number of synapses."""
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
