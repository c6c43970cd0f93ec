"""Random chains of linear maps of every kind, from a small feature map."""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    chain_output_shape,
)

_MAX_VALUES = 3_000  # of one feature map


def random_chain(rng: np.random.Generator, shape: Shape, num: int) -> tuple[LinearMap, ...]:
    """``num`` maps from a source of that shape."""
    maps: list[LinearMap] = []
    while len(maps) < num:
        linear_map = rng.choice(_KINDS)(rng, shape)
        try:
            target = linear_map.output_shape(shape)
        except UnsupportedNetworkError:  # the window does not fit
            continue
        if prod(target) <= _MAX_VALUES:
            maps.append(linear_map)
            shape = target
    return tuple(maps)


def random_chain_to(rng: np.random.Generator, shape: Shape, target: Shape) -> tuple | None:
    """A short chain between two shapes, or None if none turns up."""
    chains = (random_chain(rng, shape, int(rng.integers(1, 4))) for _ in range(40))
    return next((c for c in chains if chain_output_shape(c, shape) == target), None)


def _pairs(rng, low, high):
    return tuple(int(n) for n in rng.integers(low, high, 2))


def _window(rng):
    kernel = _pairs(rng, 1, 4)
    padding = tuple(int(rng.integers(0, size)) for size in kernel)
    return {"stride": _pairs(rng, 1, 3), "padding": padding}, kernel


def _convolution(rng, shape, groups=1):
    window, kernel = _window(rng)
    out = groups * int(rng.integers(1, 3 if groups > 1 else 5))
    weight = rng.normal(size=(out, shape[0] // groups, *kernel))
    return Convolution(weight=weight, dilation=_pairs(rng, 1, 3), groups=groups, **window)


def _pointwise(rng, shape):
    return Convolution(weight=rng.normal(size=(int(rng.integers(1, 5)), shape[0], 1, 1)))


def _grouped(rng, shape):
    return _convolution(rng, shape, int(rng.choice([g for g in (1, 2, 3, 4) if shape[0] % g == 0])))


def _depthwise(rng, shape):
    return _convolution(rng, shape, shape[0])


def _scale(rng, shape):
    return Scale(weight=rng.normal(size=shape[0]))


def _dense(rng, shape):
    return Dense(weight=rng.normal(size=(int(rng.integers(1, 5)), prod(shape))))


def _pool(rng, shape):
    window, kernel = _window(rng)
    padding = tuple(size // 2 for size in kernel)
    padding = tuple(min(pair) for pair in zip(window["padding"], padding, strict=True))
    kind = rng.choice([SumPool, AveragePool])
    return kind(kernel=kernel, stride=window["stride"], padding=padding)


def _resample(rng, shape):
    shift, first = int(rng.integers(-2, 1)), int(rng.integers(0, 2))

    def axis(size):
        plain = np.eye(size, dtype=np.int64)
        return {
            "nearest": np.repeat(plain, 2, axis=0),
            "zeros between": np.eye(2 * size - 1, dtype=np.int64)[:, ::2],
            "shifted": np.eye(size + 2, size, shift, dtype=np.int64),
            "every second": plain[min(first, size - 1) :: 2],
            "any": rng.integers(0, 3, (int(rng.integers(1, 4)), size)),
        }[kind]

    kind = rng.choice(["nearest", "zeros between", "shifted", "every second", "any"])
    divisor = int(rng.integers(1, 7)) if kind == "any" else 1
    return Resample(rows=axis(shape[1]), columns=axis(shape[2]), divisor=divisor)


def _select(rng, shape):
    channels = shape[0]
    kind = rng.choice(["shuffle", "slice", "part", "any"])
    match kind:
        case "shuffle":
            chosen = rng.permutation(channels)
        case "slice":
            chosen = np.sort(rng.permutation(channels)[: int(rng.integers(1, channels + 1))])
        case "part":
            chosen = np.full(channels + int(rng.integers(0, 4)), -1)
            chosen[rng.permutation(len(chosen))[:channels]] = np.arange(channels)
        case _:
            chosen = rng.integers(-1, channels, int(rng.integers(1, 7)))
    return SelectChannels(channels=chosen.astype(np.int64))


_KINDS = [
    *(_convolution, _convolution, _pointwise, _pointwise, _grouped, _depthwise, _dense, _scale),
    *(_pool, _pool, _resample, _resample, _select, _select),
]
