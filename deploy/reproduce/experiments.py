"""The experiments by name, in the order of the results page."""

from __future__ import annotations

from collections.abc import Callable

from deploy.reproduce.experiment import Experiment
from deploy.reproduce.fidelity import calibration, summary
from deploy.reproduce.methods import baselines, table8
from deploy.reproduce.study import Study
from deploy.reproduce.timesteps import budget, fig1, fig11, table4, table5

EXPERIMENTS: dict[str, Callable[[Study, int], Experiment]] = {
    "summary": summary,
    "table4": table4,
    "calibration": calibration,
    "table5": table5,
    "table8": table8,
    "baselines": baselines,
    "fig1": fig1,
    "fig11": fig11,
    "budget": budget,
}
"""Functions of a study and the number of test images to measure on."""
