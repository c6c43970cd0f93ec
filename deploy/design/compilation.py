"""Options of a compile run, and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.design.activity import Activity
from deploy.design.array_comparison import ArrayComparison
from deploy.design.lowerings import IMAGES
from hw_models.multicore.cost.asynchronous_time import AsynchronousTime
from hw_models.multicore.cost.steady_pace import SteadyCost
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.initiation_interval import Change, InitiationInterval
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.pe_array.array_description import PeArray
from hw_models.target_description import TargetDescription
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import PassOptions
from toolchain.rounding.plan import Lowering

if TYPE_CHECKING:  # they import torch, which showing a finished build does not need
    from deploy.design.fidelity import AlignmentTrade, Fidelity
    from toolchain.files.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class CompileOptions(PassOptions):
    """Options of ``qac-deploy compile``, including those of the float passes.

    Attributes:
        unrolling: M, N, S and V of the array, with ports as wide as they need; None takes the array's own.
        weight_bits: None takes the target's.
        thresholds: different thresholds per population; None takes the target's.
        lowering: one of ``LOWERINGS``; without a data set, ``images`` chooses integers as ``plain`` does.
        slots: of every alignment buffer, per replica; None takes the target's default.
        slots_of: of single buffers, per replica, by ``SOURCE->TARGET``.
        replicate: number of replicas R of populations that have more than one.
        tile_work: largest ``CutCounts.worst_tile_work`` of a tile, for populations that are cut finer than
            they need to fit.
        exchange_cores: exchange cores to lower the traffic, see ``placement_search``.
        optimize: name of an objective in ``deploy.optimize.objectives``; None optimizes nothing.
        interval: ticks between results that a search for fewer stalls aims for; None aims for the fewest
            that the chips in use allow.
        accuracy_budget: points of accuracy that ``optimize`` may lose.
        data: data set for accuracy and event counts; None takes the one the model was trained on.
        samples: samples in the reported pipeline run.
    """

    target: str = "loihi-sim"
    array: str = "pe-array"
    unrolling: Sequence[int] | None = None
    weight_bits: int | None = None
    thresholds: int | None = None
    lowering: str = IMAGES
    slots: int | None = None
    slots_of: Mapping[str, int] = field(default_factory=dict)
    replicate: Mapping[str, int] = field(default_factory=dict)
    tile_work: Mapping[str, int] = field(default_factory=dict)
    exchange_cores: bool = False
    optimize: str | None = None
    interval: int | None = None
    accuracy_budget: float = 0.0
    data: str | None = None
    samples: int = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A model's network on its cores, for some options.

    Attributes:
        options: those of the run, and of the float passes that gave ``graph``.
        lowering: how the integers were chosen; None if that is not known.
        cores_exchanged: whether ``placement_search`` has exchanged cores to lower the traffic.
    """

    options: CompileOptions
    graph: LayerGraph
    mapping: CoreMapping
    lowering: Lowering | None = None
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
    """Measures of a design that a search tried, or that is shown for comparison.

    Attributes:
        options: compile the design without a search.
        change: difference from the design it was made from.
        verdict: ``kept``, or why it was not.
        replicas: R of the replicated populations.
        stall_share: share of the steady state in which a stage does not fire, mean over stages.
        traffic_hops: hops if every neuron spiked once; leaving a chip counts as crossing all of its mesh.
        accuracy: on held-out training images; None without a data set.
        interval_us, energy_nj: time between results and energy per sample under each cost profile; empty
            without a data set.
    """

    options: CompileOptions
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
    first_latency_us: Mapping[str, float]
    energy_nj: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change to a design, and the measures of the result.

    Attributes:
        keeps_integers: the integer network stays as it is, and with it every spike.
        point: the change, the measures, and the options that compile the result.
    """

    keeps_integers: bool
    point: DesignPoint


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Results with one assumed figure changed.

    Attributes:
        tried: the other value of the figure.
        num_cores, interval_ticks: None if the network does not fit with that value.
        interval_us, energy_nj: under each cost profile; empty if it does not fit, or without a data set.
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
    """All results of a compile run, as the report shows them.

    Attributes:
        accuracy_function: name of the user's accuracy; None takes the share of right classes.
        point: measures of the design, which those of ``suggestions`` are compared with.
        data_name: the data set for all measurements, as it was opened; None without one.
        data_record: the record of it in the build; see ``toolchain.datasets.data_record``.
        data_contents: what was read of the data set, one line each; empty without one.
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
    accuracy_function: str | None
    data_name: str | None
    data_record: Mapping[str, Any] | None
    data_contents: list[str]
    data_note: str | None
    fidelity: Fidelity | None
    alignment_trade: list[AlignmentTrade]
    design_points: list[DesignPoint]
    point: DesignPoint
    suggestions: list[Suggestion]
    suggestions_left_out: str | None
    costs: Mapping[str, SteadyCost]
    asynchronous: Mapping[str, AsynchronousTime]
    cost_samples: int
    sensitivity: list[Sensitivity]
    on_array: ArrayComparison
    activity: Activity
