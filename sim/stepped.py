"""The stepped engine: the integer network, timestep by timestep, written to be read.

It is the judge. Every other engine must give these integers. NumPy int64 throughout, one loop for
each loop of the definition (see ``toolchain.networks.integer_network.network``), no closed form anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from typing_extensions import assert_never

from sim.results import Simulation, check_pixels
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.network import step_frames
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Pair,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
    window_positions,
)


def run_stepped(network: IntegerNetwork, pixels: np.ndarray) -> Simulation:
    """Simulate every timestep of every population.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.

    Raises:
        DataError: type, shape or range of the pixels do not fit the input population.
    """
    frames: dict[str, np.ndarray] = {}  # values that each population sends, (B, T, C, H, W)
    for population in network.populations:
        match population:
            case IntegerInput():
                frames[population.name] = check_pixels(network, pixels)[:, None].astype(np.int64)
            case IntegerSpiking():
                currents = input_currents(network, population, frames)
                frames[population.name], _ = integrate_and_fire(population, currents)
            case IntegerReadout():
                pass
            case _:
                assert_never(population)
    logits = input_currents(network, network.readout, frames).sum(axis=1).reshape(len(pixels), -1)
    trains = {p.name: frames[p.name].astype(bool) for p in network.spiking}
    counts = {name: train.sum(axis=1, dtype=np.int64) for name, train in trains.items()}
    return Simulation(logits=logits, counts=counts, trains=trains)


def firing_window(
    network: IntegerNetwork,
    population: IntegerSpiking | IntegerReadout,
    frames: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Membrane potential of one population after each of its steps.

    Args:
        frames: values that each source sends in each of its steps, int64 ``(B, T, C, H, W)``.

    Returns:
        int64 ``(B, T, C, H, W)``; for a readout, the accumulated logits.
    """
    currents = input_currents(network, population, frames)
    match population:
        case IntegerReadout():
            return np.cumsum(currents, axis=1)
        case IntegerSpiking():
            return integrate_and_fire(population, currents)[1]
        case _:
            assert_never(population)


def integrate_and_fire(
    population: IntegerSpiking, currents: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes, and potentials after them, in each step of a firing window; all ``(B, T, C, H, W)``."""
    spikes, potentials = np.zeros_like(currents), np.zeros_like(currents)
    potential = np.broadcast_to(population.initial_potential, currents[:, 0].shape).copy()
    for step in range(population.timesteps):
        potential += currents[:, step]
        spikes[:, step] = potential >= population.threshold
        potential -= population.threshold * spikes[:, step]
        potentials[:, step] = potential
    return spikes, potentials


def input_currents(
    network: IntegerNetwork,
    target: IntegerSpiking | IntegerReadout,
    frames: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Input current of each step of the target's window, shape ``(B, T, C, H, W)``."""
    batch = len(next(iter(frames.values())))
    currents = np.zeros((batch, target.timesteps, *target.shape), np.int64) + target.bias
    for synapse in network.incoming(target.name):
        currents += synapse_currents(network, synapse, frames)
    return currents


def synapse_currents(
    network: IntegerNetwork, synapse: IntegerSynapse, frames: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Current of one synapse in each step of its target's window, ``(B, T, C, H, W)``.

    The axis T is 1 if the synapse averages, as the current is then the same in every step.
    """
    source, target = frames[synapse.source], network[synapse.target]
    if synapse.alignment == "average":
        return transmit(synapse, source.sum(axis=1))[:, None]
    currents = np.zeros((len(source), target.timesteps, *target.shape), np.int64)
    for step, frame in enumerate(step_frames(network, synapse)):
        if frame is not None:
            currents[:, step] = transmit(synapse, source[:, frame])
    return currents


def transmit(synapse: IntegerSynapse, values: np.ndarray) -> np.ndarray:
    """``2^x_e * op_e(W_e, values)`` for values of shape ``(B, C, H, W)``."""
    return apply_maps(synapse.maps, values) << synapse.exponent


def apply_maps(maps: Iterable[IntegerMap], values: np.ndarray) -> np.ndarray:
    """A chain of maps on integers of shape ``(B, C, H, W)``."""
    for linear_map in maps:
        match linear_map:
            case Convolution():
                values = _convolve(linear_map, values)
            case Dense(weight=weight):
                flat = values.reshape(len(values), -1)
                values = (flat @ weight.T.astype(np.int64))[:, :, None, None]
            case Scale(weight=weight):
                values = values * weight.astype(np.int64)[:, None, None]
            case SumPool(kernel=kernel, stride=stride, padding=padding):
                values = sum(window for _, _, window in _windows(values, kernel, stride, padding))
            case Resample(rows=rows, columns=columns):
                values = rows @ values @ columns.T
            case SelectChannels(channels=channels):
                with_zeros = np.pad(values, ((0, 0), (0, 1), (0, 0), (0, 0)))
                values = with_zeros[:, channels]  # channel -1 is the last one, of zeros
            case _:
                assert_never(linear_map)
    return values


def _convolve(convolution: Convolution, values: np.ndarray) -> np.ndarray:
    weight = convolution.weight.astype(np.int64)
    outputs = []
    for group, group_values in zip(
        np.split(weight, convolution.groups),
        np.split(values, convolution.groups, axis=1),
        strict=True,
    ):
        windows = _windows(
            group_values,
            convolution.kernel,
            convolution.stride,
            convolution.padding,
            convolution.dilation,
        )
        outputs.append(
            sum(
                np.einsum("oi,bihw->bohw", group[:, :, row, column], window)
                for row, column, window in windows
            )
        )
    return np.concatenate(outputs, axis=1)


def _windows(
    values: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
):
    """(row, column, values) for each tap of the kernel: the value there of every window."""
    rows = window_positions(values.shape[2], kernel[0], stride[0], padding[0], dilation[0])
    columns = window_positions(values.shape[3], kernel[1], stride[1], padding[1], dilation[1])
    padded = np.pad(values, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            bottom = top + (rows - 1) * stride[0] + 1
            right = left + (columns - 1) * stride[1] + 1
            yield row, column, padded[:, :, top : bottom : stride[0], left : right : stride[1]]
