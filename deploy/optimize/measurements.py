"""Designs of one search and their measures; nothing is lowered, mapped or measured twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from deploy.design.compilation import CompileOptions, Design, DesignPoint
from deploy.design.design import lowering
from deploy.design.fidelity import simulate
from deploy.design.steady_costs import ShownSamples, shown_samples, steady_run
from hw_models.multicore.cost.steady_pace import SteadyCost
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.mapping.placement_search import with_less_traffic
from hw_models.multicore.pipeline.buffer_depths import steady_stall_share
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import PassOptions, chosen_graph

TUNING_SAMPLES = 1_000
"""Training images, the last ones, on which accuracy is measured while searching."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """What a search has to work with, and all it has found out.

    Networks and designs are compared by identity, so they are the keys of what is known of them.

    Attributes:
        accuracies: on tuning images; a step that measured one itself adds it.
    """

    model: LayerGraph
    target: TargetDescription
    dataset: Dataset | None
    on_stage: Callable[[str], None]
    accuracies: dict[IntegerNetwork, float | None] = field(default_factory=dict)
    _lowered: dict[Hashable, tuple[LayerGraph, IntegerNetwork]] = field(default_factory=dict)
    _mapped: dict[tuple[IntegerNetwork, Provisioning], Design] = field(default_factory=dict)
    _exchanged: dict[Design, Design] = field(default_factory=dict)
    _samples: dict[IntegerNetwork, ShownSamples] = field(default_factory=dict)
    _points: dict[Design, DesignPoint] = field(default_factory=dict)
    _costs: dict[Design, dict[str, SteadyCost]] = field(default_factory=dict)

    def remember(self, design: Design) -> None:
        """Take a design that was made elsewhere."""
        self._lowered[_key(design.options)] = design.graph, design.network
        self._mapped[design.network, design.provisioning] = design

    def lowered(self, options: CompileOptions) -> tuple[LayerGraph, IntegerNetwork]:
        """Graph and network of the model under other options.

        Raises:
            IntegerWidthError: the target cannot hold its integers.
        """
        key = _key(options)
        if key not in self._lowered:
            graph = chosen_graph(self.model, options)
            self._lowered[key] = graph, lowering(self.target, options)(graph)
        return self._lowered[key]

    def mapped(
        self,
        options: CompileOptions,
        graph: LayerGraph,
        network: IntegerNetwork,
        provisioning: Provisioning,
    ) -> Design:
        """The design of a network that is given so much.

        Raises:
            MappingError: that does not fit the target.
        """
        key = network, provisioning
        if key not in self._mapped:
            mapping = map_network(network, self.target, provisioning)
            self._mapped[key] = Design(options=options, graph=graph, mapping=mapping)
        return self._mapped[key]

    def provisioned(self, design: Design, provisioning: Provisioning) -> Design:
        """The same integers, given other buffers, replicas or tiles.

        Raises:
            MappingError: that does not fit the target.
        """
        return self.mapped(design.options, design.graph, design.network, provisioning)

    def exchanged(self, design: Design) -> Design:
        """The same cores in other places, with at most the traffic there was."""
        if design not in self._exchanged:
            mapping = with_less_traffic(design.mapping)
            self._exchanged[design] = replace(design, mapping=mapping, cores_exchanged=True)
        return self._exchanged[design]

    def point(self, design: Design, change: str, verdict: str) -> DesignPoint:
        if design not in self._points:
            self.on_stage(f"measuring: {change}")
            self._points[design] = self._measured(design)
        return replace(self._points[design], change=change, verdict=verdict)

    def accuracy(self, network: IntegerNetwork) -> float | None:
        """On tuning images; None without a data set."""
        if network not in self.accuracies:
            self.accuracies[network] = self._measured_accuracy(network)
        return self.accuracies[network]

    def costs(self, design: Design) -> dict[str, SteadyCost]:
        """Per sample in the steady state, under each cost profile; empty without a data set."""
        if design not in self._costs:
            self._costs[design] = self._measured_costs(design)
        return self._costs[design]

    @cached_property
    def tuning_images(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.dataset is not None
        last = slice(-TUNING_SAMPLES, None)
        return np.asarray(self.dataset.train_pixels[last]), self.dataset.train_labels[last]

    def _measured(self, design: Design) -> DesignPoint:
        ticks = initiation_interval(design.pipeline).ticks
        costs = self.costs(design)
        return DesignPoint(
            change="",
            verdict="",
            mean_timesteps=mean_timesteps(design.network),
            replicas=dict(design.provisioning.replicas),
            interval_ticks=float(ticks),
            first_latency_ticks=schedule_pipeline(design.pipeline, 1).first_latency_ticks,
            stall_share=steady_stall_share(design.pipeline, ticks),
            num_cores=len(design.mapping.cores),
            num_chips=design.mapping.num_chips,
            num_slots=sum(design.provisioning.slots.values()),
            traffic_hops=design.mapping.traffic_cost,
            accuracy=self.accuracy(design.network),
            interval_us={name: 1e6 * cost.interval_s for name, cost in costs.items()},
            energy_nj={name: 1e9 * cost.energy_per_sample_j for name, cost in costs.items()},
        )

    def _measured_accuracy(self, network: IntegerNetwork) -> float | None:
        if self.dataset is None:
            return None
        pixels, labels = self.tuning_images
        run = simulate(network, pixels, with_counts=False)
        return float((run.predictions == labels).mean())

    def _measured_costs(self, design: Design) -> dict[str, SteadyCost]:
        if self.dataset is None:
            return {}
        shown = self._shown(design.network, self.dataset)
        return steady_run(design.mapping, design.pipeline, shown).costs(self.target)

    def _shown(self, network: IntegerNetwork, dataset: Dataset) -> ShownSamples:
        if network not in self._samples:
            self._samples[network] = shown_samples(network, dataset)
        return self._samples[network]


def _key(options: CompileOptions) -> Hashable:
    """The options of the float passes: what a search changes of those that decide the integers."""
    return tuple(repr(getattr(options, option.name)) for option in fields(PassOptions))


def mean_timesteps(network: IntegerNetwork) -> float:
    """T, mean over the spiking populations."""
    spiking = network.spiking
    return sum(p.timesteps for p in spiking) / len(spiking)
