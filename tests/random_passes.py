"""Seeded random passes and arrays for the PE array: small, with tails, strides, padding and groups."""

from __future__ import annotations

import random

from hw_models.pe_array.loop_nest import TIME_LOOPS, Dataflow, LoopNest, Unrolling
from toolchain.linear_maps import window_positions


def random_unrolling(rng: random.Random) -> Unrolling:
    return Unrolling(
        output_channels=rng.randint(1, 5),
        output_columns=rng.randint(1, 4),
        timesteps=rng.randint(1, 5),
        input_channels=rng.randint(1, 5),
    )


def random_dataflow(rng: random.Random) -> Dataflow:
    return Dataflow(time_loop=rng.choice(TIME_LOOPS), fold=rng.random() < 0.5)


def random_nest(rng: random.Random) -> LoopNest:
    """A convolution, depthwise map, pool or dense layer, anywhere in a network, in any mode."""
    (height, width), (kernel, stride, padding) = _window(rng)
    fires, sum_frames = rng.random() < 0.7, rng.random() < 0.5
    frames = rng.randint(1, 6)
    return LoopNest(
        groups=rng.choice([1, 1, 1, 2, 3]),
        output_channels=rng.randint(1, 6),
        input_channels=rng.randint(1, 7),
        rows=window_positions(height, kernel[0], stride[0], padding[0]),
        columns=window_positions(width, kernel[1], stride[1], padding[1]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        input_size=(height, width),
        frames=frames,
        sum_frames=sum_frames,
        node_steps=rng.randint(1, 8) if sum_frames or not fires else frames,
        adds_sums=rng.random() < 0.3,
        fires=fires,
        unit_weights=rng.random() < 0.2,
    )


def _window(rng):
    """Map size, and a kernel, stride and padding along both axes that fit it."""
    size = rng.randint(1, 5), rng.randint(1, 6)
    kernel = tuple(rng.randint(1, min(3, length)) for length in size)
    padding = tuple(rng.randint(0, length - 1) for length in kernel)
    stride = rng.randint(1, 3), rng.randint(1, 3)
    return size, (kernel, stride, padding)
