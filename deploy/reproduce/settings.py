"""Settings of ``qac-deploy reproduce``, and the command that repeats a result."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from toolchain.shell_words import shell_command


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all experiments of a command share; the fields are its options.

    Attributes:
        epochs: epochs of the float ANN.
        further_epochs: epochs of each network that is trained on from it.
        mean_timesteps: budget for the mean of T.
        samples: test images to measure on; None for all.
        seeds: number of trainings of each network.
    """

    data: str
    out: Path
    epochs: int = 6
    further_epochs: int = 8
    mean_timesteps: float = 2.8
    samples: int | None = None
    seeds: int = 1

    def command(self, experiment: str, network: str) -> str:
        """The command of one experiment; options that have their default are left out."""
        words: list[object] = ["reproduce", experiment, "--data", self.data, "--network", network]
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name not in ("data", "out") and value != option.default:
                words += [f"--{option.name.replace('_', '-')}", f"{value:g}"]
        return shell_command("qac-deploy", *words)
