"""Random networks with every kind of map: resampling, selection, dilation, zero taps, map readouts."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from single_synapses import within_exponents

from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
    chain_output_shape,
)


@st.composite
def resampled_networks(draw):
    """input -> hidden -> logits, whose merged weights fit 8 bits; the readout is often a map."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(rng.integers(1, 5, 3).tolist())
    populations = [IntegerInput(name="input", shape=shape, max_value=15, unit=1.0)]
    synapses = []
    for source, target in (("input", "hidden"), ("hidden", "logits")):
        maps = random_maps(rng, shape)
        shape = chain_output_shape(maps, shape)
        synapses.append(IntegerSynapse.of_maps(source=source, target=target, maps=maps, exponent=0))
        bias = rng.integers(-50, 50, (shape[0], 1, 1))
        threshold = rng.integers(1, 300, (shape[0], 1, 1))
        populations.append(
            IntegerReadout(name=target, shape=shape, bias=bias, unit=1.0)
            if target == "logits"
            else IntegerSpiking(
                name=target,
                shape=shape,
                timesteps=3,
                threshold=threshold,
                initial_potential=threshold // 2,
                bias=bias,
            )
        )
    network = IntegerNetwork.build(populations, synapses)
    return within_exponents(verify_integer_network(network))


def random_maps(rng, shape):
    """Up to two maps without a weight, one with, and at most one more without."""
    maps = []
    for draw in (_unweighted, _unweighted, _weighted, _unweighted):
        if draw is _weighted or rng.integers(2):
            maps.append(draw(rng, shape))
            shape = maps[-1].output_shape(shape)
    return tuple(maps)


def _unweighted(rng, shape):
    channels, *sizes = shape
    match rng.integers(3):
        case 0:
            kernel = tuple(int(rng.integers(1, size + 1)) for size in sizes)
            return SumPool(kernel=kernel, stride=_pair(rng, 1, 3), padding=(0, kernel[1] // 2))
        case 1:
            rows, columns = (rng.integers(0, 2, (rng.integers(1, 5), size)) for size in sizes)
            return Resample(rows=rows, columns=columns)
        case _:
            return SelectChannels(channels=rng.integers(-1, channels, rng.integers(1, 5)))


def _weighted(rng, shape):
    channels, *sizes = shape
    match rng.integers(4):
        case 0:
            return Dense(weight=_weights(rng, rng.integers(1, 5), int(np.prod(shape))))
        case 1:
            return Scale(weight=_weights(rng, channels))
        case kind:
            groups = channels if kind == 2 else 1
            outputs = groups * int(rng.integers(1, 3))
            kernel = _pair(rng, 1, 4)
            weight = _weights(rng, outputs, channels // groups, *kernel)
            weight[:, :, rng.integers(-1, kernel[0])] = 0  # mostly a whole row of taps
            dilation = _pair(rng, 1, 3)
            reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
            padding = tuple(
                int(max(needed - size, 0) + 1) // 2
                for needed, size in zip(reach, sizes, strict=True)
            )
            return Convolution(
                weight=weight,
                stride=_pair(rng, 1, 3),
                padding=padding,
                dilation=dilation,
                groups=groups,
            )


def _pair(rng, low, high):
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def _weights(rng, *shape):
    """A quarter of all channels are zero."""
    weight = rng.integers(-127, 128, shape, dtype=np.int8)
    weight[rng.integers(4, size=shape[0]) == 0] = 0
    return weight
