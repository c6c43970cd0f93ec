"""The pipeline of a build: when each population fires, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.report.records import PipelineRecord
    from deploy.report.records import Report as Document


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline:
    """Ticks of a build; all of them are exact.

    Attributes:
        document: all of ``report.json``.
    """

    document: Document = field(repr=False)

    @property
    def record(self) -> PipelineRecord:
        """All that the report knows of the pipeline."""
        return self.document["pipeline"]

    @property
    def interval_ticks(self) -> float:
        """Ticks between two results in the steady state."""
        return self.record["interval_ticks"]

    @property
    def ideal_interval_ticks(self) -> float:
        """The interval without stalls: the longest firing window."""
        return self.record["ideal_interval_ticks"]

    @property
    def latency_ticks(self) -> int:
        """Ticks until the first result."""
        return self.record["first_latency_ticks"]

    @property
    def stall_share(self) -> float:
        """Share of the ticks in which a stage does not fire, in the steady state, mean over stages."""
        return self.record["stall_share"]

    @property
    def limit(self) -> str:
        """What sets the interval, in a sentence."""
        return self.record["explanation"]

    @property
    def stages(self) -> dict[str, dict[str, float]]:
        """Shares of the steady state by stage: busy, starved, blocked and drained."""
        return {
            name: {kind: float(share) for kind, share in stage["steady_shares"].items()}
            for name, stage in self.record["stages"].items()
        }

    def __repr__(self) -> str:
        from qac_deploy.pictures.texts import aligned_lines

        kinds = ("busy", "starved", "blocked")
        rows = [
            (name, *(f"{shares[kind]:.0%}" for kind in kinds))
            for name, shares in self.stages.items()
        ]
        lines = aligned_lines([("stage", *kinds), *rows])
        return "\n".join([self._title(), *(f"  {line}" for line in lines), self.limit])

    def _repr_html_(self) -> str:
        from qac_deploy.pictures.texts import figure
        from qac_deploy.pictures.timeline import draw_timeline

        return figure("Pipeline", self._title(), draw_timeline(self.record), [self.limit])

    def _title(self) -> str:
        from deploy.design.pace import every_ticks

        return (
            f"a result {every_ticks(self.record['interval_exact'])}, the first after "
            f"{self.latency_ticks:,}; a stage stalls {self.stall_share:.0%} of the time"
        )
