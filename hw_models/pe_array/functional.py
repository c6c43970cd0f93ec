"""What the array computes, in its own loop order: the integers of the network, tile by tile."""

from __future__ import annotations

from math import prod

import numpy as np

from hw_models.pe_array.array_description import PeArray, Unrolling
from hw_models.pe_array.layer_passes import LayerPass, layer_passes
from hw_models.pe_array.loop_counters import tiles
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)


def run_on_array(
    network: IntegerNetwork, array: PeArray, pixels: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Spike counts of all populations, int64 ``(B, C, H, W)``, and logits ``(B, classes)``.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: a synapse does not average.
    """
    values: dict[str, np.ndarray] = {}
    passes = layer_passes(network)
    logits = np.empty(0)
    for population in network.populations:
        if isinstance(population, IntegerInput):
            values[population.name] = pixels.astype(np.int64)
            continue
        shape = (len(pixels), population.timesteps, *population.shape)
        sums = np.zeros(shape, np.int64) + population.bias
        for synapse in network.incoming(population.name):
            chain = [p for p in passes if (p.source, p.target) == (synapse.source, population.name)]
            carried = values[synapse.source][:, None]
            for layer in chain:
                carried = _run_pass(layer, array.unrolling, carried)
            sums += carried << synapse.exponent
        if isinstance(population, IntegerReadout):
            logits = sums.sum(axis=1).reshape(len(pixels), -1)
        else:
            values[population.name] = _run_nodes(population, array.unrolling, sums)
    counts = {name: v for name, v in values.items() if isinstance(network[name], IntegerSpiking)}
    return counts, logits


def _run_pass(layer: LayerPass, unrolling: Unrolling, inputs: np.ndarray) -> np.ndarray:
    """Partial sums of every step, ``(B, T, C_o, H_o, W_o)``; inputs are the same in every step."""
    bounds = layer.bounds
    batch, steps = len(inputs), bounds.timesteps
    (top, left), (down, right) = layer.padding, layer.stride
    grouped = inputs[:, 0].reshape(
        batch, bounds.groups, bounds.input_channels, *layer.input_shape[1:]
    )
    padded = np.pad(grouped, ((0, 0), (0, 0), (0, 0), (top, top), (left, left)))
    weight = layer.weight.astype(np.int64)
    sums = np.zeros(
        (batch, steps, bounds.groups, bounds.output_channels, bounds.rows, bounds.columns), np.int64
    )
    for group in range(bounds.groups):
        for channels in tiles(bounds.output_channels, unrolling.output_channels):
            for row in range(bounds.rows):
                for columns in tiles(bounds.columns, unrolling.output_columns):
                    for timesteps in tiles(steps, unrolling.timesteps):
                        out = (slice(None), _slice(timesteps), group, _slice(channels), row)
                        for k_h, k_w in np.ndindex(bounds.kernel):
                            for ins in tiles(bounds.input_channels, unrolling.input_channels):
                                read = [column * right + k_w for column in columns]
                                tile = padded[:, group, _slice(ins), row * down + k_h][:, :, read]
                                product = (
                                    weight[group, _slice(channels), _slice(ins), k_h, k_w] @ tile
                                )
                                sums[out][..., _slice(columns)] += product[:, None]
    out_channels = bounds.groups * bounds.output_channels
    return sums.reshape(batch, steps, out_channels, bounds.rows, bounds.columns)


def _run_nodes(population: IntegerSpiking, unrolling: Unrolling, sums: np.ndarray) -> np.ndarray:
    """The node unit: S steps at a time, the membrane potential carried from one to the next."""
    potential = np.broadcast_to(population.initial_potential, sums[:, 0].shape).copy()
    counts = np.zeros_like(potential)
    for steps in tiles(population.timesteps, unrolling.timesteps):
        for step in steps:
            potential += sums[:, step]
            spikes = potential >= population.threshold
            potential -= population.threshold * spikes
            counts += spikes
    assert counts.size == len(sums) * prod(population.shape)
    return counts


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop)
