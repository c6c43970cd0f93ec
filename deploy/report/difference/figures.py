"""The figures of a build that a comparison shows: one table with units and directions.

Not in it, since each follows from figures that are: the run shown tick by tick, its paths and cores, the times
of single cores, and the layers of the PE array. Design points, suggestions, alignments and sensitivities are of
other designs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar, cast

from deploy.report.markup import shape_text
from deploy.report.records import (
    AsynchronousRecord,
    ComparisonRow,
    CostRecord,
    FidelityRecord,
    ModeRecord,
    OutputRecord,
    PopulationRecord,
    ProvenanceRecord,
    Report,
    SynapseRecord,
)
from hw_models.core_limits import CORE_LIMITS

Record = TypeVar("Record")
Value: TypeAlias = "float | str | None"
"""Of a figure; None where a build has none."""


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


def _itself(report: Report) -> dict[str, Report]:
    return {"": report}


def _per_cent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _listed(values: object) -> str:
    """A list, a mapping or any other value of an option in words."""
    if isinstance(values, dict):
        return ", ".join(f"{name}={value}" for name, value in values.items()) or "none"
    if isinstance(values, list | tuple):
        return ", ".join(map(_listed, values)) or "none"
    return "none" if values is None else str(values)


def _of_fidelity(read: Callable[[FidelityRecord], Value]) -> Callable[[Report], Value]:
    return lambda report: None if report["fidelity"] is None else read(report["fidelity"])


def _share_right(name: str) -> Callable[[Report], Value]:
    """An accuracy, if it is the share of right classes."""

    def read(fidelity: FidelityRecord) -> Value:
        own = fidelity["accuracy_function"] is not None
        return None if own else _per_cent(cast("Any", fidelity)[name])

    return _of_fidelity(read)


def _own_accuracy(name: str) -> Callable[[Report], Value]:
    """An accuracy, if a function of the user's own measures it: nobody else knows which way is better."""

    def read(fidelity: FidelityRecord) -> Value:
        own = fidelity["accuracy_function"] is not None
        return cast("Any", fidelity)[name] if own else None

    return _of_fidelity(read)


def _tightest_share(report: Report) -> float:
    tightest = report["fit"]["tightest"]
    return tightest["used"] / tightest["available"] * 100


def _tightest(report: Report) -> str:
    tightest = report["fit"]["tightest"]
    used, available = tightest["used"], tightest["available"]
    return f"{tightest['population']}, {tightest['limit']}: {used:,} of {available:,}"


def _max_pooling(name: str) -> Callable[[Report], Value]:
    def read(report: Report) -> Value:
        record: Any = report["max_pooling"]
        return None if record is None else _number_or_list(record[name])

    return read


def _number_or_list(value: Any) -> Value:
    return value if isinstance(value, int | float | str) else _listed(value)


def _edge_names(edges: Sequence[Sequence[str]]) -> str:
    return ", ".join(" -> ".join(edge) for edge in edges) or "none"


def _by_profile(report: Report) -> Mapping[str, tuple[CostRecord, AsynchronousRecord]]:
    return {name: (cost, report["asynchronous"][name]) for name, cost in report["costs"].items()}


def _by_event(report: Report) -> Mapping[str, tuple[float, float]]:
    """(events per sample, joules per sample)."""
    return {
        f"{event}, {name}": (cost["events_per_sample"][event], energy)
        for name, cost in report["costs"].items()
        for event, energy in cost["energy_by_event_j"].items()
    }


@dataclass(frozen=True)
class _Mapped:
    """A population with what other parts of the report say of it."""

    population: PopulationRecord
    highest_use: Mapping[str, Sequence[int]]
    shares: Sequence[Mapping[str, float]]
    count_difference: float | None

    def stalled(self) -> float:
        """Per cent of the steady state, mean over its stages."""
        stalls = [share["starved"] + share["blocked"] for share in self.shares]
        return sum(stalls) / len(stalls) * 100


def _populations(report: Report) -> Mapping[str, _Mapped]:
    mapped: Any = report["mapping"]["populations"]
    fidelity = report["fidelity"]
    differences = {} if fidelity is None else fidelity["count_difference"]
    stages = list(report["pipeline"]["stages"].values())
    shares: dict[str, list[Mapping[str, float]]] = {p["name"]: [] for p in report["populations"]}
    for stage in stages:
        shares[stage["population"]].append(cast("Mapping[str, float]", stage["steady_shares"]))
    return {
        p["name"]: _Mapped(
            p, mapped.get(p["name"], {}), shares[p["name"]], differences.get(p["name"])
        )
        for p in report["populations"]
    }


def _limit(name: str) -> Callable[[_Mapped], Value]:
    """Highest use of a limit by a core of a population, and what a core has."""

    def read(mapped: _Mapped) -> Value:
        use = mapped.highest_use.get(name)
        return None if use is None else f"{use[0]:,} of {use[1]:,}"

    return read


def _range(mapped: _Mapped) -> Value:
    thresholds = mapped.population.get("threshold_range")
    return None if thresholds is None else " to ".join(f"{value:,}" for value in thresholds)


def _synapses(report: Report) -> Mapping[str, SynapseRecord]:
    """By edge; if two maps join the same populations, the second and later are numbered."""
    found: dict[str, SynapseRecord] = {}
    for synapse in report["synapses"]:
        edge = f"{synapse['source']} -> {synapse['target']}"
        number = sum(name == edge or name.startswith(f"{edge} (") for name in found) + 1
        found[edge if number == 1 else f"{edge} ({number})"] = synapse
    return found


def _outputs(report: Report) -> Mapping[str, OutputRecord]:
    fidelity = report["fidelity"]
    return {} if fidelity is None else {output["name"]: output for output in fidelity["outputs"]}


def _on_array(report: Report) -> Mapping[str, tuple[ComparisonRow, ModeRecord]]:
    rows = [row for row in report["comparison"] if row["kind"] == "pe_array"]
    return {
        row["design"]: (row, mode)
        for row, mode in zip(rows, report["pe_array"]["estimates"], strict=True)
    }


def _hardware(report: Report) -> Mapping[str, ProvenanceRecord]:
    return {record["figure"]: record for record in report["provenance"]}


_OPTION_NAMES = {
    "uniform_timesteps": "--timesteps of all populations",
    "timesteps": "--timesteps of single populations",
    "alignments": "--align of single populations",
    "slots_of": "--slots of single buffers",
}
"""Of fields of ``CompileOptions`` that are not named as their option on the command line is."""


def _options(report: Report) -> Mapping[str, object]:
    return {
        _OPTION_NAMES.get(name, f"--{name.replace('_', '-')}"): value
        for name, value in cast("Any", report["options"]).items()
    }


PARTS: tuple[Part[Any], ...] = (
    Part(
        "Options",
        _options,
        (
            _neither(
                "", "", lambda value: value if isinstance(value, str | float) else _listed(value)
            ),
        ),
    ),
    Part(
        "Fit",
        _itself,
        (
            _less("cores", "", lambda r: r["fit"]["num_cores"]),
            _less("chips", "", lambda r: r["fit"]["num_chips"]),
            _neither("cores available", "", lambda r: r["fit"]["available_cores"]),
            _neither("chips available", "", lambda r: r["fit"]["available_chips"]),
            _neither("cores per chip", "", lambda r: r["fit"]["cores_per_chip"]),
            _neither("tightest limit", "", _tightest),
            _less("use of the tightest limit", "%", _tightest_share),
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
        _itself,
        (
            _more("integer network", "%", _share_right("integer_accuracy")),
            _more("float network", "%", _share_right("float_accuracy")),
            _more("samples with the same class", "", _of_fidelity(lambda f: f["same_argmax"])),
            _neither("samples measured", "", _of_fidelity(lambda f: f["samples"])),
            _neither("function", "", _of_fidelity(lambda f: f["accuracy_function"])),
            _neither("integer network, own function", "", _own_accuracy("integer_accuracy")),
            _neither("float network, own function", "", _own_accuracy("float_accuracy")),
        ),
    ),
    Part(
        "Outputs",
        _outputs,
        (
            _more("same largest channel", "%", lambda o: _per_cent(o["same_argmax_share"])),
            _less("largest difference of logits", "", lambda o: o["largest_difference"]),
            _neither("shape", "", lambda o: f"{o['channels']}×{o['height']}×{o['width']}"),
        ),
    ),
    Part(
        "Speed in ticks",
        _itself,
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
        _by_profile,
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
        _itself,
        (
            _less("a stage stalls", "%", lambda r: r["pipeline"]["stall_share"] * 100),
            _less(
                "least with these windows", "%", lambda r: r["pipeline"]["least_stall_share"] * 100
            ),
            _neither("limit", "", lambda r: r["pipeline"]["explanation"]),
            _neither(
                "critical populations", "", lambda r: _listed(r["pipeline"]["critical_populations"])
            ),
            _neither(
                "critical buffers", "", lambda r: _edge_names(r["pipeline"]["critical_buffers"])
            ),
            _neither("run shown", "ticks", lambda r: r["pipeline"]["num_ticks"]),
        ),
    ),
    Part(
        "Populations",
        _populations,
        (
            _neither("T", "", lambda p: p.population["timesteps"]),
            _less("cores", "", lambda p: p.population["cores"]),
            _neither("replicas", "", lambda p: p.population["replicas"]),
            _neither("threshold", "", _range),
            _less("stalled", "%", _Mapped.stalled),
            _neither("kind", "", lambda p: p.population["kind"]),
            _neither("shape", "", lambda p: shape_text(p.population["shape"])),
            _less("neurons", "", lambda p: p.population["neurons"]),
            _less("bound of the state", "", lambda p: p.population.get("state_bound")),
            _neither("limit of the state", "", lambda p: p.population.get("state_limit")),
            _less("difference of counts to float", "", lambda p: p.count_difference),
            *(_neither(limit.label, "", _limit(name)) for name, limit in CORE_LIMITS.items()),
        ),
    ),
    Part(
        "Edges and their buffers",
        _synapses,
        (
            _neither("slots", "", lambda s: s["slots"]),
            _neither("alignment", "", lambda s: s["alignment"]),
            _neither("operation", "", lambda s: s["operation"]),
            _neither("exponent", "", lambda s: s["exponent"]),
        ),
    ),
    Part(
        "Exact max pooling",
        _itself,
        (
            _neither("populations", "", _max_pooling("populations")),
            _less("neurons", "", _max_pooling("neurons")),
            _less("cores", "", _max_pooling("cores")),
            _neither("between results without it", "ticks", _max_pooling("interval_ticks_without")),
            _neither(
                "first result without it", "ticks", _max_pooling("first_latency_ticks_without")
            ),
        ),
    ),
    Part(
        "Events and their energy per sample",
        _by_event,
        (
            _less("events", "", lambda e: e[0]),
            _less("energy", "nJ", lambda e: e[1] * 1e9),
        ),
    ),
    Part(
        "PE array",
        _on_array,
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
        _itself,
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
        _hardware,
        (
            _neither("", "", lambda f: f["value"]),
            _neither("kind", "", lambda f: f["kind"]),
            _neither("source", "", lambda f: f["source"]),
        ),
    ),
)
"""In the order in which a reader wants them: what was chosen, what it gives, what it is made of."""
