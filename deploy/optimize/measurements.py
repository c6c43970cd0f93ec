"""Designs of a search and their measures; nothing is lowered, mapped or measured twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from deploy.design.accuracy import Accuracy, AccuracyMeter
from deploy.design.compilation import CompileOptions, Design, DesignPoint
from deploy.design.design import explicit_options, lower_model, place, provision
from deploy.design.fidelity import MEASURED_SAMPLES, affordable_samples
from deploy.design.steady_costs import ShownSamples, SteadyRun, shown_samples, steady_run
from hw_models.multicore.cost.steady_pace import SteadyCost
from hw_models.multicore.mapping.placement_search import with_less_traffic
from hw_models.multicore.pipeline.buffer_depths import steady_stall_share
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import TargetDescription
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import PassOptions
from toolchain.rounding.plan import Lowering, LoweringImages

LOWERED_BY = ("weight_bits", "thresholds", "lowering")
"""Options that integers depend on, apart from those of the float passes."""

TUNING_SAMPLES = (128, 1_000)
"""Fewest and most training images, the last ones, on which a search measures accuracy."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """The model, target and data set of a search, and the designs and measures found so far.

    Networks and designs are compared by identity, so they serve as keys.

    Attributes:
        accuracy_measure: a user's own; None takes the share of right classes.
        images: that every network is lowered on, see ``lowering_images_of``.
        on_test: measure accuracy on test samples, as a report does; a search never sees them.
        accuracies: a step that has measured one adds it.
    """

    model: LayerGraph
    target: TargetDescription
    dataset: Dataset | None
    on_stage: Callable[[str], None]
    accuracy_measure: Accuracy | None = None
    images: LoweringImages | None = None
    on_test: bool = False
    accuracies: dict[IntegerNetwork, float | None] = field(default_factory=dict)
    _graphs: dict[IntegerNetwork, LayerGraph] = field(default_factory=dict)
    _lowered: dict[Hashable, tuple[LayerGraph, IntegerNetwork]] = field(default_factory=dict)
    _lowerings: dict[IntegerNetwork, Lowering] = field(default_factory=dict)
    _mapped: dict[tuple[IntegerNetwork, Provisioning], Design] = field(default_factory=dict)
    _exchanged: dict[Design, Design] = field(default_factory=dict)
    _samples: dict[IntegerNetwork, ShownSamples] = field(default_factory=dict)
    _points: dict[Design, DesignPoint] = field(default_factory=dict)
    _costs: dict[Design, dict[str, SteadyCost]] = field(default_factory=dict)

    def remember(self, design: Design) -> None:
        """Add a design that was made elsewhere."""
        self._lowered[_key(design.options)] = design.graph, design.network
        self._graphs[design.network] = design.graph
        if design.lowering is not None:
            self._lowerings[design.network] = design.lowering
        if not design.cores_exchanged:
            self._mapped[design.network, design.provisioning] = design

    def built(self, options: CompileOptions) -> Design:
        """The design that ``build_design`` gives.

        Raises:
            QacDeployError: that of ``build_design``.
        """
        graph, network = self.lowered(options)
        provisioning = provision(network, self.target, options)
        design = self.mapped(options, graph, network, provisioning)
        return self.exchanged(design) if options.exchange_cores else design

    def lowered(self, options: CompileOptions) -> tuple[LayerGraph, IntegerNetwork]:
        """Graph and network of the model with other options.

        Raises:
            IntegerWidthError: the target cannot hold its integers.
        """

        def lowered() -> tuple[LayerGraph, IntegerNetwork]:
            graph, found = lower_model(self.model, self.target, options, self.images)
            self._lowerings[found.network] = found
            return graph, found.network

        graph, network = _once(self._lowered, _key(options), lowered)
        self._graphs[network] = graph
        return graph, network

    def mapped(
        self,
        options: CompileOptions,
        graph: LayerGraph,
        network: IntegerNetwork,
        provisioning: Provisioning,
    ) -> Design:
        """The design of a network with the given buffers, replicas and tile limits.

        Raises:
            MappingError: it does not fit the target.
        """

        def design() -> Design:
            mapping = place(network, self.target, provisioning, exchange_cores=False)
            return Design(
                options=options,
                graph=graph,
                mapping=mapping,
                lowering=self._lowerings.get(network),
            )

        return _once(self._mapped, (network, provisioning), design)

    def provisioned(self, design: Design, provisioning: Provisioning) -> Design:
        """The design with other buffers, replicas or tile limits, and with the same integers.

        Raises:
            MappingError: it does not fit the target.
        """
        return self.mapped(design.options, design.graph, design.network, provisioning)

    def exchanged(self, design: Design) -> Design:
        """The design with cores in other places, with at most as much traffic."""
        return _once(
            self._exchanged,
            design,
            lambda: replace(
                design, mapping=with_less_traffic(design.mapping), cores_exchanged=True
            ),
        )

    def point(self, design: Design, change: str, verdict: str) -> DesignPoint:
        """The measures of a design; ``change`` and ``verdict`` are recorded in them."""

        def measured() -> DesignPoint:
            self.on_stage(f"measuring: {change}")
            return self._measured(design)

        return replace(_once(self._points, design, measured), change=change, verdict=verdict)

    def accuracy(self, network: IntegerNetwork) -> float | None:
        """On tuning or test images, usually 0..1; None without a data set, or if none is defined."""
        if self.dataset is None:
            return None

        def measured() -> float | None:
            meter = AccuracyMeter(network.readout, self.accuracy_measure)
            if not meter.is_defined:
                return None
            pixels, labels = self._test_images(network) if self.on_test else self.tuning_images
            meter.add(simulate(network, pixels, with_counts=False).logits, network.readout.unit)
            return meter.result(labels)

        return _once(self.accuracies, network, measured)

    def costs(self, design: Design) -> dict[str, SteadyCost]:
        """Per sample in the steady state, under each cost profile.

        Empty without a data set, or if there are too many events to count.
        """
        if self.dataset is None:
            return {}
        if design not in self._costs:
            self.run(design)
        return self._costs[design]

    def run(self, design: Design) -> SteadyRun | None:
        """The steady state of a design, whose costs are remembered; needs a data set.

        Returns:
            None if there are too many events to count.
        """
        dataset, network = self.dataset, design.network
        assert dataset is not None
        shown = _once(self._samples, network, lambda: shown_samples(network, dataset))
        run = steady_run(design.mapping, design.pipeline, shown)
        self._costs[design] = {} if run is None else run.costs(self.target)
        return run

    @cached_property
    def tuning_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(B, C, H, W)`` and their labels; needs a data set."""
        assert self.dataset is not None
        last = slice(-affordable_samples(self.model, TUNING_SAMPLES), None)
        return np.asarray(self.dataset.train_pixels[last]), self.dataset.train_labels[last]

    def for_report(self) -> Measurements:
        """These measurements with accuracy on test samples; what else is known stays known."""
        return replace(self, on_test=True, accuracies={}, _points={})

    def _test_images(self, network: IntegerNetwork) -> tuple[np.ndarray, np.ndarray]:
        """The samples on which ``measure_fidelity`` measures a network."""
        assert self.dataset is not None
        first = slice(affordable_samples(self._graphs[network], MEASURED_SAMPLES))
        return np.asarray(self.dataset.test_pixels[first]), self.dataset.test_labels[first]

    def _measured(self, design: Design) -> DesignPoint:
        ticks = initiation_interval(design.pipeline).ticks
        costs = self.costs(design)
        return DesignPoint(
            options=explicit_options(design),
            change="",
            verdict="",
            mean_timesteps=design.network.mean_timesteps,
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
            first_latency_us={name: 1e6 * cost.first_latency_s for name, cost in costs.items()},
            energy_nj={name: 1e9 * cost.energy_per_sample_j for name, cost in costs.items()},
        )


def _once(known: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """The value of a key, made when it is asked for the first time."""
    if key not in known:
        known[key] = make()
    return known[key]


def _key(options: CompileOptions) -> Hashable:
    """The options that integers depend on: those of the float passes and of lowering."""
    names = (*(option.name for option in fields(PassOptions)), *LOWERED_BY)
    return tuple(repr(getattr(options, name)) for name in names)
