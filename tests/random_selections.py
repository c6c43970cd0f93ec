"""Seeded random networks of every linear map: selections before and after, sums, dilation, concatenation."""

from __future__ import annotations

import random

import numpy as np
from builders import connect, spiking

from hw_models.pe_array.address_maps import is_selection
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    verify_integer_network,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    chain_output_shape,
    window_positions,
)


def random_selection_network(seed: int, alignments=("average",)) -> IntegerNetwork:
    """Up to four spiking populations; a later source of a population is resampled to its shape."""
    rng = random.Random(seed)
    shape = rng.randint(1, 4), rng.randint(1, 5), rng.randint(1, 5)
    populations = [IntegerInput(name="input", shape=shape, max_value=rng.choice([1, 5]), unit=1.0)]
    synapses = []
    for index in range(rng.randint(1, 4)):
        name, alignment = f"layer{index}", rng.choice(alignments)
        source = populations[-1]
        maps = _maps(rng, source.shape)
        target = chain_output_shape(maps, source.shape)
        others = rng.sample(populations[:-1], min(len(populations) - 1, rng.randint(0, 2)))
        chains = [(source, maps)] + [(s, _to_shape(rng, s.shape, target)) for s in others]
        for origin, chain in chains:
            exponent = rng.randint(0, 2)
            synapses.append(
                connect(origin.name, name, *chain, exponent=exponent, alignment=alignment)
            )
        populations.append(_neurons(rng, name, target))
    last = populations[-1]
    readout, maps = (rng.randint(1, 3), 1, 1), ()
    if rng.random() < 0.5:
        maps = (Dense(weight=_weights(rng, (readout[0], int(np.prod(last.shape))))),)
    else:
        maps = _maps(rng, last.shape)
        readout = chain_output_shape(maps, last.shape)
    synapses.append(connect(last.name, "logits", *maps, alignment=rng.choice(alignments)))
    bias = np.array([rng.randint(-9, 9) for _ in range(readout[0])]).reshape(-1, 1, 1)
    populations.append(IntegerReadout(name="logits", shape=readout, bias=bias, unit=1.0))
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


def selects(network, synapse):
    """Whether a map of a synapse only selects values, so that it is no kernel of its own."""
    shapes = [network[synapse.source].shape]
    for linear_map in synapse.maps:
        shapes.append(linear_map.output_shape(shapes[-1]))
    return any(map(is_selection, synapse.maps, shapes))


def _weights(rng, shape):
    return np.random.default_rng(rng.randrange(2**32)).integers(-9, 10, shape, dtype=np.int8)


def _neurons(rng, name, shape):
    threshold = np.array([rng.randint(1, 60) for _ in range(shape[0])])
    bias = [rng.randint(-9, 9) for _ in range(shape[0])]
    return spiking(name, shape, rng.randint(1, 4), threshold, threshold // 2, bias)


def _maps(rng, shape: Shape) -> tuple[LinearMap, ...]:
    """Selections and sums around one map with weights."""
    maps: list[LinearMap] = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        maps.append(_pool(rng, chain_output_shape(maps, shape)))
    maps.append(_weighted(rng, chain_output_shape(maps, shape)))
    for _ in range(rng.choice([0, 0, 1, 2])):
        maps.append(_pool(rng, chain_output_shape(maps, shape)))
    return tuple(maps)


def _weighted(rng, shape: Shape) -> LinearMap:
    kind = rng.choice(["conv", "groups", "dense", "scale"])
    if kind == "dense":
        return Dense(weight=_weights(rng, (rng.randint(1, 4), int(np.prod(shape)))))
    if kind == "scale":
        return Scale(weight=_weights(rng, (shape[0],)))
    groups = 1 if kind == "conv" else rng.choice([g for g in range(1, 5) if shape[0] % g == 0])
    kernel = rng.randint(1, 3), rng.randint(1, 3)
    dilation = rng.randint(1, 2), rng.randint(1, 2)
    padding = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    weight = _weights(rng, (groups * rng.randint(1, 2), shape[0] // groups, *kernel))
    stride = rng.randint(1, 2), rng.randint(1, 2)
    return Convolution(
        weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _pool(rng, shape: Shape) -> LinearMap:
    channels, *size = shape
    match rng.choice(["sum", "select", "sums", "channels"]):
        case "sum":
            kernel = tuple(rng.randint(1, min(2, length)) for length in size)
            pool = SumPool(kernel=kernel, stride=(rng.randint(1, 2), rng.randint(1, 2)))
            assert all(window_positions(n, k, 1, 0) > 0 for n, k in zip(size, kernel, strict=True))
            return pool
        case "select":
            rows, columns = (_selecting(rng, length) for length in size)
            return Resample(rows=rows, columns=columns)
        case "sums":
            numbers = np.random.default_rng(rng.randrange(2**32))
            rows, columns = (numbers.integers(0, 3, (rng.randint(1, 3), n)) for n in size)
            return Resample(rows=rows, columns=columns)
        case _:
            taken = [rng.choice([-1, *range(channels)]) for _ in range(rng.randint(1, 5))]
            return SelectChannels(channels=np.array(taken))


def _selecting(rng, size):
    """Crop, stride, repetition or zero insertion along one axis; sometimes any order."""
    order = [rng.choice([-1, *range(size)]) for _ in range(rng.randint(1, 5))]
    chosen = rng.choice(
        [
            range(size),
            range(size // 2, size),
            range(0, size, 2),
            [i // 2 for i in range(2 * size)],
            [-1 if i % 2 else i // 2 for i in range(2 * size)],
            [-1, *range(size), -1],
            order,
        ]
    )
    matrix = np.zeros((len(chosen), size), np.int64)
    for target, source in enumerate(chosen):
        if source >= 0:
            matrix[target, source] = 1
    return matrix


def _to_shape(rng, shape: Shape, target: Shape) -> tuple[LinearMap, ...]:
    """One weight per channel, and the place of a part in a concatenation, of that shape."""
    sizes = zip(shape[1:], target[1:], strict=True)
    matrices = [np.eye(to, size, dtype=np.int64) for size, to in sizes]
    place = rng.randrange(target[0])
    channels = [i - place if 0 <= i - place < shape[0] else -1 for i in range(target[0])]
    return (
        Scale(weight=_weights(rng, (shape[0],))),
        Resample(rows=matrices[0], columns=matrices[1]),
        SelectChannels(channels=np.array(channels)),
    )
