"""What the report says of designs: the design itself, the changes suggested, and those of a search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy.design.arguments import compile_command
from deploy.design.compilation import Compilation, CompileOptions, DesignPoint
from deploy.design.design import explicit_options
from deploy.report.measure_records import MeasuresRecord, SuggestionRecord
from deploy.report.records import DesignPointRecord, FitRecord, TightestRecord
from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.mapping import CoreMapping


def own_command(c: Compilation) -> str:
    """The command that compiles this design without a search."""
    return _command(c, explicit_options(c.design))


def measures_record(point: DesignPoint) -> MeasuresRecord:
    """The measures that suggestions are compared by."""
    return {
        "interval_ticks": point.interval_ticks,
        "first_latency_ticks": point.first_latency_ticks,
        "stall_share": point.stall_share,
        "num_cores": point.num_cores,
        "num_chips": point.num_chips,
        "num_slots": point.num_slots,
        "accuracy": point.accuracy,
        "interval_us": dict(point.interval_us),
        "first_latency_us": dict(point.first_latency_us),
        "energy_nj": dict(point.energy_nj),
    }


def suggestion_records(c: Compilation) -> list[SuggestionRecord]:
    """The changes suggested, best first, each with its command and what that gives."""
    return [
        {
            "change": suggestion.point.change,
            "command": _command(c, suggestion.point.options),
            "keeps_integers": suggestion.keeps_integers,
            "gives": measures_record(suggestion.point),
        }
        for suggestion in c.suggestions
    ]


def design_point_records(c: Compilation) -> list[DesignPointRecord]:
    """The designs of a search, each with its command."""
    records = []
    for point in c.design_points:
        record: Any = asdict(point)
        record["command"] = _command(c, point.options)
        del record["options"]
        records.append(record)
    return records


def fit_record(mapping: CoreMapping) -> FitRecord:
    """Cores and chips in use, and the limit of a core that the design comes closest to."""
    target = mapping.target
    uses: list[TightestRecord] = [
        {
            "population": name,
            "limit": CORE_LIMITS[limit].label,
            "used": used,
            "available": available,
        }
        for name in mapping.grids
        for limit, (used, available) in mapping.highest_use(name).items()
        if CORE_LIMITS[limit].in_report and not CORE_LIMITS[limit].is_filled
    ]
    return {
        "num_cores": len(mapping.cores),
        "available_cores": target.num_cores,
        "num_chips": mapping.num_chips,
        "available_chips": target.num_chips,
        "cores_per_chip": target.mesh.num_cores,
        "tightest": max(uses, key=lambda use: use["used"] / use["available"]),
    }


def _command(c: Compilation, options: CompileOptions) -> str:
    function = c.accuracy_function
    accuracy = function if function is not None and ":" in function else None
    return compile_command(str(c.model), options, accuracy=accuracy)
