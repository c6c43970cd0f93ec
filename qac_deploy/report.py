"""The figures of a build that people ask for first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.report.records import Report as Document
    from qac_deploy.suggestions import Suggestion


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The report of a build.

    Times and energies are estimates by cost profile of the target; all else is exact.

    Attributes:
        path: of the page, to be opened in a browser.
        document: all of ``report.json``.
    """

    path: Path
    document: Document = field(repr=False)

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the integer network on test images; None without data or classes."""
        fidelity = self.document["fidelity"]
        return None if fidelity is None else fidelity["integer_accuracy"]

    @property
    def float_accuracy(self) -> float | None:
        """Accuracy of the float network on the same images."""
        fidelity = self.document["fidelity"]
        return None if fidelity is None else fidelity["float_accuracy"]

    @property
    def mean_timesteps(self) -> float:
        """Mean T of the activations, without the neurons of exact max pooling."""
        return self.document["mean_timesteps"]

    @property
    def interval_ticks(self) -> float:
        """Ticks between two results in the steady state."""
        return self.document["pipeline"]["interval_ticks"]

    @property
    def latency_ticks(self) -> int:
        """Ticks until the first result."""
        return self.document["pipeline"]["first_latency_ticks"]

    @property
    def interval_us(self) -> dict[str, float]:
        """Microseconds between two results, by cost profile; empty without data."""
        return dict(self.document["measures"]["interval_us"])

    @property
    def latency_us(self) -> dict[str, float]:
        """Microseconds until the first result, by cost profile; empty without data."""
        return dict(self.document["measures"]["first_latency_us"])

    @property
    def energy_nj(self) -> dict[str, float]:
        """Nanojoules per image, by cost profile; empty without data."""
        return dict(self.document["measures"]["energy_nj"])

    @property
    def num_cores(self) -> int:
        """Cores in use."""
        return self.document["fit"]["num_cores"]

    @property
    def num_chips(self) -> int:
        """Chips in use."""
        return self.document["fit"]["num_chips"]

    @property
    def stall_share(self) -> float:
        """Share of the ticks in which a stage does not fire, in the steady state, mean over stages."""
        return self.document["pipeline"]["stall_share"]

    @property
    def limit(self) -> str:
        """What sets the interval, in a sentence."""
        return self.document["pipeline"]["explanation"]

    @property
    def suggestions(self) -> list[Suggestion]:
        """Changes that would help, the best first, each with its command, its keywords and measures."""
        from qac_deploy.suggestions import suggestion_of

        return [suggestion_of(record) for record in self.document["suggestions"]]

    @property
    def title(self) -> str:
        """Model, target and size."""
        cores, chips = self.num_cores, self.num_chips
        return (
            f"{self.document['model']['file']} on {self.document['target']['name']}, {cores:,} "
            f"core{'s' * (cores != 1)} of {chips:,} chip{'s' * (chips != 1)}"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each figure of the summary."""
        from deploy.design.pace import every_ticks
        from deploy.report.markup import energy_texts, time_texts
        from deploy.report.outputs import NO_ACCURACY, output_sentences
        from deploy.report.suggestions import effects

        pipeline, rows = self.document["pipeline"], []
        fidelity = self.document["fidelity"]
        if fidelity is not None and fidelity["integer_accuracy"] is not None:
            function = fidelity["accuracy_function"]
            form = ".4f" if function else ".2%"
            rows.append(
                (
                    f"accuracy ({function})" if function else "accuracy",
                    f"{fidelity['integer_accuracy']:{form}} (float network "
                    f"{fidelity['float_accuracy']:{form}}) on {fidelity['samples']:,} test images",
                )
            )
        elif fidelity is None:
            rows.append(("accuracy", self.document["data_note"] or "not measured: no data set"))
        else:
            rows.append(("accuracy", f"none: {NO_ACCURACY}"))
            rows += [("output", sentence) for sentence in output_sentences(fidelity)]
        if fidelity is not None and (note := self.document["data_note"]):
            rows.append(("data", note))
        rows += [
            ("mean T", f"{self.mean_timesteps:.2f}"),
            ("interval", f"a result {every_ticks(pipeline['interval_exact'])}"),
            ("latency", f"{self.latency_ticks:,} ticks until the first result"),
            (
                "stalls",
                f"{self.stall_share:.0%} of the time; at least {pipeline['least_stall_share']:.0%} with "
                f"these firing windows",
            ),
            ("limit", self.limit),
        ]
        for profile, microseconds in self.interval_us.items():
            (interval, latency), unit = time_texts(
                [microseconds / 1e6, self.latency_us[profile] / 1e6]
            )
            (energy,), joule = energy_texts([self.energy_nj[profile] / 1e9])
            rows.append(
                (
                    f"{profile} (estimate)",
                    f"a result every {interval} {unit}, the first after {latency} {unit}; {energy} {joule} "
                    f"per image",
                )
            )
        if self.suggestions:
            first = self.suggestions[0]
            gains = "; ".join(effects(self.document, first))
            rows.append(("what helps", f"{first['change']}: {gains}"))
        return rows

    def __repr__(self) -> str:
        from qac_deploy.pictures.texts import aligned_lines

        lines = aligned_lines(self.rows())
        return "\n".join([f"Report {self.path}: {self.title}", *(f"  {s}" for s in lines)])

    def _repr_html_(self) -> str:
        from qac_deploy.pictures.texts import figure, table

        return figure("Report", self.title, table(self.rows()), [f"All views: {self.path}"])
