"""What happened in training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of training.

    Attributes:
        loss: mean cross entropy of the training images.
        accuracy: share of right classes of the training images (or their pixels) while they were trained.
        timesteps: T of each quantizer after the epoch.
    """

    loss: float
    accuracy: float
    timesteps: Mapping[str, int]

    @property
    def mean_timesteps(self) -> float:
        """Mean T; 0 without quantizers."""
        return sum(self.timesteps.values()) / max(len(self.timesteps), 1)


@dataclass(frozen=True, kw_only=True)
class History:
    """A training run.

    Attributes:
        epochs: first to last.
        test_accuracy: of the trained module on the test images; None if labels are not classes of images.
        test_samples: test images that were measured.
        notes: what a user should know, one line each.
    """

    epochs: tuple[Epoch, ...]
    test_accuracy: float | None
    test_samples: int
    notes: tuple[str, ...] = ()

    @property
    def loss(self) -> list[float]:
        """Mean cross entropy of each epoch."""
        return [epoch.loss for epoch in self.epochs]

    @property
    def accuracy(self) -> list[float]:
        """Accuracy on the training images in each epoch."""
        return [epoch.accuracy for epoch in self.epochs]

    @property
    def timesteps(self) -> dict[str, list[int]]:
        """T of each quantizer after each epoch."""
        names = self.epochs[-1].timesteps if self.epochs else ()
        return {name: [epoch.timesteps[name] for epoch in self.epochs] for name in names}

    @property
    def mean_timesteps(self) -> list[float]:
        """Mean T after each epoch."""
        return [epoch.mean_timesteps for epoch in self.epochs]

    def __repr__(self) -> str:
        return "\n".join([f"History of {self._title()}", *(f"  {line}" for line in self._lines())])

    def _repr_html_(self) -> str:
        from deploy.report.markup import NOTHING
        from qac_deploy.pictures.curves import Panel, draw_curves
        from qac_deploy.pictures.texts import figure

        panels = [
            Panel(title="loss", form=".2f", values=self.loss, others={}),
            Panel(title="accuracy, training", form=".0%", values=self.accuracy, others={}),
        ]
        if steps := self.timesteps:
            panels.append(
                Panel(
                    title="T: mean, and each", form=".1f", values=self.mean_timesteps, others=steps
                )
            )
        curves = draw_curves(panels) if len(self.epochs) > 1 else NOTHING
        return figure("History", self._title(), curves, self._lines())

    def _title(self) -> str:
        if not self.epochs:
            return "no epoch: the run that was resumed had ended"
        first, last = self.epochs[0], self.epochs[-1]
        if len(self.epochs) == 1:
            return f"1 epoch: loss {last.loss:.3f}, accuracy on training images {last.accuracy:.1%}"
        return (
            f"{len(self.epochs)} epochs: loss {first.loss:.3f} to {last.loss:.3f}, accuracy on training "
            f"images {first.accuracy:.1%} to {last.accuracy:.1%}"
        )

    def _lines(self) -> list[str]:
        lines = []
        if self.epochs and (found := self.epochs[-1].timesteps):
            steps = ", ".join(f"{name} {steps}" for name, steps in found.items())
            lines.append(f"T: {steps}; mean {self.epochs[-1].mean_timesteps:.2f}")
        if self.test_accuracy is not None:
            lines.append(f"accuracy on {self.test_samples:,} test images: {self.test_accuracy:.2%}")
        return [*lines, *self.notes]
