"""An integer network as passes over the array: one for each map of each synapse.

A pass is a convolution in the loop order of Algorithm 2. A dense layer is a 1x1 convolution over the
flattened map; an identity and a sum pool are depthwise. The synapses of a residual join are passes one
after another into the same partial sums, and the node unit fires after the last of them.

With averaging alignment a layer's input does not change over its T_l steps: it is a count of
``ceil(log2(T_src + 1))`` bits (pixels have their own width). Algorithm 2 as printed still makes T_l passes
over it. A sum pool only adds counts, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerSpiking,
    IntegerSynapse,
    has_constant_current,
)
from toolchain.integer_network.network import largest_source_value
from toolchain.linear_maps import AveragePool, Convolution, Dense, Pair, Scale, Shape, SumPool


@dataclass(frozen=True, kw_only=True)
class LoopBounds:
    """The loops of Algorithm 2 for one pass; channels are per group."""

    groups: int
    output_channels: int  # C_o / groups
    input_channels: int  # C_i / groups
    rows: int  # H_o
    columns: int  # W_o
    kernel: Pair  # K_h, K_w
    timesteps: int  # T


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPass:
    """One pass with its data.

    Attributes:
        weight: shape ``(groups, output channels, input channels, K_h, K_w)``, integers.
        input_shape: feature map it reads (a dense layer reads the flattened map).
        operand_bits: width of one input value.
        fires: the node unit runs after this pass.
        is_pool: adds without a weight.
    """

    name: str
    source: str
    target: str
    bounds: LoopBounds
    weight: np.ndarray
    stride: Pair
    padding: Pair
    input_shape: Shape
    operand_bits: int
    fires: bool
    is_pool: bool


def layer_passes(network: IntegerNetwork) -> list[LayerPass]:
    """All passes of a network in the order they run.

    Raises:
        UnsupportedNetworkError: a synapse does not average; its input changes from step to step.
    """
    if not has_constant_current(network):
        raise UnsupportedNetworkError(
            "the PE array model needs 'average' alignment on every synapse; compile with "
            "--alignment average to compare"
        )
    passes: list[LayerPass] = []
    for population in network.populations:
        incoming = network.incoming(population.name)
        for index, synapse in enumerate(incoming):
            is_last = index == len(incoming) - 1
            fires = is_last and isinstance(population, IntegerSpiking)
            passes += _synapse_passes(network, synapse, population.timesteps, fires)
    return passes


def _synapse_passes(
    network: IntegerNetwork, synapse: IntegerSynapse, timesteps: int, fires: bool
) -> list[LayerPass]:
    passes = []
    source = network[synapse.source]
    shape, largest = source.shape, largest_source_value(network, synapse)
    for index, linear_map in enumerate(synapse.maps):
        out = linear_map.output_shape(shape)
        is_last = index == len(synapse.maps) - 1
        reads = (prod(shape), 1, 1) if isinstance(linear_map, Dense) else shape
        weight, stride, padding = _as_convolution(linear_map, shape)
        is_pool = isinstance(linear_map, SumPool)
        suffix = " (pool)" if is_pool else ""
        passes.append(
            LayerPass(
                name=f"{synapse.source} -> {synapse.target}{suffix}",
                source=synapse.source,
                target=synapse.target,
                bounds=LoopBounds(
                    groups=weight.shape[0],
                    output_channels=weight.shape[1],
                    input_channels=weight.shape[2],
                    rows=out[1],
                    columns=out[2],
                    kernel=(weight.shape[3], weight.shape[4]),
                    timesteps=1 if is_pool else timesteps,
                ),
                weight=weight,
                stride=stride,
                padding=padding,
                input_shape=reads,
                operand_bits=largest.bit_length(),
                fires=fires and is_last,
                is_pool=is_pool,
            )
        )
        if isinstance(linear_map, SumPool):
            largest *= prod(linear_map.kernel)
        shape = out
    assert isinstance(source, IntegerInput | IntegerSpiking)
    return passes


def _as_convolution(linear_map: object, shape: Shape) -> tuple[np.ndarray, Pair, Pair]:
    """Weight with groups in front, stride and padding."""
    match linear_map:
        case Convolution(weight=weight, stride=stride, padding=padding, groups=groups):
            return weight.reshape(groups, -1, *weight.shape[1:]), stride, padding
        case Dense(weight=weight):
            return weight[None, :, :, None, None], (1, 1), (0, 0)
        case Scale(weight=weight):
            return weight.reshape(-1, 1, 1, 1, 1), (1, 1), (0, 0)
        case SumPool(kernel=kernel, stride=stride, padding=padding):
            return np.ones((shape[0], 1, 1, *kernel), np.int8), stride, padding
    assert not isinstance(linear_map, AveragePool)
    raise AssertionError(f"no pass for {linear_map}")
