"""What a user chooses for a compile run, and everything the run found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.design.array_comparison import ArrayComparison
from deploy.design.fidelity import AlignmentTrade, Fidelity
from hw_models.multicore.cost.asynchronous_time import AsynchronousTime
from hw_models.multicore.cost.steady_pace import SteadyCost
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.initiation_interval import Change, InitiationInterval
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.pe_array.array_description import PeArray
from hw_models.target_description import TargetDescription
from toolchain.files.checkpoint import Checkpoint
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import PassOptions


@dataclass(frozen=True, kw_only=True)
class CompileOptions(PassOptions):
    """What a user chooses, the float passes included.

    Attributes:
        slots: of every alignment buffer, in front of each replica; the target's default when None.
        replicate: R of the populations that are to have more than one replica.
        thresholds: different thresholds a population may have; the target's when None.
        optimize: name of a ``deploy.optimize.objectives`` entry; nothing is optimized when None.
        interval: ticks between results that a search for fewer stalls aims for; when None, as few as the
            chips that are in use anyway allow.
        accuracy_budget: points of accuracy that ``optimize`` may give up.
        data: data set for accuracy and event counts; the one the model was trained on when None.
        samples: samples in the reported pipeline run.
    """

    target: str = "loihi-sim"
    array: str = "pe-array"
    weight_bits: int | None = None
    thresholds: int | None = None
    slots: int | None = None
    replicate: Mapping[str, int] = field(default_factory=dict)
    optimize: str | None = None
    interval: int | None = None
    accuracy_budget: float = 0.0
    data: str | None = None
    samples: int = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A network on its cores: what the options make of a model.

    Attributes:
        cores_exchanged: cores have changed places since they were placed, see ``placement_search``.
    """

    options: CompileOptions
    graph: LayerGraph
    mapping: CoreMapping
    cores_exchanged: bool = False

    @property
    def network(self) -> IntegerNetwork:
        return self.mapping.network

    @property
    def provisioning(self) -> Provisioning:
        return self.mapping.provisioning

    @property
    def pipeline(self) -> Pipeline:
        return self.mapping.pipeline


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """One design on the way to the optimized one, or beside it.

    Attributes:
        change: what differs from the point before.
        verdict: ``kept``, or why it was not.
        replicas: R of the replicated populations.
        stall_share: part of the steady state a stage does not fire, mean over stages.
        traffic_hops: hops if every neuron spiked once; leaving a chip counts as crossing all of its mesh.
        accuracy: on held-out training images; None without a data set.
        interval_us, energy_nj: time between results and energy a sample under each cost profile; empty
            without a data set.
    """

    change: str
    verdict: str
    mean_timesteps: float
    replicas: Mapping[str, int]
    interval_ticks: float
    first_latency_ticks: int
    stall_share: float
    num_cores: int
    num_chips: int
    num_slots: int
    traffic_hops: int
    accuracy: float | None
    interval_us: Mapping[str, float]
    energy_nj: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The answers with one assumed figure changed.

    Attributes:
        tried: the other value.
        num_cores, interval_ticks: None where the network does not fit with it.
        interval_us, energy_nj: under each cost profile; empty where it does not fit or without a data set.
    """

    figure: str
    value: float
    tried: float
    num_cores: int | None
    interval_ticks: float | None
    interval_us: Mapping[str, float]
    energy_nj: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compilation:
    """Everything a compile run found out; the report shows all of it.

    Attributes:
        data_name: the data set that was measured on, as it was opened; None without one.
        data_record: what the build remembers of it; see ``toolchain.datasets.data_record``.
        data_note: why there is no data set, or that it has changed since the model was trained.
        cost_samples: training images on which times and energies are measured; 0 without a data set.
    """

    model: Path
    design: Design
    checkpoint: Checkpoint
    target: TargetDescription
    array: PeArray
    schedule: Schedule
    interval: InitiationInterval
    changes: list[Change]
    data_name: str | None
    data_record: Mapping[str, Any] | None
    data_note: str | None
    fidelity: Fidelity | None
    alignment_trade: list[AlignmentTrade]
    design_points: list[DesignPoint]
    costs: Mapping[str, SteadyCost]
    asynchronous: Mapping[str, AsynchronousTime]
    cost_samples: int
    sensitivity: list[Sensitivity]
    on_array: ArrayComparison
