"""A network whose readout is a map and a class, with every kind of map between its populations."""

from __future__ import annotations

import numpy as np
from builders import connect, network_of, spiking

from toolchain.networks.integer_network import IntegerNetwork, IntegerReadout
from toolchain.networks.layer_graph.populations import ReadoutOutput
from toolchain.networks.linear_maps import Convolution, Resample, Scale, SelectChannels, SumPool


def map_and_class_network():
    """Two outputs of a U-Net-like network: upsampling, a transposed convolution, parts of a concatenation."""
    rng = np.random.default_rng(3)

    def conv(*size, **options):
        return Convolution(weight=rng.integers(-9, 10, size, dtype=np.int8), **options)

    twice = np.repeat(np.eye(2, dtype=np.int64), 2, axis=0)
    inserted = np.zeros((3, 2), np.int64)
    inserted[[0, 2], [0, 1]] = 1
    uneven = np.array([[1, 1, 0, 0], [0, 1, 1, 2]])
    left, right = (np.array(c) for c in ([0, 1, -1, -1], [-1, -1, 1, 0]))
    populations = network_of(
        spiking("fine", (2, 4, 4), 3, 40, 20, 5), spiking("coarse", (2, 2, 2), 2, 60, 30, 9),
        spiking("both", (4, 4, 4), 5, 70, 35, 3), spiking("small", (2, 2, 2), 1, 70, 35, 3),
        image=(1, 4, 4), max_value=9,
    ).populations[:-1]  # fmt: skip
    outputs = (
        ReadoutOutput(name="mask", start=0, stop=3, height=4, width=4),
        ReadoutOutput(name="class", start=3, stop=5, height=1, width=1),
    )
    readout = IntegerReadout(
        name="logits",
        shape=(5, 4, 4),
        bias=rng.integers(-9, 9, (5, 1, 1)),
        unit=1.0,
        outputs=outputs,
    )
    zeros = np.eye(4, 1, dtype=np.int64)
    return IntegerNetwork.build(
        [*populations, readout],
        [
            connect("input", "fine", conv(2, 1, 3, 3, padding=(1, 1))),
            connect("fine", "coarse", SumPool(kernel=(2, 2), stride=(2, 2)), conv(2, 1, 1, 1, groups=2)),
            connect("coarse", "both", Resample(rows=twice, columns=twice), conv(2, 2, 3, 3, padding=(1, 1)),
                    SelectChannels(channels=left)),
            connect("fine", "both", SelectChannels(channels=np.array([1, 0])),
                    Scale(weight=np.array([3, -4], np.int8)), SelectChannels(channels=right)),
            connect("coarse", "small", Resample(rows=inserted, columns=inserted), conv(2, 2, 2, 2)),
            connect("fine", "small", Scale(weight=np.array([2, 5], np.int8)),
                    Resample(rows=uneven, columns=uneven)),
            connect("both", "logits", conv(3, 4, 3, 3, padding=(2, 2), dilation=(2, 2)),
                    SelectChannels(channels=np.array([0, 1, 2, -1, -1]))),
            connect("small", "logits", conv(2, 2, 2, 2), Resample(rows=zeros, columns=zeros),
                    SelectChannels(channels=np.array([-1, -1, -1, 0, 1]))),
        ],
    )  # fmt: skip
