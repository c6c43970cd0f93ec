"""Random kernels for the RTL, the array's own integers computed another way, and what must be equal."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from random_kernels import random_dataflow, random_nest

from hw_models.pe_array.closed_form import array_cycles, count_loops
from hw_models.pe_array.loop_nest import Dataflow, Ending, LoopNest, Unrolling, tiling_of
from hw_models.pe_array.rtl.driver.network import PORT_COUNTERS
from hw_models.pe_array.rtl.driver.registers import KernelData, NeuronParameters
from hw_models.pe_array.rtl.driver.run import RtlKernelRun
from hw_models.pe_array.rtl.driver.simulator import RtlArray


def rtl_array(m, n, s, v, *, operand_bits, signed=False):
    return RtlArray(
        unrolling=Unrolling(output_channels=m, output_columns=n, timesteps=s, input_channels=v),
        operand_bits=operand_bits,
        signed_operands=signed,
        weight_bits=8,
        sum_bits=32,
        memory_words=4096,
    )


def convolution_nest(channels, inputs, size, timesteps) -> LoopNest:
    """A 3x3 convolution that keeps the map's size, and fires."""
    return LoopNest(
        groups=1,
        output_channels=channels,
        input_channels=inputs,
        rows=size,
        columns=size,
        kernel_size=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        input_size=(size, size),
        frames=timesteps,
        sum_frames=False,
        node_steps=timesteps,
        adds_sums=False,
        ending=Ending.FIRES,
        unit_weights=False,
    )


def random_rtl_case(array: RtlArray, seed: int) -> tuple[LoopNest, Dataflow, KernelData]:
    """A third are as short as a kernel can be, so that its groups follow each other at once."""
    rng = random.Random(seed)
    nest, dataflow = random_nest(rng), random_dataflow(rng)
    nest = replace(nest, addresses=(None, None))  # the RTL gets the map that the kernel slides over
    if rng.random() < 0.33:
        nest = replace(
            nest,
            groups=1,
            rows=1,
            columns=rng.randint(1, 3),
            kernel_size=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
        )
        nest = replace(nest, output_channels=rng.randint(1, 4), input_size=(1, nest.columns))
    return nest, dataflow, random_data(nest, array, seed)


def random_data(nest: LoopNest, array: RtlArray, seed: int) -> KernelData:
    """Operands of any sparsity; half of all have small numbers, so that V often equals the threshold."""
    rng = np.random.default_rng(seed)
    small = rng.random() < 0.5
    operands = random_operands(nest, array, rng)
    largest = (
        {"weight": 2, "bias": 1, "sum": 3} if small else {"weight": 127, "bias": 500, "sum": 9999}
    )
    largest_threshold = rng.choice([1, 4]) if small else rng.choice([3, 300, 30_000])

    def numbers(what, shape):
        return rng.integers(-largest[what], largest[what] + 1, shape)

    weight = numbers(
        "weight", (nest.groups, nest.output_channels, nest.input_channels, *nest.kernel_size)
    )
    channels = nest.groups * nest.output_channels
    neurons = (channels, nest.rows, nest.columns)
    parameters = None
    if nest.fires or rng.random() < 0.3:
        threshold = rng.integers(
            1, largest_threshold + 1, neurons if rng.random() < 0.5 else (channels, 1, 1)
        )
        parameters = NeuronParameters(
            bias=numbers("bias", (channels, 1, 1)),
            threshold=threshold,
            initial_potential=rng.integers(-2 * threshold, 3 * threshold),
        )
    return KernelData(
        weight=np.ones_like(weight) if nest.unit_weights else weight,
        operands=operands,
        exponent=0 if small else int(rng.integers(0, 4)),
        signed=bool(rng.random() < 0.3) if nest.sum_frames else array.signed_operands,
        earlier_sums=numbers("sum", (nest.sums_per_neuron, *neurons)) if nest.adds_sums else None,
        parameters=parameters,
    )


def random_operands(nest: LoopNest, array: RtlArray, rng: np.random.Generator) -> np.ndarray:
    low, high = 0, 1 << array.operand_bits
    if nest.sum_frames:
        low, high = 0, 2
    elif array.signed_operands:
        low, high = -(high // 2), high // 2
    stored = nest.frames if nest.sum_frames else rng.choice([1, nest.frames])
    shape = (stored, nest.groups * nest.input_channels, *nest.input_size)
    return rng.integers(low, high, shape) * (rng.random(shape) < rng.choice([0, 0.2, 0.6, 1]))


def currents(nest: LoopNest, data: KernelData) -> np.ndarray:
    """Sums with all that is added to them, ``(frames or 1, C_o, H_o, W_o)``: a convolution, no tiles."""
    operands = np.broadcast_to(data.operands, (nest.frames, *data.operands.shape[1:]))
    padding = [(0, 0), (0, 0), *((pad, pad) for pad in nest.padding)]
    padded = np.pad(operands, padding).reshape(
        nest.frames,
        nest.groups,
        nest.input_channels,
        *np.add(nest.input_size, np.multiply(2, nest.padding)),
    )
    taps = zip(nest.kernel_size, nest.dilation, strict=True)
    extent = tuple(step * (size - 1) + 1 for size, step in taps)
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(3, 4))
    windows = windows[..., :: nest.dilation[0], :: nest.dilation[1]]
    places = windows[:, :, :, :: nest.stride[0], :: nest.stride[1]]
    sums = np.einsum("goikl,fgirckl->fgorc", data.weight, places)
    sums = sums.reshape(nest.frames, -1, nest.rows, nest.columns)
    if nest.sum_frames:
        place_values = 1 << np.arange(nest.frames)
        if data.signed:
            place_values[-1] *= -1
        sums = np.tensordot(place_values, sums, 1)[None]
    sums = sums << data.exponent
    if data.earlier_sums is not None:
        sums = sums + data.earlier_sums
    return sums if data.parameters is None else sums + data.parameters.bias


def fired(nest: LoopNest, data: KernelData) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and membrane potentials after every step, neuron by neuron as the contract says."""
    current = np.broadcast_to(
        currents(nest, data),
        (nest.node_steps, nest.groups * nest.output_channels, nest.rows, nest.columns),
    )
    potential = np.broadcast_to(data.parameters.initial_potential, current.shape[1:])
    spikes, potentials = [], []
    for step in range(nest.node_steps):
        potential = potential + current[step]
        spikes.append(potential >= data.parameters.threshold)
        potential = potential - data.parameters.threshold * spikes[-1]
        potentials.append(potential)
    return np.array(spikes), np.array(potentials)


def hold(
    run: RtlKernelRun, array: RtlArray, nest: LoopNest, dataflow: Dataflow, data: KernelData
) -> None:
    """Everything that a run gives equals the Python model."""
    counters = count_loops(nest, array.unrolling, dataflow)
    tiling = tiling_of(nest, array.unrolling, dataflow)
    assert run.counters.total_cycles == array_cycles(nest, array.unrolling, dataflow)
    for name in PORT_COUNTERS:
        assert getattr(run.counters, name) == getattr(counters, name), name
    groups_a_neuron = 1
    if dataflow.time_loop == "outermost" and not nest.sum_frames:
        groups_a_neuron = tiling.num_frame_tiles
    expected_parameters = nest.num_neurons * groups_a_neuron if data.parameters else 0
    assert run.counters.parameter_reads == expected_parameters
    if nest.fires:
        spikes, potentials = fired(nest, data)
        np.testing.assert_array_equal(run.spikes, spikes)
        np.testing.assert_array_equal(run.potentials, potentials)
    else:
        np.testing.assert_array_equal(run.sums, currents(nest, data))
