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
        last = self.epochs[-1]
        lines = [
            f"History of {len(self.epochs)} epochs: loss {self.loss[0]:.3f} to {last.loss:.3f}, accuracy on "
            f"training images {self.accuracy[0]:.1%} to {last.accuracy:.1%}"
        ]
        if last.timesteps:
            steps = ", ".join(f"{name} {steps}" for name, steps in last.timesteps.items())
            lines.append(f"  T: {steps}; mean {last.mean_timesteps:.2f}")
        if self.test_accuracy is not None:
            lines.append(
                f"  accuracy on {self.test_samples:,} test images: {self.test_accuracy:.2%}"
            )
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])
