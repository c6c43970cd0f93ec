"""The types of ``report.json``, for the code that builds the report and the code that shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from msgspec import Meta, Struct
from typing_extensions import NotRequired

from deploy.report.activity import ActivityRecord
from deploy.report.array_records import ArrayRecord
from deploy.report.measure_records import MeasuresRecord, SuggestionRecord
from deploy.report.places import PlacesRecord
from hw_models.multicore.pipeline.pipeline_ticks import Activity
from toolchain.field_types import Count, Positive, Text
from toolchain.networks.layer_graph import AlignmentMethod

VERSION = 4
"""3 without lowering; 2 without suggestions, fit and activity; 1 without outputs and contents of the data."""


def plain(value: Any) -> Any:
    """Turn a dataclass into plain containers: the record of its name."""
    return asdict(value)


class ReportHeader(Struct, kw_only=True):
    """What reports of every version have."""

    format: Literal["qac-deploy report"]
    version: Count


class ModelRecord(TypedDict):
    """The model file: its name, and its path as it was typed."""

    file: str
    path: str
    training: dict[str, object]


class TargetRecord(TypedDict):
    name: str
    description: str


Chosen: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
"""A number that an option of ``compile`` chooses."""


class OptionsRecord(TypedDict):
    """``CompileOptions``: they are computed with again, so each has limits."""

    target: Text
    array: Text
    max_timesteps: Chosen | None
    uniform_timesteps: Chosen | None
    timesteps: dict[str, Chosen]
    alignment: AlignmentMethod | None
    alignments: dict[str, AlignmentMethod]
    unrolling: tuple[Chosen, Chosen, Chosen, Chosen] | None
    weight_bits: Annotated[int, Meta(ge=2, le=8)] | None
    thresholds: Chosen | None
    lowering: Literal["images", "plain"]
    slots: Chosen | None
    slots_of: dict[str, Chosen]
    replicate: dict[str, Chosen]
    tile_work: dict[str, Count]
    exchange_cores: bool
    optimize: Text | None
    interval: Chosen | None
    accuracy_budget: Annotated[float, Meta(ge=0, le=100)]
    data: str | None
    samples: Chosen


class PopulationRecord(TypedDict):
    name: str
    shape: tuple[int, int, int]
    neurons: int
    timesteps: int
    cores: int
    replicas: int
    kind: Literal["input", "spiking", "readout"]
    state_bound: NotRequired[int]
    state_limit: NotRequired[int]
    threshold_range: NotRequired[tuple[int, int]]


class SynapseRecord(TypedDict):
    """An edge; ``weight_bits`` is the width of its largest weight, sign included."""

    source: str
    target: str
    operation: str
    alignment: AlignmentMethod
    slots: int
    weight_bits: int
    exponent: int


class MaxPoolingRecord(TypedDict):
    """Populations of exact max pooling, and ticks of the pipeline without them, all else as it is."""

    populations: list[str]
    neurons: int
    cores: int
    first_latency_ticks_without: int
    interval_ticks_without: float


class OutputRecord(TypedDict):
    name: str
    channels: int
    height: int
    width: int
    same_argmax_share: float | None
    largest_difference: float


class LoweringStepRecord(TypedDict):
    """A step of lowering, compared with the float spiking network on held-out training images."""

    name: str
    equal_counts: float
    same_class: float | None
    logit_error: float
    kept: bool


class LoweringRecord(TypedDict):
    """How integers were chosen; ``images_sha256`` is None, and there are no steps, if no images were used."""

    fitted_images: int
    held_out_images: int
    images_sha256: str | None
    steps: list[LoweringStepRecord]
    notes: list[str]


class FidelityRecord(TypedDict):
    samples: int
    accuracy_function: str | None
    float_accuracy: float | None
    integer_accuracy: float | None
    same_argmax: int | None
    outputs: list[OutputRecord]
    count_difference: dict[str, float]


class AlignmentRecord(TypedDict):
    method: AlignmentMethod
    samples: int
    integer_accuracy: float | None
    first_latency_ticks: int
    interval_ticks: float


class TightestRecord(TypedDict):
    """The limit of a core that a design comes closest to."""

    population: str
    limit: str
    used: int
    available: int


class FitRecord(TypedDict):
    num_cores: int
    available_cores: int
    num_chips: int
    available_chips: int
    cores_per_chip: int
    tightest: TightestRecord


class RefusedPopulationRecord(TypedDict):
    name: str
    shape: tuple[int, int, int]
    timesteps: int
    kind: str
    cores: int | None


class TriedRecord(TypedDict):
    """A change to a network that does not fit: the size that it gives, or why it does not fit either."""

    change: str
    command: str
    num_cores: int | None
    num_chips: int | None
    refusal: str | None


class RefusalRecord(TypedDict):
    """A network that does not fit its target; ``needed_cores`` is None if something else is the limit."""

    model: ModelRecord
    target: TargetRecord
    command: str
    reason: str
    needed_cores: int | None
    available_cores: int
    available_chips: int
    cores_per_chip: int
    populations: list[RefusedPopulationRecord]
    tried: list[TriedRecord]
    not_tried: str | None


class DesignPointRecord(TypedDict):
    change: str
    verdict: str
    command: str
    mean_timesteps: float
    replicas: dict[str, int]
    interval_ticks: float
    first_latency_ticks: int
    stall_share: float
    num_cores: int
    num_chips: int
    num_slots: int
    traffic_hops: int
    accuracy: float | None
    interval_us: dict[str, float]
    energy_nj: dict[str, float]


class MappingRecord(TypedDict):
    num_cores: int
    available_cores: int
    num_chips: int
    available_chips: int
    num_tiles: int
    mean_hops: float
    share_between_chips: float
    populations: dict[str, MappedPopulationRecord]
    places: PlacesRecord


Edge: TypeAlias = tuple[str, str]
"""Source and target of a synapse."""

Use: TypeAlias = tuple[int, int]
"""Highest use of a core, and what a core has."""


class MappedPopulationRecord(TypedDict):
    """Cores, and the use of each limit in ``CORE_LIMITS``."""

    cores: int
    replicas: int
    compartments: Use
    synapse_words: Use
    input_axons: Use
    output_axons: Use
    compartment_bases: Use
    threshold_profiles: Use
    compartment_profiles: Use
    synapse_formats: Use


class ChangeRecord(TypedDict):
    description: str
    interval_ticks: float


class PathRecord(TypedDict):
    population: str
    sample: int
    start: int
    stop: int
    reason: str


class CauseRecord(TypedDict):
    activity: str
    edge: Edge
    ticks: int


SpanRecord: TypeAlias = tuple[int, int, Activity, int, Edge | None]
"""(start, stop, activity, sample, edge waited for)."""


class StageRecord(TypedDict):
    """A stage: ``steady_shares`` describe the steady state, all else the run that is shown."""

    population: str
    steady_shares: dict[Activity, float]
    activity: dict[Activity, int]
    causes: list[CauseRecord]
    spans: list[SpanRecord]


class CoreRecord(TypedDict):
    core: int
    population: str
    replica: int
    busy: int
    starved: int
    blocked: int
    drained: int


class PipelineRecord(TypedDict):
    samples: int
    num_ticks: int
    link_ticks: int
    first_latency_ticks: int
    interval_ticks: float
    interval_exact: str
    ideal_interval_ticks: float
    stall_share: float
    least_stall_share: float
    critical_populations: list[str]
    critical_buffers: list[Edge]
    explanation: str
    changes: list[ChangeRecord]
    critical_paths: dict[str, list[PathRecord]]
    stages: dict[str, StageRecord]
    cores: list[CoreRecord]


class TimeRecord(TypedDict):
    computing_s: float
    imbalance_s: float
    starved_s: float
    blocked_s: float
    drained_s: float
    mesh_s: float
    barrier_s: float
    pace_s: float
    slowest_core: int


CoreTimes: TypeAlias = tuple[float, float, float, float, float, float, float]
"""Seconds per sample of each kind in ``hw_models.multicore.cost.tick_cost.TIMES``."""


class CostRecord(TypedDict):
    """Costs per sample in the steady state; ``first_latency_s`` is that of the first sample."""

    interval_s: Positive
    barrier_share: Annotated[float, Meta(ge=0, lt=1)]
    energy_per_sample_j: float
    energy_by_event_j: dict[str, float]
    events_per_sample: dict[str, float]
    times: dict[str, TimeRecord]
    core_times: Annotated[list[CoreTimes], Meta(min_length=1)]
    first_latency_s: float


class AsynchronousRecord(TypedDict):
    first_latency_s: float
    interval_s: float


class SensitivityRecord(TypedDict):
    figure: str
    value: float
    tried: float
    num_cores: int | None
    interval_ticks: float | None
    interval_us: dict[str, float]
    energy_nj: dict[str, float]


class ComparisonRow(TypedDict):
    kind: Literal["pipeline", "pe_array"]
    design: str
    latency_us: float
    interval_us: float
    throughput_per_s: float
    energy_nj: float
    utilisation: float
    stalled: float
    port_bytes: float | None
    off_chip_bytes: float | None


class ProvenanceRecord(TypedDict):
    figure: str
    value: float
    kind: str
    source: str


class Report(TypedDict):
    """``report.json``."""

    format: str
    version: int
    model: ModelRecord
    target: TargetRecord
    options: OptionsRecord
    command: str
    fit: FitRecord
    measures: MeasuresRecord
    suggestions: list[SuggestionRecord]
    suggestions_left_out: str | None
    data: str | None
    data_sha256: str | None
    data_contents: list[str]
    data_note: str | None
    mean_timesteps: float
    mean_timesteps_by_neurons: float
    populations: list[PopulationRecord]
    synapses: list[SynapseRecord]
    max_pooling: MaxPoolingRecord | None
    lowering: LoweringRecord
    fidelity: FidelityRecord | None
    alignment_trade: list[AlignmentRecord]
    design_points: list[DesignPointRecord]
    mapping: MappingRecord
    pipeline: PipelineRecord
    activity: ActivityRecord
    costs: dict[str, CostRecord]
    asynchronous: dict[str, AsynchronousRecord]
    cost_samples: int
    sensitivity: list[SensitivityRecord]
    pe_array: ArrayRecord
    comparison: list[ComparisonRow]
    provenance: list[ProvenanceRecord]
