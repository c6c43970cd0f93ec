"""What every engine returns, and how two results are held against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from toolchain.errors import DataError
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """Integers of a run over B samples.

    Attributes:
        logits: int64, shape ``(B, classes)``.
        counts: per spiking population, int64 spike counts of shape ``(B, C, H, W)``; empty when the
            engine was asked for logits only.
        trains: per spiking population, bool spikes of shape ``(B, T_l, C, H, W)``; empty unless the
            engine was asked for them.
    """

    logits: np.ndarray
    counts: Mapping[str, np.ndarray]
    trains: Mapping[str, np.ndarray]

    @property
    def predictions(self) -> np.ndarray:
        """Class of each sample, the first of equals; shape ``(B,)``."""
        return self.logits.argmax(axis=1)

    def only(self, *, counts: bool, trains: bool) -> Simulation:
        """The same without its counts or without its spike trains."""
        return replace(
            self, counts=self.counts if counts else {}, trains=self.trains if trains else {}
        )


def joined(parts: Sequence[Simulation]) -> Simulation:
    """One simulation of all samples from those of consecutive batches; at least one."""

    def join(arrays: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}

    return Simulation(
        logits=np.concatenate([part.logits for part in parts]),
        counts=join([part.counts for part in parts]),
        trains=join([part.trains for part in parts]),
    )


class CompactIntegers(Mapping[str, np.ndarray]):
    """Arrays by name, kept in the narrow integers they came in and handed out as int64."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name].astype(np.int64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def check_pixels(network: IntegerNetwork, pixels: np.ndarray) -> np.ndarray:
    """The same pixels, if they are integers of shape ``(B, C, H, W)`` that the network takes.

    Raises:
        DataError: shape or range is not what the network's input population holds.
    """
    source = network.input
    if pixels.shape[1:] != source.shape:
        raise DataError(
            f"samples have shape {pixels.shape[1:]}, but the network's input population "
            f"'{source.name}' takes {source.shape}; choose the data set it was trained on"
        )
    if not np.issubdtype(pixels.dtype, np.integer):
        raise DataError(f"pixels must be integers, not {pixels.dtype}")
    if prod(pixels.shape) and (pixels.min() < 0 or pixels.max() > source.max_value):
        raise DataError(
            f"pixels must be 0..{source.max_value}, but reach {pixels.min()}..{pixels.max()}"
        )
    return pixels


def first_divergence(reference: Simulation, other: Simulation) -> str | None:
    """Where two simulations first differ, or None when every integer is the same.

    Counts are compared first, in population order, then trains where both have them, then logits.
    """
    for kind in ("counts", "trains"):
        ours, theirs = getattr(reference, kind), getattr(other, kind)
        for name in ours:
            if name not in theirs:
                if kind == "counts":
                    return f"{name}: the second result has no counts"
                continue
            if (difference := _first_difference(ours[name], theirs[name])) is not None:
                index, a, b = difference
                where = (
                    "sample, channel, row, column"
                    if kind == "counts"
                    else ("sample, step, channel, row, column")
                )
                return f"{name}: {kind} differ at ({where}) = {index}: {a} against {b}"
    if (difference := _first_difference(reference.logits, other.logits)) is not None:
        index, a, b = difference
        return f"logits differ at (sample, class) = {index}: {a} against {b}"
    return None


def _first_difference(
    a: np.ndarray, b: np.ndarray
) -> tuple[tuple[int, ...], object, object] | None:
    if a.shape != b.shape:
        return (), a.shape, b.shape
    different = np.argwhere(a != b)
    if not len(different):
        return None
    index = tuple(int(i) for i in different[0])
    return index, int(a[index]), int(b[index])
