"""The kernels of a network in the RTL, each compared with the Python model and the network's own integers.

Every kernel gets its inputs from a run of the network that is known to be right. So each kernel is checked
on its own, also if others are left out because the network is too large to simulate whole.

The RTL has no table of addresses. Where a kernel selects rows, columns or channels, its input memory holds
the selected map, and the RTL reads the zeros of that map that the model does not count as reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.closed_form import LoopCounters, array_cycles, count_loops
from hw_models.pe_array.loop_nest import Ending, LoopNest, tiling_of
from hw_models.pe_array.modes import Mode, snn_schedules
from hw_models.pe_array.operands import Activity, frame_operand, kernel_values, sums_of_entries
from hw_models.pe_array.rtl.driver.registers import KernelData, NeuronParameters
from hw_models.pe_array.rtl.driver.run import RtlKernelRun, memory_words_for, run_kernel
from hw_models.pe_array.rtl.driver.simulator import RtlArray, SimulatorName, compile_rtl
from toolchain.networks.integer_network import IntegerNetwork, IntegerReadout, IntegerSpiking

# smallest sizes, chosen so that one compilation serves most networks
LEAST_OPERAND_BITS = 8
LEAST_MEMORY_WORDS = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelInNetwork:
    """A kernel with the integers of one sample.

    Attributes:
        data: inputs of the RTL.
        sums: expected sums, earlier sums and bias included, int64 ``(frames or 1, C_o, H_o, W_o)``.
        spikes: expected spikes, bool ``(T_l, C_o, H_o, W_o)``; None if the kernel does not fire, or if the
            spikes are not known.
        counters: counters of the Python model, for an input map in memory as the kernel reads it.
    """

    mode: Mode
    kernel: ArrayKernel
    data: KernelData
    sums: np.ndarray
    spikes: np.ndarray | None
    counters: LoopCounters

    def __str__(self) -> str:
        return f"{self.mode}, {self.kernel.name}"


@dataclass(frozen=True, kw_only=True)
class RtlVerification:
    """Result of a verification.

    Attributes:
        cycles: cycles of all kernels that were simulated, each from start to done.
        left_out: kernels over the limit, with the cycles that each would take.
        max_pools: names of the kernels that the RTL cannot run, as it has no comparators.
        difference: the first difference found, or None.
    """

    simulator: SimulatorName
    num_kernels: int
    cycles: int
    left_out: Mapping[str, int]
    max_pools: tuple[str, ...]
    difference: str | None


def network_kernels(
    network: IntegerNetwork,
    array: PeArray,
    mode: Mode,
    activity: Activity,
    wanted: Collection[int] | None = None,
) -> Iterator[KernelInNetwork]:
    """The kernels of a network with the integers of one sample.

    Max pools are left out, as the RTL has no comparators.

    Args:
        mode: a spiking mode.
        activity: of one sample. Counts and trains are read when a kernel needs them, so a caller may add
            them kernel by kernel. Without its train, a population has no expected spikes.
        wanted: positions in the order of ``array_kernels``; None for all.
    """
    assert mode.is_spiking
    kernels = array_kernels(network, mode)
    if wanted is None:
        wanted = range(len(kernels))
    joining = {kernels[position].target for position in wanted if kernels[position].nest.adds_sums}
    joined: np.ndarray | None = None
    for position, (kernel, values) in enumerate(kernel_values(network, mode, activity)):
        target = network[kernel.target]
        assert isinstance(target, IntegerSpiking | IntegerReadout)
        if kernel.nest.takes_maximum:
            continue
        if position not in wanted and not (
            kernel.nest.ending is Ending.JOINS and target.name in joining
        ):
            continue
        earlier = joined if kernel.nest.adds_sums else None
        sums = _frame_sums(kernel, values) << kernel.exponent
        total = sums if earlier is None else sums + earlier
        if kernel.nest.ending is Ending.JOINS:  # a map of the next source may come before its sums
            joined = total
        if position not in wanted:
            continue
        parameters = _parameters(target, kernel) if kernel.nest.ends_population else None
        spikes = activity.trains.get(target.name) if kernel.nest.fires else None
        yield KernelInNetwork(
            mode=mode,
            kernel=kernel,
            data=KernelData(
                weight=kernel.weight,
                operands=_operands(kernel, values),
                exponent=kernel.exponent,
                signed=kernel.reads.is_signed,
                earlier_sums=earlier,
                parameters=parameters,
            ),
            sums=total if parameters is None else total + parameters.bias,
            spikes=None if spikes is None else spikes[0][:, kernel.target_channels].astype(bool),
            counters=count_loops(_as_read(kernel.nest), array.unrolling, array.dataflow),
        )


def _as_read(nest: LoopNest) -> LoopNest:
    """The loops over the map that a kernel slides over; the RTL has it in memory, with its zeros."""
    return replace(nest, addresses=(None, None))


def verify_in_rtl(
    network: IntegerNetwork,
    array: PeArray,
    activity: Activity,
    *,
    simulator: SimulatorName,
    cycle_limit: int,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> RtlVerification:
    """Simulate the kernels of one sample under every schedule that the network allows.

    Args:
        activity: of one sample, from a run that is known to be right.
        cycle_limit: total of cycles to simulate; the shortest kernels come first.

    Raises:
        RtlError: the simulator is missing or fails, or a value does not fit the array's words.
        UnsupportedNetworkError: the array has no kernel for a map of the network.
    """
    wanted, left_out = _within_limit(network, array, cycle_limit)
    progress("RTL: computing the inputs of each kernel")
    kernels = [
        one
        for mode, positions in wanted.items()
        for one in network_kernels(network, array, mode, activity, positions)
    ]
    difference = _first_in_rtl(kernels, array, simulator, cache, progress) if kernels else None
    return RtlVerification(
        simulator=simulator,
        num_kernels=len(kernels),
        cycles=sum(
            array_cycles(one.kernel.nest, array.unrolling, array.dataflow) for one in kernels
        ),
        left_out=left_out,
        max_pools=_max_pools(network),
        difference=difference,
    )


def _max_pools(network: IntegerNetwork) -> tuple[str, ...]:
    kernels = array_kernels(network, snn_schedules(network)[0])
    return tuple(kernel.name for kernel in kernels if kernel.nest.takes_maximum)


def _within_limit(
    network: IntegerNetwork, array: PeArray, cycle_limit: int
) -> tuple[dict[Mode, set[int]], dict[str, int]]:
    """Positions of the kernels to simulate under each schedule, and the cycles of the others by name."""
    modes = snn_schedules(network)
    every = [
        (array_cycles(kernel.nest, array.unrolling, array.dataflow), mode, position, kernel.name)
        for mode in modes
        for position, kernel in enumerate(array_kernels(network, mode))
        if not kernel.nest.takes_maximum
    ]
    wanted: dict[Mode, set[int]] = {mode: set() for mode in modes}
    left_out: dict[str, int] = {}
    total = 0
    for cycles, mode, position, name in sorted(every, key=lambda entry: entry[0]):
        total += cycles
        if total > cycle_limit:
            left_out[f"{mode}, {name}"] = cycles
        else:
            wanted[mode].add(position)
    return wanted, left_out


def _first_in_rtl(
    kernels: Sequence[KernelInNetwork],
    array: PeArray,
    simulator: SimulatorName,
    cache: Path | None,
    progress: Callable[[str], None],
) -> str | None:
    """The first difference of any kernel, or None."""
    progress(f"RTL: compiling with {simulator}")
    compiled = compile_rtl(rtl_array_for(kernels, array), simulator, cache=cache)
    for done, one in enumerate(kernels):
        progress(f"RTL: {one} ({done + 1} of {len(kernels)} kernels)")
        run = run_kernel(compiled, one.kernel.nest, array.dataflow, one.data)
        if (difference := kernel_difference(one, run, array)) is not None:
            return f"{one}: {difference}"
    return None


def rtl_array_for(kernels: Sequence[KernelInNetwork], array: PeArray) -> RtlArray:
    """Parameters of an RTL array whose operands and memories are large enough for every kernel."""
    signed = any(one.data.operands.min(initial=0) < 0 for one in kernels)
    operand_bits = max(_operand_bits(one.data.operands, signed) for one in kernels)
    words = LEAST_MEMORY_WORDS
    for one in kernels:
        tiling = tiling_of(one.kernel.nest, array.unrolling, array.dataflow)
        while words < memory_words_for(tiling, len(one.data.operands)):
            words *= 2
    return RtlArray(
        unrolling=array.unrolling,
        operand_bits=max(operand_bits, LEAST_OPERAND_BITS),
        signed_operands=signed,
        weight_bits=array.weight_bits,
        sum_bits=max(array.sum_bits, array.potential_bits),
        memory_words=words,
    )


def kernel_difference(expected: KernelInNetwork, run: RtlKernelRun, array: PeArray) -> str | None:
    """The first counter or integer of a run that differs from the expected one, or None."""
    nest = expected.kernel.nest
    cycles = array_cycles(nest, array.unrolling, array.dataflow)
    if run.counters.total_cycles != cycles:
        return f"{run.counters.total_cycles:,} cycles in the RTL, {cycles:,} in the model"
    for name in PORT_COUNTERS:
        found, counted = getattr(run.counters, name), getattr(expected.counters, name)
        if found != counted:
            return f"{name} is {found:,} in the RTL, {counted:,} in the model"
    if expected.spikes is not None:
        assert run.spikes is not None
        return _first_difference(
            "spike at (step, channel, row, column)", run.spikes, expected.spikes
        )
    assert run.sums is not None
    return _first_difference("sum at (frame, channel, row, column)", run.sums, expected.sums)


PORT_COUNTERS = (
    "weight_reads",
    "input_reads",
    "psum_reads",
    "psum_writes",
    "membrane_reads",
    "membrane_writes",
    "output_writes",
)
"""Counters that both the RTL's testbench and the Python model have."""


def _first_difference(title: str, found: np.ndarray, expected: np.ndarray) -> str | None:
    different = np.argwhere(found != expected)
    if not len(different):
        return None
    at = tuple(int(index) for index in different[0])
    return f"{title} = {at} is {int(found[at]):,} in the RTL, must be {int(expected[at]):,}"


def _frame_sums(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """Sums of each frame of a kernel on one sample, or the single sum of all bit planes."""
    by_entry = sums_of_entries(kernel, values)[0]
    if kernel.nest.sum_frames:
        return by_entry[:1]
    nothing = np.zeros_like(by_entry[0])
    return np.stack(
        [nothing if entry is None else by_entry[entry] for entry in kernel.reads.selection]
    )


def _operands(kernel: ArrayKernel, values: np.ndarray) -> np.ndarray:
    """The operands of each frame, or of one frame if all frames read the same."""
    selection = kernel.reads.selection
    if len(set(selection)) == 1:
        selection = selection[:1]
    return np.stack([frame_operand(kernel, values, entry)[0] for entry in selection])


def _operand_bits(operands: np.ndarray, signed: bool) -> int:
    low, high = int(operands.min(initial=0)), int(operands.max(initial=1))
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + signed


def _parameters(target: IntegerSpiking | IntegerReadout, kernel: ArrayKernel) -> NeuronParameters:
    """Parameters of the channels that a kernel computes; a readout has a bias alone."""

    def of_channels(parameter: np.ndarray) -> np.ndarray:
        shape = (target.shape[0], *parameter.shape[1:])
        return np.broadcast_to(parameter, shape)[kernel.target_channels]

    bias = of_channels(target.bias)
    if isinstance(target, IntegerReadout):
        zeros = np.zeros((len(bias), 1, 1), np.int64)
        return NeuronParameters(bias=bias, threshold=zeros, initial_potential=zeros)
    return NeuronParameters(
        bias=bias,
        threshold=of_channels(target.threshold),
        initial_potential=of_channels(target.initial_potential),
    )
