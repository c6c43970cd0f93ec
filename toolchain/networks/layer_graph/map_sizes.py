"""Sizes that follow from several numbers that a file declares, checked before anything is allocated.

A kernel of a few weights, or a pool of none, makes a large map of a single pixel by its padding. So a file of
a few kilobytes could ask for gigabytes, or for hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.limits import MAX_ACCUMULATIONS, MAX_NEURONS
from toolchain.networks.linear_maps import AveragePool, LinearMap, Shape, SumPool, num_accumulations


def verify_map_sizes(maps: Iterable[LinearMap], shape: Shape) -> int:
    """Check the maps of a synapse, and what lies between them.

    Args:
        shape: of the source.

    Returns:
        The multiply-accumulates of all maps.

    Raises:
        UnsupportedNetworkError: a map has more values, or a pool reads more, than a population may have;
            or a map takes more than ``MAX_ACCUMULATIONS``.
    """
    total = 0
    for linear_map in maps:
        if isinstance(linear_map, SumPool | AveragePool):
            rows, columns = linear_map.kernel
            _check(
                shape[0] * rows * columns,
                MAX_NEURONS,
                f"values in windows of {rows}x{columns} over {shape[0]:,} channels",
                "use smaller pools",
            )
        target = linear_map.output_shape(shape)
        _check(
            prod(target),
            MAX_NEURONS,
            f"values in maps of shape {target}",
            "use less padding, or larger strides",
        )
        total += num_accumulations([linear_map], shape)
        check_accumulations(total)
        shape = target
    return total


def check_accumulations(number: int) -> None:
    """Raise UnsupportedNetworkError if a network takes more per sample than ``MAX_ACCUMULATIONS``."""
    _check(
        number,
        MAX_ACCUMULATIONS,
        "multiply-accumulates per sample",
        "use smaller kernels, fewer channels, or less padding",
    )


def _check(number: int, most: int, counted: str, remedy: str) -> None:
    if number > most:
        raise UnsupportedNetworkError(
            f"{number:,} {counted}, above the limit of {most:,}; {remedy}"
        )
