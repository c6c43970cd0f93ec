"""VGG-16 at ImageNet size as an integer network, with shapes only or with weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from sim.torch_maps import transmit
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import Convolution, Dense, LinearMap, SumPool

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = (4096, 4096)
CLASSES = 1000
TIMESTEPS = (4, 4, 3, 3, 3, 2, 3, 2, 2, 3, 2, 2, 2, 2, 2)
"""T_l of each layer, 39 steps in 15 layers: our choice, close to the mean T of the paper's networks."""

Weights = Callable[[tuple[int, ...]], np.ndarray]


def no_weights(shape: tuple[int, ...]) -> np.ndarray:
    """An array that has a shape but takes no memory: enough to count loops, but not to run."""
    return np.broadcast_to(np.int8(1), shape)


def random_weights(seed: int) -> Weights:
    """A source of untrained weights."""
    rng = np.random.default_rng(seed)
    return lambda shape: np.rint(rng.normal(0, 20, shape).clip(-127, 127)).astype(np.int8)


def imagenet_vgg16(weights: Weights = no_weights) -> IntegerNetwork:
    """VGG-16 for 224x224 images (Simonyan & Zisserman, 2015), with average pools and thresholds of 1."""
    names = [f"conv{s}_{i}" for s, stage in enumerate(STAGES, 1) for i in range(1, len(stage) + 1)]
    names += [f"dense{i}" for i in range(1, len(HIDDEN) + 1)]
    channels = [c for stage in STAGES for c in stage]
    after_pool = {f"conv{s}_1" for s in range(2, len(STAGES) + 1)} | {"dense1"}
    size, source, source_channels = 224, "input", 3
    populations = [IntegerInput(name="input", shape=(3, 224, 224), max_value=255, unit=1 / 255)]
    synapses: list[IntegerSynapse] = []
    for index, name in enumerate(names):
        maps: list[LinearMap] = []
        if name in after_pool:
            maps.append(SumPool(kernel=(2, 2), stride=(2, 2)))
            size //= 2
        if index < len(channels):
            units = channels[index]
            maps.append(Convolution(weight=weights((units, source_channels, 3, 3)), padding=(1, 1)))
        else:
            units = HIDDEN[index - len(channels)]
            maps.append(Dense(weight=weights((units, source_channels * size * size))))
            size = 1
        populations.append(_spiking(name, (units, size, size), TIMESTEPS[index]))
        synapses.append(
            IntegerSynapse.of_maps(source=source, target=name, maps=tuple(maps), exponent=0)
        )
        source, source_channels = name, units
    populations.append(
        IntegerReadout(
            name="logits",
            shape=(CLASSES, 1, 1),
            bias=np.zeros((CLASSES, 1, 1), np.int64),
            unit=1.0,
        )
    )
    head = Dense(weight=weights((CLASSES, source_channels)))
    synapses.append(
        IntegerSynapse.of_maps(source=source, target="logits", maps=(head,), exponent=0)
    )
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


def _spiking(name: str, shape: tuple[int, int, int], timesteps: int) -> IntegerSpiking:
    per_channel = np.ones((shape[0], 1, 1), np.int64)
    return IntegerSpiking(
        name=name,
        shape=shape,
        timesteps=timesteps,
        threshold=per_channel,
        initial_potential=0 * per_channel,
        bias=0 * per_channel,
    )


def run_with_thresholds(
    network: IntegerNetwork, pixels: np.ndarray, spiking: float = 0.98
) -> tuple[IntegerNetwork, dict[str, np.ndarray]]:
    """The network with thresholds set from the currents of one run, and the spike counts of that run.

    Args:
        spiking: quantile of a layer's currents that becomes its threshold.
    """
    populations, counts = list(network.populations), {}
    values = torch.from_numpy(pixels.astype(np.float64))
    for index, population in enumerate(populations):
        if not isinstance(population, IntegerSpiking):
            continue
        (synapse,) = network.incoming(population.name)
        values = transmit(synapse, values)
        threshold = max(1, int(np.quantile(values.numpy(), spiking)))
        reached = values * population.timesteps + threshold // 2
        values = (reached / threshold).floor().clamp(0, population.timesteps)
        counts[population.name] = values.numpy().astype(np.int64)
        ones = np.ones_like(population.threshold)
        populations[index] = replace(
            population, threshold=threshold * ones, initial_potential=threshold // 2 * ones
        )
    return IntegerNetwork.build(populations, network.synapses), counts
