"""Values that a comparison of builds reads from a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from deploy.report.array_records import ModeRecord
from deploy.report.records import (
    AsynchronousRecord,
    ComparisonRow,
    CostRecord,
    FidelityRecord,
    OutputRecord,
    PopulationRecord,
    ProvenanceRecord,
    Report,
    SynapseRecord,
)

Value: TypeAlias = "float | str | None"
"""The value of a figure; None if a build does not have it."""


def itself(report: Report) -> dict[str, Report]:
    return {"": report}


def per_cent(share: float | None) -> float | None:
    return None if share is None else share * 100


def listed(values: object) -> str:
    """A list, a mapping or any other value of an option in words."""
    if isinstance(values, dict):
        return ", ".join(f"{name}={value}" for name, value in values.items()) or "none"
    if isinstance(values, list | tuple):
        return ", ".join(map(listed, values)) or "none"
    return "none" if values is None else str(values)


def of_fidelity(read: Callable[[FidelityRecord], Value]) -> Callable[[Report], Value]:
    return lambda report: None if report["fidelity"] is None else read(report["fidelity"])


def share_right(name: str) -> Callable[[Report], Value]:
    """An accuracy, if it is the share of right classes."""

    def read(fidelity: FidelityRecord) -> Value:
        own = fidelity["accuracy_function"] is not None
        return None if own else per_cent(cast("Any", fidelity)[name])

    return of_fidelity(read)


def own_accuracy(name: str) -> Callable[[Report], Value]:
    """An accuracy, if a function of the user's own measures it: nobody else knows which way is better."""

    def read(fidelity: FidelityRecord) -> Value:
        own = fidelity["accuracy_function"] is not None
        return cast("Any", fidelity)[name] if own else None

    return of_fidelity(read)


def tightest_share(report: Report) -> float:
    tightest = report["fit"]["tightest"]
    return tightest["used"] / tightest["available"] * 100


def tightest(report: Report) -> str:
    tightest = report["fit"]["tightest"]
    used, available = tightest["used"], tightest["available"]
    return f"{tightest['population']}, {tightest['limit']}: {used:,} of {available:,}"


def max_pooling(name: str) -> Callable[[Report], Value]:
    def read(report: Report) -> Value:
        record: Any = report["max_pooling"]
        return None if record is None else _number_or_list(record[name])

    return read


def _number_or_list(value: Any) -> Value:
    return value if isinstance(value, int | float | str) else listed(value)


def edge_names(edges: Sequence[Sequence[str]]) -> str:
    return ", ".join(" -> ".join(edge) for edge in edges) or "none"


def by_profile(report: Report) -> Mapping[str, tuple[CostRecord, AsynchronousRecord]]:
    return {name: (cost, report["asynchronous"][name]) for name, cost in report["costs"].items()}


def by_event(report: Report) -> Mapping[str, tuple[float, float]]:
    """(events per sample, joules per sample)."""
    return {
        f"{event}, {name}": (cost["events_per_sample"][event], energy)
        for name, cost in report["costs"].items()
        for event, energy in cost["energy_by_event_j"].items()
    }


@dataclass(frozen=True)
class MappedPopulation:
    """A population with what other parts of the report say of it."""

    population: PopulationRecord
    highest_use: Mapping[str, Sequence[int]]
    shares: Sequence[Mapping[str, float]]
    count_difference: float | None

    def stalled(self) -> float:
        """Per cent of the steady state, mean over its stages."""
        stalls = [share["starved"] + share["blocked"] for share in self.shares]
        return sum(stalls) / len(stalls) * 100


def populations(report: Report) -> Mapping[str, MappedPopulation]:
    mapped: Any = report["mapping"]["populations"]
    fidelity = report["fidelity"]
    differences = {} if fidelity is None else fidelity["count_difference"]
    stages = list(report["pipeline"]["stages"].values())
    shares: dict[str, list[Mapping[str, float]]] = {p["name"]: [] for p in report["populations"]}
    for stage in stages:
        shares[stage["population"]].append(cast("Mapping[str, float]", stage["steady_shares"]))
    return {
        p["name"]: MappedPopulation(
            p, mapped.get(p["name"], {}), shares[p["name"]], differences.get(p["name"])
        )
        for p in report["populations"]
    }


def limit(name: str) -> Callable[[MappedPopulation], Value]:
    """Highest use of a limit by a core of a population, and what a core has."""

    def read(mapped: MappedPopulation) -> Value:
        use = mapped.highest_use.get(name)
        return None if use is None else f"{use[0]:,} of {use[1]:,}"

    return read


def threshold_range(mapped: MappedPopulation) -> Value:
    thresholds = mapped.population.get("threshold_range")
    return None if thresholds is None else " to ".join(f"{value:,}" for value in thresholds)


def synapses(report: Report) -> Mapping[str, SynapseRecord]:
    """By edge; if two maps join the same populations, the second and later are numbered."""
    found: dict[str, SynapseRecord] = {}
    for synapse in report["synapses"]:
        edge = f"{synapse['source']} -> {synapse['target']}"
        number = sum(name == edge or name.startswith(f"{edge} (") for name in found) + 1
        found[edge if number == 1 else f"{edge} ({number})"] = synapse
    return found


def outputs(report: Report) -> Mapping[str, OutputRecord]:
    fidelity = report["fidelity"]
    return {} if fidelity is None else {output["name"]: output for output in fidelity["outputs"]}


def on_array(report: Report) -> Mapping[str, tuple[ComparisonRow, ModeRecord]]:
    rows = [row for row in report["comparison"] if row["kind"] == "pe_array"]
    return {
        row["design"]: (row, mode)
        for row, mode in zip(rows, report["pe_array"]["estimates"], strict=True)
    }


def hardware(report: Report) -> Mapping[str, ProvenanceRecord]:
    return {record["figure"]: record for record in report["provenance"]}


_OPTION_NAMES = {
    "uniform_timesteps": "--timesteps of all populations",
    "timesteps": "--timesteps of single populations",
    "alignments": "--align of single populations",
    "slots_of": "--slots of single buffers",
}
"""Of fields of ``CompileOptions`` that are not named as their option on the command line is."""


def options(report: Report) -> Mapping[str, object]:
    return {
        _OPTION_NAMES.get(name, f"--{name.replace('_', '-')}"): value
        for name, value in cast("Any", report["options"]).items()
    }
