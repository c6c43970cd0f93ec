"""An integer network as kernels of the array: one kernel for each map of each synapse that adds up.

A kernel is a convolution. A dense layer is a 1x1 convolution over the flattened map; an identity and a sum
pool are depthwise. Maps that only select values are addresses of a kernel, see ``address_maps.py``. The
synapses of a residual join are kernels that add to the same partial sums one after another, and the node
unit fires after the last one. In a synapse with several maps (a pool, then a convolution), every map but
the last leaves a map of sums, which the next one reads as operands.

Only shapes are read from the network, so weights may be arrays that take no memory (``np.broadcast_to``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.address_maps import AddressedMap
from hw_models.pe_array.kernel_stages import Stage, StagedSynapse, population_parts
from hw_models.pe_array.loop_nest import Ending, LoopNest
from hw_models.pe_array.maximum_pools import replaced_populations
from hw_models.pe_array.modes import Frames, Mode
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.network import largest_source_value, step_frames
from toolchain.networks.linear_maps import Shape

LARGEST_WEIGHT = 128  # int8


@dataclass(frozen=True, kw_only=True)
class Operand:
    """The operands of a kernel.

    Attributes:
        shape: the map that the kernel slides over, ``(C, H, W)``; a dense layer reads a flattened map.
        selection: the entry of the map that each frame reads, or None if the frame reads zeros. Entries
            are the source's frames, the bits of a value, or the single count.
        bits: width of one operand.
        entry_bits: bits that one entry of a value takes in memory.
        is_signed: operands are sums of an earlier weighted map, in two's complement.
    """

    shape: Shape
    selection: tuple[int | None, ...]
    bits: int
    entry_bits: int
    is_signed: bool

    def loaded_bits(self, frames: range) -> int:
        """Bits of one value that a tile of frames needs."""
        entries = {self.selection[frame] for frame in frames} - {None}
        return len(entries) * self.entry_bits


@dataclass(frozen=True, kw_only=True)
class Result:
    """Widths of the result of one neuron; ``LoopNest.ending`` says what the result is.

    Attributes:
        stored_bits: bits that it takes in memory; 0 for sums of a join and logits.
        stores_frames: whether each spike is stored, rather than their count.
        written_bits: bits that the node unit writes at once: a spike, or the value of an ANN.
    """

    stored_bits: int
    stores_frames: bool
    written_bits: int


@dataclass(frozen=True, kw_only=True)
class NodeParameters:
    """How many of bias, threshold and initial potential the node unit reads.

    Attributes:
        per_channel: number of words per output channel.
        per_neuron: number of words per neuron.
    """

    per_channel: int = 0
    per_neuron: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayKernel:
    """One linear map of one synapse, as the array runs it.

    Attributes:
        name: the synapse, followed by "(pool)" for sums without weights and "(max pool)" for comparators.
        stage_index: position among the synapse's kernels.
        stored: shape of the map in memory that it reads, flattened for a dense layer.
        source_channels: stored channel of each channel that it reads, -1 for zeros.
        target_channels: channel of the target, or of the map between, of each channel that it computes.
        weight: shape ``(groups, C_o, C_i, K_h, K_w)``, channels per group.
        exponent: number of bits that sums are shifted left.
    """

    name: str
    source: str
    target: str
    stage_index: int
    stored: Shape
    source_channels: np.ndarray
    target_channels: np.ndarray
    nest: LoopNest
    weight: np.ndarray
    exponent: int
    reads: Operand
    leaves: Result
    parameters: NodeParameters

    @property
    def cost_key(self) -> Hashable:
        """All that cycles, traffic and energy depend on: kernels with the same key cost the same."""
        return self.nest, self.reads, self.leaves, self.parameters


def array_kernels(
    network: IntegerNetwork, mode: Mode, *, with_replaced: bool = False
) -> list[ArrayKernel]:
    """All kernels of a network in the order in which they run.

    Args:
        with_replaced: also the kernels into populations that the array does not run, because comparators
            take the maxima that they are part of. Their counts are then known, too.

    Raises:
        UnsupportedNetworkError: the mode needs the same input in every step, and a synapse does not average.
    """
    if mode.needs_averaging and not network.has_constant_current:
        raise UnsupportedNetworkError(
            f"the PE array's mode {mode} needs 'average' alignment on every synapse; compile with "
            "--alignment average, or use snn_temporal"
        )
    replaced = set() if with_replaced else replaced_populations(network)
    return [
        kernel
        for population in network.populations
        if not isinstance(population, IntegerInput) and population.name not in replaced
        for part in population_parts(network, population.name)
        for position, synapse in enumerate(part)
        for kernel in _synapse_kernels(network, synapse, mode, position, len(part))
    ]


def stored_bits(network: IntegerNetwork, name: str) -> int:
    """Bits that a value of a population takes in memory: its count, or its spikes if a synapse reads them."""
    population = network[name]
    if isinstance(population, IntegerInput):
        return population.max_value.bit_length()
    if stores_frames(network, name):
        return population.timesteps
    return population.timesteps.bit_length()


def stores_frames(network: IntegerNetwork, name: str) -> bool:
    """Whether a synapse out of a spiking population reads its single spikes."""
    return any(synapse.alignment != "average" for synapse in network.outgoing(name))


@dataclass(frozen=True, kw_only=True)
class _Values:
    """The values of a feature map between two maps of a synapse.

    Attributes:
        num_entries: values per neuron: one for each frame of the source that is used, or the single count.
        largest: upper bound of the magnitude of an entry.
        entry_bits: bits that an entry takes in memory.
    """

    num_entries: int
    largest: int
    is_signed: bool
    entry_bits: int

    @property
    def bits(self) -> int:
        return self.largest.bit_length() + self.is_signed


def _synapse_kernels(
    network: IntegerNetwork, staged: StagedSynapse, mode: Mode, position: int, num_synapses: int
) -> Iterator[ArrayKernel]:
    """The kernels of one synapse.

    Args:
        position: position of the synapse among those of its part of the target.
        num_synapses: number of synapses of that part.
    """
    synapse, stages = staged.synapse, staged.stages
    target = network[synapse.target]
    assert isinstance(target, IntegerSpiking | IntegerReadout)
    wanted = _wanted_entries(network, synapse, target.timesteps)
    distinct = sorted({entry for entry in wanted if entry is not None})
    values = _source_values(network, synapse, len(distinct))
    for index, stage in enumerate(stages):
        is_last, mapped = index == len(stages) - 1, stage.mapped
        selection = tuple(wanted) if is_last else tuple(distinct)
        if index > 0:  # the previous map has left one entry for each distinct one, in order
            selection = tuple(None if e is None else distinct.index(e) for e in selection)
        ending = Ending.MAPS
        if is_last:
            ending = _ending(target, mode) if position == num_synapses - 1 else Ending.JOINS
        # comparators take whole counts in every mode
        frames = Frames.WHOLE_VALUE if stage.takes_maximum else mode.frames
        reads = _operand(mapped, values, selection, frames)
        sums = values if stage.takes_maximum else _map_of_sums(stage, values)
        weight = mapped.weight
        nest = LoopNest(
            groups=weight.shape[0],
            output_channels=weight.shape[1],
            input_channels=weight.shape[2],
            rows=mapped.size[0],
            columns=mapped.size[1],
            kernel_size=(weight.shape[3], weight.shape[4]),
            stride=mapped.stride,
            padding=mapped.padding,
            dilation=mapped.dilation,
            input_size=mapped.input_size,
            addresses=mapped.addresses,
            frames=len(reads.selection),
            sum_frames=frames is Frames.BIT_PLANES,
            node_steps=target.timesteps if mode.is_spiking else 1,
            adds_sums=is_last and position > 0,
            ending=ending,
            unit_weights=not stage.has_weights,
            takes_maximum=stage.takes_maximum,
        )
        yield ArrayKernel(
            name=f"{synapse.source} -> {synapse.target}{_label(stage)}",
            source=synapse.source,
            target=synapse.target,
            stage_index=index,
            stored=stage.stored,
            source_channels=mapped.channels,
            target_channels=mapped.targets,
            nest=nest,
            weight=weight,
            exponent=synapse.exponent if is_last else 0,
            reads=reads,
            leaves=_result(network, target, sums, ending, mode),
            parameters=_parameters(target) if nest.ends_population else NodeParameters(),
        )
        values = sums


def _label(stage: Stage) -> str:
    if stage.takes_maximum:
        return " (max pool)"
    return "" if stage.has_weights else " (pool)"


def _wanted_entries(
    network: IntegerNetwork, synapse: IntegerSynapse, timesteps: int
) -> tuple[int | None, ...]:
    """Entry of the source's values that each timestep reads; with averaging all read the same one."""
    if synapse.alignment == "average":
        return (0,) * timesteps
    return step_frames(network, synapse)


def _source_values(network: IntegerNetwork, synapse: IntegerSynapse, num_entries: int) -> _Values:
    """The values of a synapse's source, which its first map reads."""
    largest = largest_source_value(network, synapse)
    averages = synapse.alignment == "average"
    return _Values(
        num_entries=num_entries,
        largest=largest,
        is_signed=False,
        entry_bits=stored_bits(network, synapse.source) if averages else largest.bit_length(),
    )


def _map_of_sums(stage: Stage, values: _Values) -> _Values:
    """The sums that a map leaves, as the next map reads them; sums of weights are signed."""
    largest, is_signed = values.largest * stage.mapped.fan_in, values.is_signed
    if stage.has_weights:
        largest, is_signed = largest * LARGEST_WEIGHT, True
    return _Values(
        num_entries=values.num_entries,
        largest=largest,
        is_signed=is_signed,
        entry_bits=largest.bit_length() + is_signed,
    )


def _ending(target: IntegerSpiking | IntegerReadout, mode: Mode) -> Ending:
    """What the sums of all synapses become."""
    match target:
        case IntegerSpiking():
            return Ending.FIRES if mode.is_spiking else Ending.QUANTIZES
        case IntegerReadout():
            return Ending.READS_OUT
        case _:
            assert_never(target)


def _operand(
    mapped: AddressedMap, values: _Values, selection: tuple[int | None, ...], frames: Frames
) -> Operand:
    """The operands of a map, as frames."""
    bits, entry_bits = values.bits, values.entry_bits
    match frames:
        case Frames.TIMESTEPS:
            pass
        case Frames.WHOLE_VALUE:
            selection = (0,)
        case Frames.BIT_PLANES:
            selection, bits, entry_bits = tuple(range(bits)), 1, 1
        case _:
            assert_never(frames)
    return Operand(
        shape=(len(mapped.channels), *mapped.input_size),
        selection=selection,
        bits=bits,
        entry_bits=entry_bits,
        is_signed=values.is_signed,
    )


def _result(
    network: IntegerNetwork,
    target: IntegerSpiking | IntegerReadout,
    sums: _Values,
    ending: Ending,
    mode: Mode,
) -> Result:
    target_bits, frames = stored_bits(network, target.name), False
    match ending:
        case Ending.FIRES | Ending.QUANTIZES:
            stored, frames = target_bits, stores_frames(network, target.name)
        case Ending.MAPS:
            stored = sums.bits * sums.num_entries
        case Ending.JOINS | Ending.READS_OUT:
            stored = 0
        case _:
            assert_never(ending)
    return Result(
        stored_bits=stored,
        stores_frames=frames,
        written_bits=1 if mode.is_spiking else target_bits,
    )


def _parameters(population: IntegerSpiking | IntegerReadout) -> NodeParameters:
    values = [population.bias]
    if isinstance(population, IntegerSpiking):
        values += [population.threshold, population.initial_potential]
    per_neuron = sum(value.size > population.shape[0] for value in values)
    return NodeParameters(per_channel=len(values) - per_neuron, per_neuron=per_neuron)
