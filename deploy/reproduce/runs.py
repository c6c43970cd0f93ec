"""Run an experiment over its seeds and write its files, with the command that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from deploy.reproduce.experiment import Experiment, save_experiment
from deploy.reproduce.experiments import EXPERIMENTS
from deploy.reproduce.results_page import read_result
from deploy.reproduce.seeds import over_seeds
from deploy.reproduce.settings import Settings
from deploy.reproduce.study import OnEpoch, Study
from toolchain.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment on one network.

    Attributes:
        studies: one per seed, shared with the other experiments on the network.
    """

    settings: Settings
    experiment: str
    studies: Sequence[Study]

    @property
    def command(self) -> str:
        """The command that makes this result alone."""
        return self.settings.command(self.experiment, self.studies[0].name)

    @property
    def is_made(self) -> bool:
        """Whether its result was written by the same command of the same version.

        Raises:
            ModelFileError: the result is not as it was written.
        """
        file = self.settings.out / f"{self.experiment}-{self.studies[0].file_label}.json"
        if not file.is_file():
            return False
        record = read_result(file)
        return (record.command, record.version) == (self.command, version("qac-deploy"))

    @property
    def num_samples(self) -> int:
        """Number of test images to measure on."""
        return self.settings.samples or len(self.studies[0].dataset.test_labels)

    def make(self) -> tuple[Experiment, list[Path]]:
        """Train what is not trained yet, measure, and write the files."""
        measure = EXPERIMENTS[self.experiment].run
        result = over_seeds([measure(study, self.num_samples) for study in self.studies])
        made_by = {"command": self.command, "version": version("qac-deploy")}
        result = replace(result, values={**result.values, **made_by})
        return result, save_experiment(result, self.settings.out)


def studies_of(
    settings: Settings, dataset: Dataset, architecture: str, width: float, on_epoch: OnEpoch
) -> list[Study]:
    """The studies of one network, one per seed."""
    return [
        Study(
            architecture=architecture,
            width=width,
            dataset=dataset,
            folder=settings.out / "networks",
            epochs=settings.epochs,
            further_epochs=settings.further_epochs,
            mean_timesteps=settings.mean_timesteps,
            seed=seed,
            on_epoch=on_epoch,
        )
        for seed in range(settings.seeds)
    ]
