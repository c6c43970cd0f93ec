"""Networks small enough for any simulator, their integers always the same."""

from __future__ import annotations

import numpy as np
from builders import (
    connect,
    dense,
    float_connect,
    float_dense,
    float_network_of,
    float_spiking,
    network_of,
    spiking,
)

from toolchain.networks.integer_network import verify_integer_network
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    verify_layer_graph,
)
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
)


def residual_network():
    """input -> stem -> inner -> join <- stem, join -> logits; T = 3, 2, 4."""
    random = np.random.default_rng(7)

    def weights(*size):
        return random.integers(-60, 100, size, dtype=np.int8)

    def neurons(name, timesteps, threshold):
        return spiking(name, (2, 4, 4), timesteps, threshold, threshold // 2, bias=[-20, 20])

    def convolution(inputs):
        return Convolution(weight=weights(2, inputs, 3, 3), padding=(1, 1))

    return verify_integer_network(
        network_of(
            neurons("stem", 3, 900),
            neurons("inner.0", 2, 700),
            neurons("join", 4, 500),
            connect("input", "stem", convolution(1)),
            connect("stem", "inner.0", convolution(2)),
            connect("stem", "join", Scale(weight=weights(2))),
            connect("inner.0", "join", convolution(2)),
            connect(
                "join",
                "logits",
                SumPool(kernel=(2, 2), stride=(2, 2)),
                Dense(weight=weights(3, 8)),
            ),
            image=(1, 4, 4),
            max_value=15,
            classes=3,
            bias=[5, 0, -5],
        )
    )


def one_layer(linear_map, input_shape):
    """Spiking ``source`` -> ``hidden`` -> ``logits``; the source is itself fed by one pixel per neuron."""
    shape = linear_map.output_shape(input_shape)
    return network_of(
        spiking("source", input_shape, timesteps=2, threshold=64, initial=32),
        spiking("hidden", shape, timesteps=2, threshold=64, initial=32),
        connect("input", "source", Scale(weight=np.ones(input_shape[0], np.int8))),
        connect("source", "hidden", linear_map),
        connect("hidden", "logits", dense(np.ones((1, np.prod(shape))))),
        image=input_shape,
    )


def two_neurons(weight=0.5, bias=0.25, alignment="average"):
    """Float: input -> hidden (T = 4, alpha = 2) -> readout, one neuron each."""
    return float_network_of(
        float_spiking("hidden", timesteps=4, threshold=2.0, bias=bias),
        float_connect("input", "hidden", float_dense([[weight]]), alignment=alignment),
        float_connect("hidden", "readout", float_dense([[-3.0]])),
        max_value=10,
        unit=0.1,
        readout="readout",
        bias=1.0,
    )


def float_unet(outputs=()):
    """Float: an 8x8 image to 2 maps of its size, over a pool, nearest upsampling and a concatenation."""
    random = np.random.default_rng(3)

    def convolution(outputs, inputs, size):
        weight = random.normal(size=(outputs, inputs, size, size)) / (size * np.sqrt(inputs))
        return Convolution(weight=weight, padding=(size // 2, size // 2))

    double = np.repeat(np.eye(4, dtype=np.int64), 2, axis=0)
    merge = convolution(4, 10, 3)  # of 4 channels of the encoder and 6 from below
    return verify_layer_graph(
        LayerGraph.build(
            [
                InputPopulation(name="image", shape=(1, 8, 8), max_value=255, unit=1 / 255),
                float_spiking("encoder", (4, 8, 8), 3, 0.6),
                float_spiking("below", (6, 4, 4), 2, 0.5),
                float_spiking("decoder", (4, 8, 8), 4, 0.6),
                ReadoutPopulation(
                    name="mask", shape=(2, 8, 8), bias=np.zeros((2, 1, 1)), outputs=outputs
                ),
            ],
            [
                float_connect("image", "encoder", convolution(4, 1, 3)),
                float_connect(
                    "encoder",
                    "below",
                    AveragePool(kernel=(2, 2), stride=(2, 2)),
                    convolution(6, 4, 3),
                ),
                float_connect(
                    "encoder",
                    "decoder",
                    SelectChannels(channels=np.array([0, 1, 2, 3, *[-1] * 6])),
                    merge,
                ),
                float_connect(
                    "below",
                    "decoder",
                    Resample(rows=double, columns=double),
                    SelectChannels(channels=np.array([*[-1] * 4, 0, 1, 2, 3, 4, 5])),
                    merge,
                ),
                float_connect("decoder", "mask", convolution(2, 4, 1)),
            ],
        )
    )
