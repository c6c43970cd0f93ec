"""The figures of a build that a comparison shows: one table with units and directions.

Not in it, since each follows from figures that are: the run shown tick by tick, its paths and cores, times
of single cores, and layers of the PE array. Design points, suggestions, alignments and sensitivities are of
other designs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from deploy.report.difference import readers
from deploy.report.difference.readers import MappedPopulation, Value
from deploy.report.markup import shape_text
from deploy.report.records import Report
from hw_models.core_limits import CORE_LIMITS

Record = TypeVar("Record")


class Better(Enum):
    """Which change of a figure is an improvement."""

    LESS = "less"
    MORE = "more"
    NEITHER = "neither"


@dataclass(frozen=True)
class Figure(Generic[Record]):
    """A figure.

    Attributes:
        unit: of the value that ``read`` returns; empty for counts and texts.
    """

    name: str
    unit: str
    better: Better
    read: Callable[[Record], Value]

    @property
    def title(self) -> str:
        """The name with its unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


@dataclass(frozen=True)
class Part(Generic[Record]):
    """Records of one kind, each with the same figures.

    Attributes:
        records: of a report, by name; the report itself has the name ``""``.
    """

    heading: str
    records: Callable[[Report], Mapping[str, Record]]
    figures: Sequence[Figure[Record]]


def _less(name: str, unit: str, read: Callable[[Any], Value]) -> Figure[Any]:
    return Figure(name, unit, Better.LESS, read)


def _more(name: str, unit: str, read: Callable[[Any], Value]) -> Figure[Any]:
    return Figure(name, unit, Better.MORE, read)


def _neither(name: str, unit: str, read: Callable[[Any], Value]) -> Figure[Any]:
    return Figure(name, unit, Better.NEITHER, read)


PARTS: tuple[Part[Any], ...] = (
    Part(
        "Options",
        readers.options,
        (_neither("", "", readers.listed),),
    ),
    Part(
        "Fit",
        readers.itself,
        (
            _less("cores", "", lambda r: r["fit"]["num_cores"]),
            _less("chips", "", lambda r: r["fit"]["num_chips"]),
            _neither("cores available", "", lambda r: r["fit"]["available_cores"]),
            _neither("chips available", "", lambda r: r["fit"]["available_chips"]),
            _neither("cores per chip", "", lambda r: r["fit"]["cores_per_chip"]),
            _neither("tightest limit", "", readers.tightest),
            _less("use of the tightest limit", "%", readers.tightest_share),
            _less("tiles", "", lambda r: r["mapping"]["num_tiles"]),
            _less("hops per message, mean", "", lambda r: r["mapping"]["mean_hops"]),
            _less(
                "traffic between chips", "%", lambda r: r["mapping"]["share_between_chips"] * 100
            ),
            _less("slots of all buffers", "", lambda r: r["measures"]["num_slots"]),
        ),
    ),
    Part(
        "Accuracy",
        readers.itself,
        (
            _more("integer network", "%", readers.share_right("integer_accuracy")),
            _more("float network", "%", readers.share_right("float_accuracy")),
            _more(
                "samples with the same class", "", readers.of_fidelity(lambda f: f["same_argmax"])
            ),
            _neither("samples measured", "", readers.of_fidelity(lambda f: f["samples"])),
            _neither("function", "", readers.of_fidelity(lambda f: f["accuracy_function"])),
            _neither("integer network, own function", "", readers.own_accuracy("integer_accuracy")),
            _neither("float network, own function", "", readers.own_accuracy("float_accuracy")),
        ),
    ),
    Part(
        "Outputs",
        readers.outputs,
        (
            _more("same largest channel", "%", lambda o: readers.per_cent(o["same_argmax_share"])),
            _less("largest difference of logits", "", lambda o: o["largest_difference"]),
            _neither("shape", "", lambda o: f"{o['channels']}×{o['height']}×{o['width']}"),
        ),
    ),
    Part(
        "Speed in ticks",
        readers.itself,
        (
            _less("between results", "ticks", lambda r: r["pipeline"]["interval_ticks"]),
            _less("first result", "ticks", lambda r: r["pipeline"]["first_latency_ticks"]),
            _less(
                "longest firing window", "ticks", lambda r: r["pipeline"]["ideal_interval_ticks"]
            ),
            _neither("one way of a link", "ticks", lambda r: r["pipeline"]["link_ticks"]),
            _neither("mean timesteps T", "", lambda r: r["mean_timesteps"]),
            _neither("mean T of neurons", "", lambda r: r["mean_timesteps_by_neurons"]),
        ),
    ),
    Part(
        "Speed and energy",
        readers.by_profile,
        (
            _more("results", "per s", lambda c: 1 / c[0]["interval_s"]),
            _less("between results", "µs", lambda c: c[0]["interval_s"] * 1e6),
            _less("first result", "µs", lambda c: c[0]["first_latency_s"] * 1e6),
            _less("energy per sample", "nJ", lambda c: c[0]["energy_per_sample_j"] * 1e9),
            _less("time in barriers", "%", lambda c: c[0]["barrier_share"] * 100),
            _less("between results, no barrier", "µs", lambda c: c[1]["interval_s"] * 1e6),
            _less("first result, no barrier", "µs", lambda c: c[1]["first_latency_s"] * 1e6),
        ),
    ),
    Part(
        "Stalls",
        readers.itself,
        (
            _less("a stage stalls", "%", lambda r: r["pipeline"]["stall_share"] * 100),
            _less(
                "least with these windows", "%", lambda r: r["pipeline"]["least_stall_share"] * 100
            ),
            _neither("limit", "", lambda r: r["pipeline"]["explanation"]),
            _neither(
                "critical populations",
                "",
                lambda r: readers.listed(r["pipeline"]["critical_populations"]),
            ),
            _neither(
                "critical buffers",
                "",
                lambda r: readers.edge_names(r["pipeline"]["critical_buffers"]),
            ),
            _neither("run shown", "ticks", lambda r: r["pipeline"]["num_ticks"]),
        ),
    ),
    Part(
        "Populations",
        readers.populations,
        (
            _neither("T", "", lambda p: p.population["timesteps"]),
            _less("cores", "", lambda p: p.population["cores"]),
            _neither("replicas", "", lambda p: p.population["replicas"]),
            _neither("threshold", "", readers.threshold_range),
            _less("stalled", "%", MappedPopulation.stalled),
            _neither("kind", "", lambda p: p.population["kind"]),
            _neither("shape", "", lambda p: shape_text(p.population["shape"])),
            _less("neurons", "", lambda p: p.population["neurons"]),
            _less("bound of the state", "", lambda p: p.population.get("state_bound")),
            _neither("limit of the state", "", lambda p: p.population.get("state_limit")),
            _less("difference of counts to float", "", lambda p: p.count_difference),
            *(
                _neither(limit.label, "", readers.limit(name))
                for name, limit in CORE_LIMITS.items()
            ),
        ),
    ),
    Part(
        "Edges and their buffers",
        readers.synapses,
        (
            _neither("slots", "", lambda s: s["slots"]),
            _neither("alignment", "", lambda s: s["alignment"]),
            _neither("operation", "", lambda s: s["operation"]),
            _less("bits per weight", "", lambda s: s["weight_bits"]),
            _neither("exponent", "", lambda s: s["exponent"]),
        ),
    ),
    Part(
        "Exact max pooling",
        readers.itself,
        (
            _neither("populations", "", readers.max_pooling("populations")),
            _less("neurons", "", readers.max_pooling("neurons")),
            _less("cores", "", readers.max_pooling("cores")),
            _neither(
                "between results without it", "ticks", readers.max_pooling("interval_ticks_without")
            ),
            _neither(
                "first result without it",
                "ticks",
                readers.max_pooling("first_latency_ticks_without"),
            ),
        ),
    ),
    Part(
        "Events and their energy per sample",
        readers.by_event,
        (
            _less("events", "", lambda e: e[0]),
            _less("energy", "nJ", lambda e: e[1] * 1e9),
        ),
    ),
    Part(
        "PE array",
        readers.on_array,
        (
            _less("latency", "µs", lambda m: m[0]["latency_us"]),
            _more("results", "per s", lambda m: m[0]["throughput_per_s"]),
            _less("energy per sample", "nJ", lambda m: m[0]["energy_nj"]),
            _more("busy", "%", lambda m: m[0]["utilisation"] * 100),
            _less("cycles", "", lambda m: m[1]["total_cycles"]),
            _less("off chip", "bytes", lambda m: m[0]["off_chip_bytes"]),
        ),
    ),
    Part(
        "Model, data and target",
        readers.itself,
        (
            _neither("model file", "", lambda r: r["model"]["path"]),
            _neither("target", "", lambda r: r["target"]["name"]),
            _neither("array", "", lambda r: r["pe_array"]["array"]),
            _neither("the array's refusal", "", lambda r: r["pe_array"]["refusal"]),
            _neither("data set", "", lambda r: r["data"]),
            _neither("data, SHA-256", "", lambda r: r["data_sha256"]),
            _neither("note on the data", "", lambda r: r["data_note"]),
            _neither("samples for time and energy", "", lambda r: r["cost_samples"]),
            _neither("samples in the run shown", "", lambda r: r["pipeline"]["samples"]),
        ),
    ),
    Part(
        "Hardware figures",
        readers.hardware,
        (
            _neither("", "", lambda f: f["value"]),
            _neither("kind", "", lambda f: f["kind"]),
            _neither("source", "", lambda f: f["source"]),
        ),
    ),
)
"""In the order in which a reader wants them: what was chosen, what it gives, what it is made of."""
