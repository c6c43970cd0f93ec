"""What a user chooses for a compile run, and everything the run found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from deploy.array_comparison import ArrayComparison
from deploy.fidelity import AlignmentTrade, Fidelity
from hw_models.multicore.asynchronous_time import AsynchronousTime
from hw_models.multicore.initiation_interval import Change, InitiationInterval
from hw_models.multicore.mapping import Mapping as CoreMapping
from hw_models.multicore.pipeline import Pipeline
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.steady_pace import SteadyCost
from hw_models.pe_array.array_description import PeArray
from hw_models.target_description import TargetDescription
from toolchain.checkpoint import Checkpoint
from toolchain.integer_network import IntegerNetwork
from toolchain.layer_graph import AlignmentMethod, LayerGraph

Objective: TypeAlias = Literal["stalls", "cores", "latency", "energy", "time", "traffic"]


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What a user chooses.

    Attributes:
        alignment: of every edge; as the model has it when None.
        alignments: of the edges into single populations, by name, where a search chose others.
        slots: of every alignment buffer, in front of each replica; the target's default when None.
        replicate: R of the populations that are to have more than one replica.
        max_timesteps: cap on every T_l; the trained ones when None.
        thresholds: different thresholds a population may have; the target's when None.
        optimize: what to optimize the design for; nothing when None.
        interval: ticks between results that a search for fewer stalls aims for; when None, as few as the
            chips that are in use anyway allow.
        accuracy_budget: points of accuracy that ``optimize`` may give up.
        data: data set for accuracy and event counts; the one the model was trained on when None.
        samples: samples in the reported pipeline run.
    """

    target: str = "loihi-sim"
    array: str = "pe-array"
    alignment: AlignmentMethod | None = None
    alignments: Mapping[str, AlignmentMethod] = field(default_factory=dict)
    weight_bits: int | None = None
    thresholds: int | None = None
    slots: int | None = None
    replicate: Mapping[str, int] = field(default_factory=dict)
    max_timesteps: int | None = None
    optimize: Objective | None = None
    interval: int | None = None
    accuracy_budget: float = 0.0
    data: str | None = None
    samples: int = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A network on its cores: what the options make of a model."""

    options: CompileOptions
    graph: LayerGraph
    network: IntegerNetwork
    mapping: CoreMapping
    pipeline: Pipeline


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
    """Everything a compile run found out; the report shows all of it."""

    model: Path
    options: CompileOptions
    checkpoint: Checkpoint
    target: TargetDescription
    array: PeArray
    network: IntegerNetwork
    mapping: CoreMapping
    pipeline: Pipeline
    schedule: Schedule
    interval: InitiationInterval
    changes: list[Change]
    data_name: str | None
    fidelity: Fidelity | None
    alignment_trade: list[AlignmentTrade]
    design_points: list[DesignPoint]
    costs: Mapping[str, SteadyCost]
    asynchronous: Mapping[str, AsynchronousTime]
    sensitivity: list[Sensitivity]
    on_array: ArrayComparison
