"""Spike counts and spike trains of a few samples, bounded in size, for the report to show."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from deploy.design.random_pixels import random_pixels
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Shape

SHOWN_SAMPLES = 4
"""The first test samples of the data set, or as many samples of random pixels without one."""

MOST_NEURONS = 4096
"""Neurons of a population whose spike trains are kept."""

MOST_TRAIN_BYTES = 400_000
"""Bytes of all spike trains, one bit per neuron and timestep, before base64."""

MOST_PIXELS = 40_000
"""Pixels of a sample, each channel counted."""

MOST_LOGITS = 4096
"""Logits of a sample."""

Strides = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ShownInput:
    """Pixels of each sample.

    Attributes:
        strides: every n-th channel, row and column of the sample is kept.
        pixels: per sample, base64 of one byte per pixel in row-major order, scaled so that 255 is the
            largest value that the input population takes.
    """

    shape: Shape
    strides: Strides
    max_value: int
    pixels: list[str]


@dataclass(frozen=True, kw_only=True)
class ShownPopulation:
    """Spikes of one population.

    Attributes:
        strides: spike trains are kept of every n-th channel, row and column.
        trains: per sample, base64 of the bits of shape ``(T_l, channels, rows, columns)`` in row-major
            order, the first in the highest bit of a byte.
        histogram: per sample, how many of *all* neurons spike 0, 1, .., T_l times.
    """

    shape: Shape
    timesteps: int
    strides: Strides
    trains: list[str]
    histogram: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Spikes of a network on a few samples.

    Attributes:
        is_random: the pixels are random, for want of a data set.
        labels: class of each sample; None if the pixels are random or each pixel has a class.
        logits: of each sample; None if the readout has more than ``MOST_LOGITS``, or is a map.
    """

    num_samples: int
    is_random: bool
    labels: list[int] | None
    logits: list[list[int]] | None
    input: ShownInput
    populations: Mapping[str, ShownPopulation]


def measure_activity(network: IntegerNetwork, dataset: Dataset | None) -> Activity:
    """Simulate the samples that the report shows."""
    if dataset is None:
        pixels = random_pixels(network, SHOWN_SAMPLES)
    else:
        pixels = np.asarray(dataset.test_pixels[:SHOWN_SAMPLES])
    result = simulate(network, pixels, with_trains=True)
    labels = None if dataset is None else dataset.test_labels[: len(pixels)]
    steps = sum(population.timesteps for population in network.spiking)
    most = most_neurons(steps)
    is_vector = network.readout.shape[1:] == (1, 1) and result.logits.shape[1] <= MOST_LOGITS
    return Activity(
        num_samples=len(pixels),
        is_random=dataset is None,
        labels=labels.tolist() if labels is not None and labels.ndim == 1 else None,
        logits=result.logits.tolist() if is_vector else None,
        input=_shown_input(network, pixels),
        populations={
            population.name: _shown_population(
                population.timesteps,
                population.shape,
                result.counts[population.name],
                result.trains[population.name],
                most,
            )
            for population in network.spiking
        },
    )


def most_neurons(timesteps: int) -> int:
    """Neurons of each population whose trains are kept; ``timesteps`` are those of all populations."""
    return min(MOST_NEURONS, 8 * MOST_TRAIN_BYTES // (SHOWN_SAMPLES * max(timesteps, 1)))


def even_strides(shape: Shape, most: int) -> Strides:
    """Strides along channels, rows and columns that keep at most so many neurons, if at least one.

    They double in turn, so that maps keep about 16 times as many pixels as there are channels.
    """
    sizes, strides = list(shape), [1, 1, 1]
    while prod(sizes) > max(most, 1):
        channels, rows, columns = sizes
        axes = (1, 2) if rows * columns > 16 * channels or channels == 1 else (0,)
        for axis in axes:
            strides[axis] *= 2
            sizes[axis] = -(-shape[axis] // strides[axis])
    return strides[0], strides[1], strides[2]


def _shown_population(
    timesteps: int, shape: Shape, counts: np.ndarray, trains: np.ndarray, most: int
) -> ShownPopulation:
    strides = even_strides(shape, most)
    own = tuple(slice(None, None, stride) for stride in strides)
    return ShownPopulation(
        shape=shape,
        timesteps=timesteps,
        strides=strides,
        trains=[_base64(np.packbits(bits[(slice(None), *own)])) for bits in trains],
        histogram=[
            np.bincount(sample.reshape(-1), minlength=timesteps + 1).tolist() for sample in counts
        ],
    )


def _shown_input(network: IntegerNetwork, pixels: np.ndarray) -> ShownInput:
    source = network.input
    channels, rows, columns = source.shape
    # colour channels belong together: a picture is thinned along its rows and columns alone
    strides = (1, *even_strides((1, rows, columns), max(MOST_PIXELS // channels, 1))[1:])
    kept = pixels[:, :, :: strides[1], :: strides[2]].astype(np.int64)
    grey = kept * 255 // source.max_value
    return ShownInput(
        shape=source.shape,
        strides=strides,
        max_value=source.max_value,
        pixels=[_base64(sample.astype(np.uint8)) for sample in grey],
    )


def _base64(array: np.ndarray) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
