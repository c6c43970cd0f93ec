"""Networks with exact max pooling: the source, its populations of role ``maximum``, and what reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import connect, network_of, spiking

from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Resample, Scale, window_positions

UNIT = 4


def max_pool_network(
    *readers, shape=(2, 6, 7), timesteps=3, kernel=(2, 2), stride=(2, 2), padding=(0, 0), bias=7
) -> IntegerNetwork:
    """A convolution, a max pool of its counts, and populations that read it.

    The pool goes along columns, then along rows, and compares one tap more in each population.

    Args:
        readers: ``(name, shape, maps, exponent)`` of each population that reads the pool. The readout reads
            the last one.
    """
    rng = np.random.default_rng(0)
    weight = rng.integers(-20, 21, (shape[0], 1, 3, 3), dtype=np.int8)
    parts = [
        spiking("x", shape, timesteps, 90, 45, bias),
        connect("input", "x", Convolution(weight=weight, padding=(1, 1))),
    ]
    terms = [("x", np.eye(shape[1], dtype=int), np.eye(shape[2], dtype=int))]
    for axis in (1, 0):
        terms = _along(parts, terms, axis, shape[0], timesteps, kernel, stride, padding)
    for name, size, maps, exponent in readers:
        parts.append(spiking(name, size, timesteps + 1, 60, 30, bias))
        for source, rows, columns in terms:
            pools = (Resample(rows=rows, columns=columns),)
            parts.append(connect(source, name, *pools, *maps, exponent=exponent))
    name, size, *_ = readers[-1]
    last = Convolution(weight=rng.integers(-9, 10, (3, *size), dtype=np.int8))
    return network_of(*parts, connect(name, "logits", last), image=(1, *shape[1:]), classes=3)


def _along(parts, terms, axis, channels, timesteps, kernel, stride, padding):
    """Add the populations of the pool along one axis; returns the terms whose sum is the maximum."""
    size = terms[0][1 + axis].shape[0]
    window = kernel[axis], stride[axis], padding[axis]
    positions = np.arange(window_positions(size, *window))[:, None] * stride[axis] - padding[axis]

    def at_tap(tap):
        select = (positions + tap == np.arange(size)).astype(int)
        return [
            (source, *(select @ m if i == axis else m for i, m in enumerate(matrices)))
            for source, *matrices in terms
        ]

    maximum = at_tap(0)
    for tap in range(1, kernel[axis]):
        name = f"r{'yx'[axis]}{tap}"
        shape = channels, len(maximum[0][1]), len(maximum[0][2])
        population = spiking(name, shape, timesteps, timesteps * UNIT, timesteps * UNIT // 2)
        parts.append(replace(population, role="maximum"))
        for source in dict.fromkeys(source for source, *_ in [*maximum, *at_tap(tap)]):
            parts.append(_difference(source, name, maximum, at_tap(tap), channels))
        maximum = [*maximum, (name, np.eye(shape[1], dtype=int), np.eye(shape[2], dtype=int))]
    return maximum


def _difference(source, name, smaller, larger, channels):
    """The synapse for one source: the rows and columns of both sides side by side, then +1 and -1."""
    minus, plus = ([m for s, *m in side if s == source] for side in (smaller, larger))
    if not plus:
        ((rows, columns),) = minus
        weight = np.full(channels, -UNIT, np.int8)
        return connect(source, name, Resample(rows=rows, columns=columns), Scale(weight=weight))
    (a, b), axis = (minus[0], plus[0]), int(not np.array_equal(minus[0][1], plus[0][1]))
    both = [a[0], a[1]]
    both[axis] = np.stack([a[axis], b[axis]], axis=1).reshape(-1, a[axis].shape[1])
    taps = np.array([-UNIT, UNIT], np.int8).reshape((1, 1, 2, 1) if axis == 0 else (1, 1, 1, 2))
    convolution = Convolution(
        weight=taps.repeat(channels, axis=0),
        stride=(2, 1) if axis == 0 else (1, 2),
        groups=channels,
    )
    return connect(source, name, Resample(rows=both[0], columns=both[1]), convolution)
