"""What became of the quantize operations of a program, for whoever compares them with its own execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from toolchain.importers.exported_format.quantization_operations import Grid


@dataclass(frozen=True, kw_only=True)
class PlacedQuantizer:
    """A quantizer that was put in a module.

    Attributes:
        ordinal: which of the program's quantize operations on activations it stands for, from 0.
        grid: of that operation.
        per_channel: its values are divided by their channel's step, so that its own step is 1.
        shape: of its values, without the batch.
        clipped_to: largest count that is left by the ReLUs and clips behind it, which alone read it; None
            if others do.
    """

    ordinal: int
    grid: Grid
    per_channel: bool
    shape: tuple[Any, ...]
    clipped_to: int | None = None

    def values_of(self, counts: Tensor) -> Tensor:
        """What the quantizer of the module gives, from what the program's own counts, which may be signed."""
        if self.clipped_to is not None:
            counts = counts.clamp(0, self.clipped_to)
        if self.per_channel:
            return counts
        return counts * self.grid.broadcast(self.grid.step, counts.ndim)


@dataclass(kw_only=True, eq=False)
class Placement:
    """What became of the quantize operations of a program.

    Attributes:
        placed: by the name of the quantizer.
        repeated: ordinals of quantize operations that give the same as an earlier one, and the ordinal of
            that one.
        left_out: ordinals of quantize operations of the logits, which were left out.
    """

    placed: dict[str, PlacedQuantizer] = field(default_factory=dict)
    repeated: dict[int, int] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
