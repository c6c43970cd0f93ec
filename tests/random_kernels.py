"""Seeded random kernels and arrays for the PE array: small, with tails, strides, padding and groups."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel, NodeParameters, Operand, Result
from hw_models.pe_array.loop_nest import TIME_LOOPS, Dataflow, Ending, LoopNest, Unrolling
from toolchain.networks.linear_maps import window_positions


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
    """A convolution, depthwise map, pool or dense kernel, anywhere in a network, in any mode.

    A third read selected rows or columns: in order with repetitions and zeros, or in any order.
    """
    (height, width), (kernel, stride, padding, dilation) = _window(rng)
    fires, sum_frames = rng.random() < 0.7, rng.random() < 0.5
    frames = rng.randint(1, 6)
    return LoopNest(
        groups=rng.choice([1, 1, 1, 2, 3]),
        output_channels=rng.randint(1, 6),
        input_channels=rng.randint(1, 7),
        rows=window_positions(height, kernel[0], stride[0], padding[0], dilation[0]),
        columns=window_positions(width, kernel[1], stride[1], padding[1], dilation[1]),
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_size=(height, width),
        addresses=(_addresses(rng, height), _addresses(rng, width)),
        frames=frames,
        sum_frames=sum_frames,
        node_steps=rng.randint(1, 8) if sum_frames or not fires else frames,
        adds_sums=rng.random() < 0.3,
        ending=Ending.FIRES if fires else Ending.JOINS,
        unit_weights=rng.random() < 0.2,
    )


def _addresses(rng, size):
    if rng.random() < 0.8:
        return None
    stored = [rng.choice([-1, *range(size + 2)]) for _ in range(size)]
    return tuple(stored if rng.random() < 0.5 else sorted(stored))


def _window(rng):
    """Map size, and a kernel, stride, padding and dilation along both axes that fit it."""
    size = rng.randint(1, 5), rng.randint(1, 6)
    kernel = tuple(rng.randint(1, min(3, length)) for length in size)
    dilation = tuple(rng.choice([1, 1, 2, 3]) if length > 1 else 1 for length in kernel)
    extent = [step * (length - 1) + 1 for step, length in zip(dilation, kernel, strict=True)]
    least = [max(0, -((length - e) // 2)) for length, e in zip(size, extent, strict=True)]
    padding = tuple(rng.randint(low, max(low, e - 1)) for low, e in zip(least, extent, strict=True))
    stride = rng.randint(1, 3), rng.randint(1, 3)
    return size, (kernel, stride, padding, dilation)


def random_kernel(rng: random.Random) -> ArrayKernel:
    """A kernel in its place in a network: what it reads, and what becomes of its sums."""
    nest = random_nest(rng)
    if not nest.fires:
        nest = replace(nest, ending=rng.choice([Ending.JOINS, Ending.MAPS, Ending.READS_OUT]))
    entries = rng.randint(1, nest.frames)
    selection = range(nest.frames) if nest.sum_frames else (rng.randrange(entries),) * nest.frames
    if not nest.sum_frames and rng.random() < 0.5:
        selection = [rng.choice([None, *range(entries)]) for _ in range(nest.frames)]
    operand_bits = 1 if nest.sum_frames else rng.randint(1, 5)
    stores_frames = nest.fires and not nest.sum_frames and rng.random() < 0.5
    per_neuron = rng.choice([0, 0, 2]) if nest.ends_population else 0
    stored_bits = nest.frames if stores_frames else rng.randint(1, 4)
    weight_shape = (nest.groups, nest.output_channels, nest.input_channels, *nest.kernel_size)
    reads = Operand(
        shape=(nest.groups * nest.input_channels, *nest.input_size),
        selection=tuple(selection),
        bits=operand_bits,
        entry_bits=rng.randint(operand_bits, 6),
        is_signed=False,
    )
    of_sums = 5 * nest.sums_per_neuron if nest.ending is Ending.MAPS else 0
    return ArrayKernel(
        name="source -> target",
        source="source",
        target="target",
        stage_index=0,
        stored=(nest.groups * nest.input_channels, *map(_stored, nest.addresses, nest.input_size)),
        source_channels=np.arange(nest.groups * nest.input_channels),
        target_channels=np.arange(nest.groups * nest.output_channels),
        nest=nest,
        weight=np.broadcast_to(np.int8(1), weight_shape),
        exponent=0,
        reads=reads,
        leaves=Result(
            stored_bits=stored_bits if nest.fires else of_sums,
            stores_frames=stores_frames,
            written_bits=rng.choice([1, stored_bits]),
        ),
        parameters=NodeParameters(
            per_channel=3 - per_neuron if nest.ends_population else 0, per_neuron=per_neuron
        ),
    )


def _stored(addresses, size):
    return size if addresses is None else max(0, *addresses) + 1


def random_array(rng: random.Random, base: PeArray) -> PeArray:
    """Small buffers and narrow ports, so that each kind of plan and of stall comes up."""
    return replace(
        base,
        unrolling=random_unrolling(rng),
        dataflow=random_dataflow(rng),
        weight_bits=rng.choice([2, 8]),
        sum_bits=rng.choice([5, 24]),
        potential_bits=rng.choice([5, 24]),
        off_chip_bytes_per_cycle=rng.choice([1, 2, 3, 8, 100]),
        buffers={
            name: replace(
                buffer,
                size_bytes=round(2 ** rng.uniform(2, 11)),
                port_bytes=rng.choice([1, 2, 8, 64]),
                copies=rng.choice([1, 2, 2]),
            )
            for name, buffer in base.buffers.items()
        },
    )
