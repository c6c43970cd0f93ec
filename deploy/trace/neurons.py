"""How a user names neurons: flat indices ``0,2,5``, ``channel:row:column``, and ranges ``0..9``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from toolchain.errors import TraceError
from toolchain.networks.linear_maps import Shape

MOST_NEURONS = 64
"""Most neurons of one trace: each has its own table and its own panel of the plot."""


def place(neuron: int, shape: Shape) -> tuple[int, int, int]:
    """Channel, row and column of a neuron in row-major order."""
    channel, row, column = np.unravel_index(neuron, shape)
    return int(channel), int(row), int(column)


def place_text(neuron: int, shape: Shape) -> str:
    """``channel:row:column``."""
    return ":".join(str(index) for index in place(neuron, shape))


def neuron_text(neuron: int, shape: Shape) -> str:
    """``5 (0:0:5)``; a vector has the index alone."""
    return str(neuron) if shape[1:] == (1, 1) else f"{neuron} ({place_text(neuron, shape)})"


def parse_neurons(texts: Sequence[str], name: str, shape: Shape) -> tuple[int, ...]:
    """Flat indices of the neurons that a user names, in that order, each once.

    Args:
        texts: each is a list such as ``0,3:4:5,10..12``.
        name: of the population, for messages.

    Raises:
        TraceError: a neuron is not in the population, or they are too many.
    """
    found: dict[int, None] = {}
    for item in (item.strip() for text in texts for item in text.split(",")):
        first, dots, last = item.partition("..")
        start = parse_neuron(first, name, shape)
        stop = parse_neuron(last, name, shape) if dots else start
        if stop < start:
            raise TraceError(
                f"{name}: neurons {item} must be a rising range, such as {stop}..{start}"
            )
        found |= dict.fromkeys(range(start, min(stop, start + MOST_NEURONS) + 1))
        if len(found) > MOST_NEURONS:
            raise TraceError(
                f"{name}: a trace has at most {MOST_NEURONS} neurons, '{','.join(texts)}' are more; name "
                f"fewer with --neuron"
            )
    return tuple(found)


def parse_neuron(text: str, name: str, shape: Shape) -> int:
    """Flat index of one neuron, ``5`` or ``channel:row:column``.

    Raises:
        TraceError: it is not in the population.
    """
    count = prod(shape)
    numbers = [int(part) if part.isdecimal() else -1 for part in text.split(":")]
    if len(numbers) == 1 and 0 <= numbers[0] < count:
        return numbers[0]
    if len(numbers) == 3 and all(0 <= n < size for n, size in zip(numbers, shape, strict=True)):
        return int(np.ravel_multi_index(numbers, shape))
    raise TraceError(
        f"{name}: has no neuron '{text}'; it has {count:,}, named 0 to {count - 1}, or by "
        f"channel:row:column from 0:0:0 to {place_text(count - 1, shape)}"
    )
