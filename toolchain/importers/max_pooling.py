"""Exact max pooling of spike counts, by integrate-and-fire populations.

Counts of one scale are 0..T, and ``max(a, b) = a + clip(b - a, 0, T)``. The clip is the count of neurons with
weights +1 and -1 and the source's threshold and T. A window is reduced along rows, then along columns, each
time by a tournament: the maximum of n neighbours is that of the first h, the largest power of two below n,
and of the remaining ones. With stride 1, windows share their inner matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from toolchain.importers.linear_expressions import Levels, LinearExpression
from toolchain.method.quantizer_calls import MaxWindow
from toolchain.networks.linear_maps import Convolution, Pair

Fire = Callable[[str, LinearExpression, Levels], LinearExpression]
"""Adds a population of role ``maximum`` with a name, an input and levels; returns its values."""


def max_pooled(
    value: LinearExpression, window: MaxWindow, name: str, fire: Fire
) -> LinearExpression:
    """The largest count of each window.

    Args:
        value: counts of one scale (``levels`` is set).
        name: of the pool; its populations are named ``<name>.columns<n>`` and ``<name>.rows<n>`` for the
            maximum of n neighbours.
        fire: adds the populations.
    """
    assert value.levels is not None
    for axis, label in ((1, "columns"), (0, "rows")):
        value = _Axis(axis, window, f"{name}.{label}", fire).reduced(value)
    return value


@dataclass(frozen=True)
class _Axis:
    """A max pool along one axis. Its *nodes* are maxima of neighbours: an offset in the window and a length.

    With stride 1, nodes of one length are one population at all positions of the axis, read at several
    offsets. Otherwise a node has one neuron for each window.
    """

    axis: int
    window: MaxWindow
    name: str
    fire: Fire

    def reduced(self, value: LinearExpression) -> LinearExpression:
        kernel, stride = self.window.kernel[self.axis], self.window.stride[self.axis]
        populations: dict[tuple[int, int], LinearExpression] = {}
        if kernel > 1:
            self._play(0, kernel, value, populations)
        size = self.window.output_size(self.axis, value.shape[1 + self.axis])
        first = np.arange(size) * stride - self.window.padding[self.axis]
        first[(first < 0) | (first >= value.shape[1 + self.axis])] = -1
        chosen = [np.arange(n) for n in value.shape]
        chosen[1 + self.axis] = first
        result = value.selected(*chosen)
        for _, node in self._first_matches(0, kernel):
            winner = populations[node]
            places = [np.arange(n) for n in winner.shape]
            places[1 + self.axis] = np.arange(size)
            result = result.plus(winner.selected(*places))
        return replace(result, levels=value.levels)

    def _key(self, offset: int, length: int) -> tuple[int, int]:
        return (0, length) if self._shares else (offset, length)

    @property
    def _shares(self) -> bool:
        return self.window.stride[self.axis] == 1

    def _first_matches(self, offset: int, length: int) -> list[tuple[int, tuple[int, int]]]:
        """Matches whose sum with the first element is the maximum of a node: (offset, population key)."""
        matches = []
        while length > 1:
            matches.append((offset, self._key(offset, length)))
            length = _largest_power_below(length)
        return matches

    def _play(
        self,
        offset: int,
        length: int,
        value: LinearExpression,
        populations: dict[tuple[int, int], LinearExpression],
    ) -> None:
        """Add the populations of a node and of all nodes below it."""
        key = self._key(offset, length)
        if length == 1 or key in populations:
            return
        offset = key[0]
        half = _largest_power_below(length)
        left, right = (offset, half), (offset + half, length - half)
        for node in (left, right):
            self._play(*node, value, populations)
        # taps of the difference right - left, by what is read: the value itself, or an earlier population
        taps: dict[tuple[int, int] | None, Counter[int]] = {None: Counter({right[0]: 1})}
        taps[None][left[0]] -= 1
        for sign, node in ((1, right), (-1, left)):
            for at, match in self._first_matches(*node):
                taps.setdefault(match, Counter())[at] += sign
        read = [
            self._read(value if match is None else populations[match], match, by_offset, key)
            for match, by_offset in taps.items()
            if any(by_offset.values())
        ]
        label = f"{self.name}{length}" + (f"_from{key[0]}" if key[0] else "")
        assert value.levels is not None
        populations[key] = self.fire(label, reduce(LinearExpression.plus, read), value.levels)

    def _read(
        self,
        source: LinearExpression,
        match: tuple[int, int] | None,
        taps: Counter[int],
        key: tuple[int, int],
    ) -> LinearExpression:
        """Sum of a source's elements at offsets in the window, each with its sign."""
        if match is not None and not self._shares:  # it has one neuron per window already
            return source.scaled(float(sum(taps.values())))
        # with stride 1, at all positions of the node; an earlier population has fewer than the value
        own = key[1] - (match[1] - 1 if match else 0)
        reach = own if self._shares else self.window.kernel[self.axis]
        kernel = [1, 1]
        kernel[self.axis] = reach
        weight = np.zeros((source.shape[0], reach))
        for offset, sign in taps.items():
            weight[:, offset] = sign
        weight = weight.reshape(-1, 1, *kernel)
        geometry = {
            name: _along(self.axis, pair[self.axis], neutral)
            for name, pair, neutral in (
                ("stride", self.window.stride, 1),
                ("padding", self.window.padding if match is None else (0, 0), 0),
                ("dilation", self.window.dilation, 1),
            )
        }
        return source.convolved(Convolution(weight=weight, groups=source.shape[0], **geometry))


def _along(axis: int, value: int, neutral: int) -> Pair:
    return (value, neutral) if axis == 0 else (neutral, value)


def _largest_power_below(length: int) -> int:
    return 1 << ((length - 1).bit_length() - 1)
