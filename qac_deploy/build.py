"""A compiled network, as its build folder holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qac_deploy.messages import speaks_python
from qac_deploy.pipeline import Pipeline
from qac_deploy.progress import progress_line
from qac_deploy.report import Report
from qac_deploy.run import Run

if TYPE_CHECKING:
    from deploy.build.load import Build as BuildContents
    from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """A compiled network in a build folder.

    Attributes:
        path: of the folder, which the command line takes.
        contents: all that the folder holds: mapping, target, PE array and options.
    """

    path: Path
    contents: BuildContents = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Build:
        """Read a folder; ``load_build`` is for users."""
        from deploy.build.load import load_build

        return cls(path=folder, contents=load_build(folder.absolute()))

    @property
    def network(self) -> IntegerNetwork:
        """Populations and synapses of the integer network that all engines compute."""
        return self.contents.network

    @cached_property
    def report(self) -> Report:
        """Accuracy, speed, energy, cores and stalls; ``report.document`` is all of ``report.json``."""
        return Report(path=self.path / "report.html", document=self.contents.report)

    @cached_property
    def pipeline(self) -> Pipeline:
        """Ticks of every population: interval, latency, stalls, and their timeline."""
        return Pipeline(document=self.contents.report)

    @speaks_python
    def simulate(
        self,
        pixels: Any,
        engine: str = "exact",
        *,
        device: str = "cpu",
        lava_python: str | PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Run the integer network on images.

        Args:
            pixels: integers ``0..max_value`` of shape ``(B, C, H, W)``: an array, a tensor, or the pixels of
                a data set.
            engine: ``exact``, ``frame-by-frame`` and ``stepped`` compute the same integers; ``lava`` runs the
                emitted processes, and compares every count, spike train, logit, tick and stall counter with
                the stepped engine and the tick model.
            device: of the exact engine, such as ``cuda``.
            lava_python: interpreter with Lava; None takes the one that ``qac-deploy doctor`` finds.
            progress: None shows what is done in terminals and notebooks alone.

        Raises:
            QacDeployError: the pixels do not fit, the counts need more memory than the limit, the engine
                cannot run the network, or the run in Lava differs.
        """
        from qac_deploy.simulation import simulate

        python = None if lava_python is None else Path(lava_python)
        with progress_line("simulating", progress) as show:
            return simulate(self.contents, pixels, engine, device, python, show)

    def __repr__(self) -> str:
        from qac_deploy.pictures.texts import aligned_lines

        lines = aligned_lines(self.report.rows())
        return "\n".join([f"Build {self.path}: {self.report.title}", *(f"  {s}" for s in lines)])

    def _repr_html_(self) -> str:
        from deploy.report.markup import fragment
        from qac_deploy.pictures.layer_graph import boxes_of_report, draw_graph
        from qac_deploy.pictures.texts import figure, table

        document = self.contents.report
        return figure(
            f"Build {self.path}",
            self.report.title,
            fragment(table(self.report.rows()), draw_graph(boxes_of_report(document))),
            ["Each square is a timestep T. Orange populations set the interval between results."],
        )
