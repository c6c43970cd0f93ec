"""Networks small enough for any simulator, their integers always the same."""

from __future__ import annotations

import numpy as np

from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import Convolution, Dense, Scale, SumPool


def residual_network():
    """input -> stem -> inner -> join <- stem, join -> logits; T = 3, 2, 4."""
    random = np.random.default_rng(7)
    shape = (2, 4, 4)

    def weights(*size):
        return random.integers(-60, 100, size, dtype=np.int8)

    def spiking(name, timesteps, threshold):
        return IntegerSpiking(
            name=name,
            shape=shape,
            timesteps=timesteps,
            threshold=np.full((2, 1, 1), threshold),
            initial_potential=np.full((2, 1, 1), threshold // 2),
            bias=np.array([-20, 20]).reshape(2, 1, 1),
        )

    def synapse(source, target, *maps):
        return IntegerSynapse.of_maps(source=source, target=target, maps=maps, exponent=0)

    same = {"padding": (1, 1)}
    return verify_integer_network(
        IntegerNetwork.build(
            [
                IntegerInput(name="input", shape=(1, 4, 4), max_value=15, unit=1.0),
                spiking("stem", 3, 900),
                spiking("inner.0", 2, 700),
                spiking("join", 4, 500),
                IntegerReadout(
                    name="logits",
                    shape=(3, 1, 1),
                    bias=np.array([5, 0, -5]).reshape(3, 1, 1),
                    unit=1.0,
                ),
            ],
            [
                synapse("input", "stem", Convolution(weight=weights(2, 1, 3, 3), **same)),
                synapse("stem", "inner.0", Convolution(weight=weights(2, 2, 3, 3), **same)),
                synapse("stem", "join", Scale(weight=weights(2))),
                synapse("inner.0", "join", Convolution(weight=weights(2, 2, 3, 3), **same)),
                synapse(
                    "join",
                    "logits",
                    SumPool(kernel=(2, 2), stride=(2, 2)),
                    Dense(weight=weights(3, 8)),
                ),
            ],
        )
    )


def one_layer(linear_map, input_shape):
    """Spiking ``source`` -> ``hidden`` -> ``logits``; the source is itself fed by one pixel a neuron."""
    shape = linear_map.output_shape(input_shape)

    def spiking(name, shape):
        ones = np.ones((shape[0], 1, 1), np.int64)
        return IntegerSpiking(
            name=name, shape=shape, timesteps=2, threshold=64 * ones, initial_potential=32 * ones,
            bias=0 * ones,
        )  # fmt: skip

    outputs = int(np.prod(shape))
    identity = np.ones(input_shape[0], np.int8)
    return IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=input_shape, max_value=1, unit=1.0),
            spiking("source", input_shape),
            spiking("hidden", shape),
            IntegerReadout(
                name="logits", shape=(1, 1, 1), bias=np.zeros((1, 1, 1), np.int64), unit=1.0
            ),
        ],
        [
            IntegerSynapse.of_maps(
                source="input", target="source", exponent=0, maps=(Scale(weight=identity),)
            ),
            IntegerSynapse.of_maps(
                source="source", target="hidden", exponent=0, maps=(linear_map,)
            ),
            IntegerSynapse.of_maps(
                source="hidden",
                target="logits",
                exponent=0,
                maps=(Dense(weight=np.ones((1, outputs), np.int8)),),
            ),
        ],
    )
