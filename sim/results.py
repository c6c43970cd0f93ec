"""The result of every engine, and the comparison of two results."""

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
        logits: int64, shape ``(B, classes)``; those of a readout that is a map are flattened in row-major
            order, ``(B, C * H * W)``.
        counts: per spiking population, int64 spike counts of shape ``(B, C, H, W)``; empty if they were
            not asked for.
        trains: per spiking population, bool spikes of shape ``(B, T_l, C, H, W)``; empty if they were
            not asked for.
    """

    logits: np.ndarray
    counts: Mapping[str, np.ndarray]
    trains: Mapping[str, np.ndarray]

    @property
    def predictions(self) -> np.ndarray:
        """Class of each sample, the first of equals; shape ``(B,)``."""
        return self.logits.argmax(axis=1)

    def only(self, *, counts: bool, trains: bool) -> Simulation:
        """The logits, with counts and spike trains only if they are asked for."""
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
    """Arrays by name, kept in narrow integers and returned as int64."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name].astype(np.int64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def check_pixels(network: IntegerNetwork, pixels: np.ndarray) -> np.ndarray:
    """The pixels, after a check that they are integers of shape ``(B, C, H, W)`` in the network's range.

    Raises:
        DataError: type, shape or range do not fit the network's input population.
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
    """A message with the first difference between two simulations; None if all integers are equal.

    Counts are compared first, in population order, then trains if both have them, then logits.
    """
    for name, ours in reference.counts.items():
        if name not in other.counts:
            return f"{name}: the second result has no counts"
        axes = "sample, channel, row, column"
        if difference := _first_difference(ours, other.counts[name], axes):
            return f"{name}: counts {difference}"
    for name, ours in reference.trains.items():
        if name in other.trains:
            axes = "sample, step, channel, row, column"
            if difference := _first_difference(ours, other.trains[name], axes):
                return f"{name}: trains {difference}"
    difference = _first_difference(reference.logits, other.logits, "sample, class")
    return difference and f"logits {difference}"


def _first_difference(a: np.ndarray, b: np.ndarray, axes: str) -> str | None:
    if a.shape != b.shape:
        return f"differ at ({axes}) = (): {a.shape} against {b.shape}"
    different = np.argwhere(a != b)
    if not len(different):
        return None
    index = tuple(int(i) for i in different[0])
    return f"differ at ({axes}) = {index}: {int(a[index])} against {int(b[index])}"
