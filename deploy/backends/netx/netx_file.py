"""The integer network as a lava-dl NetX file: HDF5, one group per layer, read by ``netx.hdf5.Network``.

lava-dl 0.6.0 reads a chain of input, conv, flatten and dense layers (its pool, average and concat
raise ``NotImplementedError``), each with one threshold and the neuron (current u, potential v)::

    u = W s + u (1 - iDecay / 4096);  v = u + bias + v (1 - vDecay / 4096);  if v > vThMant: spike, v = 0

all in steps of the weights. If a population and its source run one timestep, a neuron decides once per
sample whether ``V0 + 2^x W N + B >= Theta``, that is ``W N >= q`` with ``q = ceil((Theta - V0 - B) / 2^x)``.
NetX can express that exactly, even with a threshold per neuron: ``vDecay = 4096`` forgets the previous
sample, and ``bias = vThMant + 1 - q``. Other populations are written as they are, with a list of losses.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import h5py
import numpy as np
from typing_extensions import assert_never

from deploy.backends.merged_maps import merged_convolution, merged_matrix
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import Interval, synapse_interval
from toolchain.networks.linear_maps import Shape

LAVA_DL_VERSION = "0.6.0"  # its reader defines the format

_MAX_THRESHOLD = (1 << 17) - 1  # lava-nc, PyLifModelBitAcc: vth of 17 bits, shifted by 6
_MAX_BIAS = (1 << 12) - 1  # signed 13-bit bias mantissa; NetX sets its exponent to the same 6
_MAX_STATE = (1 << 17) - 1  # 24-bit u and v hold weights shifted by 6
_WEIGHTS = (-256, 254)  # lava-dl, optimize_weight_bits: clipped beyond
_NO_DECAY, _FULL_DECAY = 0, 4096


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One group of the file.

    Attributes:
        kind: ``input``, ``conv``, ``flatten`` or ``dense``.
        shape: (channels, rows, columns), or (features,).
        fields: further data sets by name.
    """

    kind: str
    shape: tuple[int, ...]
    fields: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class NetxExport:
    """Layers in order, what lava-dl ignores, and an argument for reading the file.

    Attributes:
        input_message_bits: argument of ``netx.hdf5.Network``: bits of a pixel, sent as a graded spike.
    """

    layers: list[NetxLayer]
    losses: list[str]
    input_message_bits: int


def to_netx(network: IntegerNetwork) -> NetxExport:
    """The layers of a network without joins.

    Raises:
        UnsupportedNetworkError: NetX cannot express it; the message has the population or synapse, and a
            remedy.
    """
    _require_chain(network)
    image = network.input
    layers = [NetxLayer("input", image.shape, {})]
    for population in network.populations[1:]:
        (synapse,) = network.incoming(population.name)
        neuron = _neuron_fields(network, population, synapse)
        layers += _layers(network, population, synapse, neuron)
    return NetxExport(layers, list(_losses(network)), image.max_value.bit_length())


def write_netx(path: Path, layers: list[NetxLayer]) -> None:
    """Write a NetX file; the same layers give the same bytes."""
    content = io.BytesIO()  # the HDF5 library may crash where it cannot write, as on a full disk
    with h5py.File(content, "w", track_order=False) as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            group["type"] = np.array([layer.kind.encode("ascii")], dtype="S10")
            group["shape"] = np.array(layer.shape)
            for name, values in layer.fields.items():
                group[name] = values
    path.write_bytes(content.getvalue())


def _require_chain(network: IntegerNetwork) -> None:
    for population in network.populations:
        sources = [s.source for s in network.incoming(population.name)]
        if len(sources) > 1:
            raise UnsupportedNetworkError(
                f"{population.name}: synapses from {' and '.join(sources)} join here, but a NetX file is a "
                f"chain of layers; use --format nir, or a network without joins such as vgg-9"
            )


def _layers(
    network: IntegerNetwork,
    population: IntegerPopulation,
    synapse: IntegerSynapse,
    neuron: dict[str, np.ndarray],
) -> Iterator[NetxLayer]:
    """The layer of a population; a flatten layer first, if it is dense and reads a feature map."""
    source = network[synapse.source].shape
    if _is_flat(population.shape):
        weight = merged_matrix(synapse, source)
        _check_weights(synapse, weight)
        if not weight.any():  # lava-dl divides by the largest weight
            raise UnsupportedNetworkError(
                f"{synapse}: all weights are 0, which lava-dl {LAVA_DL_VERSION} cannot read; train it again"
            )
        if not _is_flat(source):
            yield NetxLayer("flatten", (prod(source),), {})
        features = {"inFeatures": np.array(prod(source)), "outFeatures": np.array(len(weight))}
        yield NetxLayer("dense", (len(weight),), {"weight": weight, **features, **neuron})
        return
    if _is_flat(source) and not isinstance(network[synapse.source], IntegerInput):
        raise UnsupportedNetworkError(
            f"{synapse}: spreads one pixel over a feature map, but no NetX layer does so; use a dense layer "
            f"or --format nir"
        )
    convolution = merged_convolution(synapse, source)
    _check_weights(synapse, convolution.weight)
    yield NetxLayer(
        "conv",
        population.shape,
        {
            # lava-dl's kernels have a third, temporal axis
            "weight": convolution.weight[..., None],
            "inChannels": np.array(source[0]),
            "outChannels": np.array(population.shape[0]),
            "kernelSize": np.array(convolution.kernel),
            "stride": np.array(convolution.stride),
            "padding": np.array(convolution.padding),
            "dilation": np.array((1, 1)),
            "groups": np.array(convolution.groups),
            **neuron,
        },
    )


def _is_flat(shape: Shape) -> bool:
    return shape[1:] == (1, 1)


def _check_weights(synapse: IntegerSynapse, weight: np.ndarray) -> None:
    low, high = _WEIGHTS
    if weight.min() < low or weight.max() > high:
        raise UnsupportedNetworkError(
            f"{synapse}: weights from {weight.min()} to {weight.max()} once its pools are merged into them, "
            f"beyond NetX's {low} to {high}; use pools whose windows do not overlap, before the weights"
        )


def _neuron_fields(
    network: IntegerNetwork, population: IntegerPopulation, synapse: IntegerSynapse
) -> dict[str, np.ndarray]:
    """Bias and neuron parameters, in steps of the weights."""
    once = _decides_once(network, population)
    step = 1 << synapse.exponent
    match population:
        case IntegerReadout():  # v is the logit; at the highest threshold it does not spike
            threshold, bias = _MAX_THRESHOLD, _nearest(population.bias, step)
        case IntegerSpiking() if once:
            threshold, bias = _single_decision(population, step, synapse_interval(network, synapse))
        case IntegerSpiking():
            threshold, bias = _literal(population, step), _nearest(population.bias, step)
        case IntegerInput():
            raise AssertionError("no synapse ends at the input")
        case _:
            assert_never(population)
    if np.abs(bias).max() > _MAX_BIAS:
        raise UnsupportedNetworkError(
            f"{population.name}: bias {int(np.abs(bias).max()):,}, in steps of its weights, exceeds NetX's "
            f"13 bits ({_MAX_BIAS:,}); compile with --thresholds 1 or with fewer --weight-bits"
        )
    return {
        "bias": _in_netx_order(bias, population.shape),
        "neuron/type": np.array([b"CUBA"], dtype="S10"),
        "neuron/iDecay": np.array(_FULL_DECAY),
        "neuron/vDecay": np.array(_FULL_DECAY if once else _NO_DECAY),
        "neuron/vThMant": np.array(threshold),
        "neuron/refDelay": np.array(1),
        "neuron/gradedSpike": np.array(False),
    }


def _decides_once(network: IntegerNetwork, population: IntegerPopulation) -> bool:
    """Whether each sample is one arriving frame and one step that uses it."""
    sources = [network[s.source] for s in network.incoming(population.name)]
    return population.timesteps == 1 and all(source.timesteps == 1 for source in sources)


def _single_decision(
    population: IntegerSpiking, step: int, reachable: Interval
) -> tuple[int, np.ndarray]:
    """vThMant, and biases for which ``W N + bias > vThMant`` exactly if the neuron spikes.

    For a neuron that spikes always or never, q is the nearest end of the reachable interval.
    """
    least = -((population.initial_potential + population.bias - population.threshold) // step)
    low, high = (bound.reshape(-1, 1, 1) for bound in (reachable.low, reachable.high + 1))
    least = np.clip(least, low, high)
    middle = (int(least.min()) + int(least.max())) // 2
    threshold = min(max(middle - 1, 0), _MAX_THRESHOLD)
    return threshold, threshold + 1 - least


def _literal(population: IntegerSpiking, step: int) -> int:
    """vThMant of the population's own threshold; ``v > vThMant`` is ``v >= vThMant + 1``."""
    different = np.unique(population.threshold)
    if len(different) > 1:
        raise UnsupportedNetworkError(
            f"{population.name}: {len(different)} different thresholds ({different[0]:,} to "
            f"{different[-1]:,}), but a NetX layer of several timesteps has one; compile with "
            f"--thresholds 1, or with --max-timesteps 1, which NetX can express exactly"
        )
    threshold = -(-int(different[0]) // step) - 1
    if threshold > _MAX_THRESHOLD:
        raise UnsupportedNetworkError(
            f"{population.name}: threshold {threshold + 1:,}, in steps of its weights, exceeds NetX's 17 "
            f"bits ({_MAX_THRESHOLD:,}); train with a smaller threshold, or use fewer timesteps"
        )
    return threshold


def _nearest(values: np.ndarray, step: int) -> np.ndarray:
    return (values + step // 2) // step


def _in_netx_order(bias: np.ndarray, shape: Shape) -> np.ndarray:
    """One per channel, or one per neuron as (columns, rows, channels), lava-dl's order."""
    if bias.shape[1:] == (1, 1):
        return np.broadcast_to(bias.reshape(-1), shape[0])
    return np.broadcast_to(bias, shape).transpose(2, 1, 0)


def _losses(network: IntegerNetwork) -> Iterator[str]:
    """What the file omits or approximates."""
    several = [
        p
        for p in network.populations
        if isinstance(p, IntegerSpiking) and not _decides_once(network, p)
    ]
    if several:
        names, steps = _listed(several), sorted({p.timesteps for p in several})
        yield f"soft reset of {names}: NetX's neurons are set to 0 when they spike"
        if any(p.initial_potential.any() for p in several):
            yield f"initial potentials of {names}: NetX's neurons start at 0"
        yield (
            f"firing windows of {names}: {', '.join(map(str, steps))} timesteps here; NetX has no windows: "
            f"present each image that long and use reset_interval"
        )
    if waiting := [s for s in network.synapses if _waits(network, s)]:
        edges = ", ".join(f"{s.source} -> {s.target}" for s in waiting)
        yield (
            f"alignment of {edges}: NetX passes each frame on at once; to avoid the loss, compile with "
            f"--alignment replicate and one T for all"
        )
    yield from _rounding(network, several)
    for synapse in network.synapses:
        current = synapse_interval(network, synapse).magnitude
        if current > _MAX_STATE:
            yield (
                f"range of {synapse.target}: its input is bounded by {current:,} steps of its weights, "
                f"beyond the {_MAX_STATE:,} at which NetX's 24 bits wrap around"
            )


def _waits(network: IntegerNetwork, synapse: IntegerSynapse) -> bool:
    """Whether a target's step needs more than the frame that has just arrived."""
    if isinstance(network[synapse.source], IntegerInput):
        return False
    frames = network[synapse.source].timesteps, network[synapse.target].timesteps
    return frames != (1, 1) and (synapse.alignment == "average" or frames[0] != frames[1])


def _rounding(network: IntegerNetwork, several: list[IntegerSpiking]) -> Iterator[str]:
    """Thresholds and biases that are not multiples of the weights' step."""
    steps = {s.target: 1 << s.exponent for s in network.synapses}
    if rounded := [p for p in several if (p.threshold % steps[p.name]).any()]:
        yield f"thresholds of {_listed(rounded)}: rounded up to whole steps of their weights"
    written: list[IntegerSpiking | IntegerReadout] = [*several, network.readout]
    if biased := [p for p in written if (p.bias % steps[p.name]).any()]:
        yield f"biases of {_listed(biased)}: rounded to whole steps of their weights"


def _listed(populations: Iterable[IntegerPopulation]) -> str:
    return ", ".join(p.name for p in populations)
