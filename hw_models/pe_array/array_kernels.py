"""An integer network as kernels over the array: one for each map of each synapse.

A kernel is a convolution. A dense layer is a 1x1 convolution over the flattened map; an identity and a sum
pool are depthwise. The synapses of a residual join are kernels one after another into the same partial
sums, and the node unit fires after the last of them. Of a synapse with several maps (pool, then
convolution) all but the last leave a map of sums that the next one reads as operands.

A *mode* is what the array is used as:

- ``snn_temporal``: T_l frames a kernel. With ``average`` alignment each frame is the whole count; with
  ``replicate`` and ``truncate`` it is the binary frame that the alignment selects.
- ``snn_bit_planes``: one frame a bit of the count (of the pixel), then T_l firing steps on one sum.
- ``ann_multiplier``: the quantized ANN that the network was trained as, one frame of whole operands.
- ``ann_bit_serial``: the same with AND gates, one frame a bit.

Only shapes are read from the network: weights may be arrays that take no memory (``np.broadcast_to``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from hw_models.pe_array.loop_nest import LoopNest
from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    has_constant_current,
)
from toolchain.integer_network.network import largest_source_value, step_frames
from toolchain.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Pair,
    Scale,
    Shape,
    SumPool,
)

Mode: TypeAlias = Literal["snn_temporal", "snn_bit_planes", "ann_multiplier", "ann_bit_serial"]
MODES: tuple[Mode, ...] = ("snn_temporal", "snn_bit_planes", "ann_multiplier", "ann_bit_serial")

Ending: TypeAlias = Literal["fires", "joins", "maps", "reads_out"]
"""What the sums become: spikes; sums for the next kernel of the join; operands of the next map; logits."""

LARGEST_WEIGHT = 128  # int8


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayKernel:
    """One kernel.

    Attributes:
        name: the synapse, and "(pool)" for a pool.
        map_index: position in the synapse's chain of maps.
        weight: shape ``(groups, C_o, C_i, K_h, K_w)``, channels per group.
        input_shape: feature map it reads (a dense layer reads the flattened map).
        selection: for each frame, the entry of its operands that it reads; None for a frame without any.
            The entries are the source's frames, the bits of a value, or the one count.
        operand_bits: width of one operand of an element.
        signed: operands are sums of an earlier weighted map, in two's complement.
        entry_bits: bits that one entry of a value takes where the map is stored.
        exponent: sums are shifted left by it.
        stored_bits: bits that a neuron's result takes where it is stored; 0 when it is a sum.
        stores_frames: they are its spikes one by one, not their count.
        output_bits: bits that the node unit writes at once: a spike, or the value of an ANN.
        requantizes: the node unit is the quantizer of an ANN.
        channel_parameters, neuron_parameters: words of bias, threshold and initial potential that the
            node unit takes per output channel, and per neuron.
    """

    name: str
    source: str
    target: str
    map_index: int
    nest: LoopNest
    weight: np.ndarray
    input_shape: Shape
    selection: tuple[int | None, ...]
    operand_bits: int
    signed: bool
    entry_bits: int
    exponent: int
    ending: Ending
    stored_bits: int
    stores_frames: bool
    output_bits: int
    requantizes: bool
    channel_parameters: int
    neuron_parameters: int

    def loaded_bits(self, frames: range) -> int:
        """Bits of one input value that a tile of frames needs."""
        entries = {self.selection[frame] for frame in frames} - {None}
        return len(entries) * self.entry_bits


@dataclass(frozen=True, kw_only=True)
class _Operands:
    """What a map reads: its entries, and how wide the value of one is."""

    num_entries: int
    value_bits: int
    largest: int  # of an entry
    signed: bool


def modes_of(network: IntegerNetwork) -> tuple[Mode, ...]:
    """The modes that compute a network's integers: all, or Algorithm 2 as printed alone."""
    return MODES if has_constant_current(network) else ("snn_temporal",)


def array_kernels(network: IntegerNetwork, mode: Mode) -> list[ArrayKernel]:
    """All kernels of a network in the order they run.

    Raises:
        UnsupportedNetworkError: the mode needs inputs that stay the same from step to step, and a synapse
            does not average.
    """
    if mode != "snn_temporal" and not has_constant_current(network):
        raise UnsupportedNetworkError(
            f"the PE array's mode {mode} needs 'average' alignment on every synapse; compile with "
            "--alignment average, or use snn_temporal"
        )
    return [
        kernel
        for population in network.populations
        for index, synapse in enumerate(network.incoming(population.name))
        for kernel in _synapse_kernels(network, synapse, index, mode)
    ]


def stored_bits(network: IntegerNetwork, name: str) -> int:
    """Bits a value of a population takes in memory.

    A count, formed as the node unit writes its spikes; the spikes themselves where a synapse needs them
    apart from each other.
    """
    population = network[name]
    if isinstance(population, IntegerInput):
        return population.max_value.bit_length()
    if stores_frames(network, name):
        return population.timesteps
    return population.timesteps.bit_length()


def stores_frames(network: IntegerNetwork, name: str) -> bool:
    """A synapse out of a spiking population selects frames."""
    return any(synapse.alignment != "average" for synapse in network.outgoing(name))


def _synapse_kernels(
    network: IntegerNetwork, synapse: IntegerSynapse, position: int, mode: Mode
) -> Iterator[ArrayKernel]:
    target = network[synapse.target]
    assert isinstance(target, IntegerSpiking | IntegerReadout)
    is_last_synapse = position == len(network.incoming(target.name)) - 1
    wanted = _wanted_entries(network, synapse, target.timesteps)
    distinct = sorted({entry for entry in wanted if entry is not None})
    largest = largest_source_value(network, synapse)
    entries = _Operands(
        num_entries=len(distinct), value_bits=largest.bit_length(), largest=largest, signed=False
    )
    entry_bits = entries.value_bits
    if synapse.alignment == "average":
        entry_bits = stored_bits(network, synapse.source)
    shape = network[synapse.source].shape
    for index, linear_map in enumerate(synapse.maps):
        is_last_map = index == len(synapse.maps) - 1
        weight, stride, padding = _as_convolution(linear_map, shape)
        reads = (prod(shape), 1, 1) if isinstance(linear_map, Dense) else shape
        out = linear_map.output_shape(shape)
        selection = tuple(wanted) if is_last_map else tuple(distinct)
        if index > 0:  # the map before has left one entry for each that is wanted, in order
            selection = tuple(None if e is None else distinct.index(e) for e in selection)
        selection, operand_bits = _in_mode(mode, selection, entries)
        result = _result_of(linear_map, weight, entries)
        ending: Ending = "maps"
        if is_last_map:
            ending = "joins"
            if is_last_synapse:
                ending = "fires" if isinstance(target, IntegerSpiking) else "reads_out"
        sum_frames = mode in ("snn_bit_planes", "ann_bit_serial")
        channel_parameters, neuron_parameters = (
            _parameters(target) if ending in ("fires", "reads_out") else (0, 0)
        )
        yield ArrayKernel(
            name=f"{synapse.source} -> {synapse.target}"
            + (" (pool)" if isinstance(linear_map, SumPool) else ""),
            source=synapse.source,
            target=synapse.target,
            map_index=index,
            nest=LoopNest(
                groups=weight.shape[0],
                output_channels=weight.shape[1],
                input_channels=weight.shape[2],
                rows=out[1],
                columns=out[2],
                kernel_size=(weight.shape[3], weight.shape[4]),
                stride=stride,
                padding=padding,
                input_size=reads[1:],
                frames=len(selection),
                sum_frames=sum_frames,
                node_steps=target.timesteps if mode.startswith("snn") else 1,
                adds_sums=is_last_map and position > 0,
                fires=ending == "fires",
                unit_weights=isinstance(linear_map, SumPool),
            ),
            weight=weight,
            input_shape=reads,
            selection=selection,
            operand_bits=operand_bits,
            signed=entries.signed,
            entry_bits=1 if sum_frames else entry_bits,
            exponent=synapse.exponent if is_last_map else 0,
            ending=ending,
            stored_bits={
                "fires": stored_bits(network, target.name),
                "joins": 0,
                "maps": result.value_bits * result.num_entries,
                "reads_out": 0,
            }[ending],
            stores_frames=ending == "fires" and stores_frames(network, target.name),
            output_bits=1 if mode.startswith("snn") else stored_bits(network, target.name),
            requantizes=ending == "fires" and not mode.startswith("snn"),
            channel_parameters=channel_parameters,
            neuron_parameters=neuron_parameters,
        )
        entries, entry_bits, shape = result, result.value_bits, out


def _wanted_entries(
    network: IntegerNetwork, synapse: IntegerSynapse, timesteps: int
) -> tuple[int | None, ...]:
    """Entry of the source's operands that each timestep reads; averaging leaves one for all."""
    if synapse.alignment == "average":
        return (0,) * timesteps
    return step_frames(network, synapse)


def _in_mode(
    mode: Mode, selection: tuple[int | None, ...], operands: _Operands
) -> tuple[tuple[int | None, ...], int]:
    """Frames of the kernel, and the bits of one operand."""
    match mode:
        case "snn_temporal":
            return selection, operands.value_bits
        case "ann_multiplier":
            return (0,), operands.value_bits
    return tuple(range(operands.value_bits)), 1


def _result_of(linear_map: LinearMap, weight: np.ndarray, operands: _Operands) -> _Operands:
    """What a next map would read; sums of weights need a sign."""
    fan_in = prod(weight.shape[2:])
    if isinstance(linear_map, SumPool):
        largest, signed = operands.largest * fan_in, operands.signed
    else:
        largest, signed = operands.largest * fan_in * LARGEST_WEIGHT, True
    return _Operands(
        num_entries=operands.num_entries,
        value_bits=largest.bit_length() + signed,
        largest=largest,
        signed=signed,
    )


def _parameters(population: IntegerSpiking | IntegerReadout) -> tuple[int, int]:
    """Words per output channel and per neuron that the node unit needs."""
    values = [population.bias]
    if isinstance(population, IntegerSpiking):
        values += [population.threshold, population.initial_potential]
    per_neuron = sum(value.size > population.shape[0] for value in values)
    return len(values) - per_neuron, per_neuron


def _as_convolution(linear_map: LinearMap, shape: Shape) -> tuple[np.ndarray, Pair, Pair]:
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
    raise AssertionError(f"no kernel for {linear_map}")
