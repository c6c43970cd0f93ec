"""Hypothesis strategies: random integer networks, chains, joins and forks, hard currents included."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

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
    LinearMap,
    Scale,
    Shape,
    SumPool,
    chain_output_shape,
    window_positions,
)


@st.composite
def integer_networks(draw, *, alignments=("average",), any_potential=False):
    """A random verified network of one to five spiking populations with one or two inputs each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    max_value = draw(st.sampled_from([1, 16, 255]))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    populations = [IntegerInput(name="input", shape=shape, max_value=max_value, unit=1.0)]
    synapses: list[IntegerSynapse] = []
    for index in range(draw(st.integers(1, 5))):
        name = f"layer{index}"
        source = draw(st.sampled_from(populations))
        maps = draw(_maps(rng, source.shape))
        alignment = draw(st.sampled_from(alignments))
        target_shape = chain_output_shape(maps, source.shape)
        synapses.append(_synapse(draw, source.name, name, maps, alignment))
        if other := _second_source(draw, populations, source, target_shape):
            joining = _adapter(draw, rng, other.shape, target_shape)
            synapses.append(_synapse(draw, other.name, name, joining, alignment))
        populations.append(draw(_spiking(rng, name, target_shape, any_potential)))
    unread = {p.name for p in populations} - {s.source for s in synapses}
    alignment = draw(st.sampled_from(alignments))
    classes = draw(st.integers(1, 4))
    steps = 1 if alignment == "average" else draw(st.integers(1, 4))
    for population in populations:
        if population.name in unread:
            weight = _weights(rng, (classes, int(np.prod(population.shape))))
            synapses.append(
                _synapse(draw, population.name, "logits", (Dense(weight=weight),), alignment)
            )
    bias = rng.integers(-500, 500, (classes, 1, 1))
    populations.append(
        IntegerReadout(name="logits", shape=(classes, 1, 1), bias=bias, unit=1.0, timesteps=steps)
    )
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


def random_pixels(network: IntegerNetwork, seed: int, samples: int = 3) -> np.ndarray:
    """Random pixels for a network; the first sample is all zero, the second saturated."""
    source = network.populations[0]
    assert isinstance(source, IntegerInput)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, source.max_value + 1, (samples, *source.shape))
    pixels[0] = 0
    if samples > 1:
        pixels[1] = source.max_value
    return pixels


def _weights(rng, shape):
    return rng.integers(-127, 128, shape, dtype=np.int8)


@st.composite
def _maps(draw, rng, shape: Shape) -> tuple[LinearMap, ...]:
    maps: list[LinearMap] = []
    if draw(st.booleans()):
        maps.append(draw(_pool(shape)))
        shape = chain_output_shape(maps, shape)
    match draw(st.sampled_from(["conv", "conv", "depthwise", "dense", "scale"])):
        case "conv":
            maps.append(draw(_convolution(rng, shape, groups=1)))
        case "depthwise":
            maps.append(draw(_convolution(rng, shape, groups=shape[0])))
        case "dense":
            maps.append(Dense(weight=_weights(rng, (draw(st.integers(1, 6)), int(np.prod(shape))))))
        case "scale":
            maps.append(Scale(weight=_weights(rng, (shape[0],))))
    shape = chain_output_shape(maps, shape) if len(maps) == 1 else maps[-1].output_shape(shape)
    if draw(st.integers(0, 4)) == 0:
        maps.append(draw(_pool(shape)))
    return tuple(maps)


@st.composite
def _window(draw, size: int) -> tuple[int, int, int]:
    kernel = draw(st.integers(1, min(3, size)))
    padding = draw(st.integers(0, kernel // 2))
    stride = draw(st.integers(1, 2))
    assert window_positions(size, kernel, stride, padding) >= 1
    return kernel, stride, padding


@st.composite
def _pool(draw, shape: Shape) -> SumPool:
    rows, columns = draw(_window(shape[1])), draw(_window(shape[2]))
    kernel, stride, padding = zip(rows, columns, strict=True)
    return SumPool(kernel=kernel, stride=stride, padding=padding)


@st.composite
def _convolution(draw, rng, shape: Shape, groups: int) -> Convolution:
    rows, columns = draw(_window(shape[1])), draw(_window(shape[2]))
    kernel, stride, padding = zip(rows, columns, strict=True)
    out = groups * draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(1, 4))
    weight = _weights(rng, (out, shape[0] // groups, *kernel))
    return Convolution(weight=weight, stride=stride, padding=padding, groups=groups)


@st.composite
def _spiking(draw, rng, name: str, shape: Shape, any_potential: bool) -> IntegerSpiking:
    per_neuron = draw(st.booleans())
    value_shape = shape if per_neuron else (shape[0], 1, 1)
    threshold = rng.integers(1, draw(st.sampled_from([3, 300, 30_000])) + 1, value_shape)
    low, high = (-2 * threshold, 3 * threshold) if any_potential else (0 * threshold, threshold)
    bias_limit = draw(st.sampled_from([1, 200, 20_000]))
    return IntegerSpiking(
        name=name,
        shape=shape,
        timesteps=draw(st.integers(1, 6)),
        threshold=threshold,
        initial_potential=rng.integers(low, high),
        bias=rng.integers(-bias_limit, bias_limit + 1, (shape[0], 1, 1)),
    )


def _synapse(draw, source, target, maps, alignment) -> IntegerSynapse:
    exponent = draw(st.integers(0, 3))
    return IntegerSynapse.of_maps(
        source=source, target=target, maps=maps, exponent=exponent, alignment=alignment
    )


def _second_source(draw, populations, first, target_shape):
    """Another population to join in: any one of the target's own feature-map size, or none."""
    fitting = [p for p in populations if p is not first and (p.shape[1:] == target_shape[1:])]
    return draw(st.sampled_from([None, *fitting])) if fitting else None


def _adapter(draw, rng, shape: Shape, target_shape: Shape) -> tuple[LinearMap, ...]:
    """Identity where the channels agree, else a 1x1 convolution."""
    if shape == target_shape and draw(st.booleans()):
        return (Scale(weight=_weights(rng, (shape[0],))),)
    return (Convolution(weight=_weights(rng, (target_shape[0], shape[0], 1, 1))),)
