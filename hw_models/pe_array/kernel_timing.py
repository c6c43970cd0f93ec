"""Cycles of one kernel with its memories, in closed form over row tiles.

``tests/oracles/timing_trace.py`` checks it by stepping through every clock cycle.

Three things can make the array wait:

- a *port*: an iteration of the innermost loop that needs more bytes than the weight or the input port moves
  per cycle takes as many cycles as the slower port;
- the *output stage*: partial sums have two banks. While the array accumulates one group, the node unit fires
  on the previous one, and its ports move potentials, sums and spikes. A group begins when both are done;
- *off chip*: during a row tile, the bus stores the results of the previous row tile and loads the operands
  of the next one. The time that is left goes to the weights of the next phase. A row tile or phase lasts
  until its transfers are done; meanwhile the array waits for the operand on the bus. While a memory that is
  not double-buffered moves a tile, the array stands still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import OperandName, buffer_of, plan_buffers
from hw_models.pe_array.closed_form import PIPELINE_CYCLES
from hw_models.pe_array.group_times import Iterations, group_times
from hw_models.pe_array.tile_transfers import (
    OPERANDS,
    PHASE_OPERANDS,
    TileTransfers,
    tile_transfers,
)


@dataclass(frozen=True, kw_only=True)
class KernelTiming:
    """Cycles and off-chip traffic of a kernel.

    Attributes:
        cycles: iterations of the innermost loop.
        on_chip_stalls: cycles by what the array waits for: the weight or input port, or in the output
            stage the node unit or the psum, membrane or output port.
        off_chip_stalls: cycles by the operand that is on the bus.
        fill_cycles: cycles until the first tiles have arrived.
        drain_cycles: cycles from the last iteration until the last result is off chip.
        loaded_bytes, stored_bytes: off-chip traffic by operand.
    """

    cycles: int
    on_chip_stalls: Mapping[str, int]
    off_chip_stalls: Mapping[str, int]
    fill_cycles: int
    drain_cycles: int
    loaded_bytes: Mapping[OperandName, int]
    stored_bytes: Mapping[OperandName, int]

    @property
    def stall_cycles(self) -> int:
        return sum(self.on_chip_stalls.values()) + sum(self.off_chip_stalls.values())

    @property
    def total_cycles(self) -> int:
        return self.cycles + self.stall_cycles + self.fill_cycles + self.drain_cycles

    @property
    def off_chip_bytes(self) -> int:
        return sum(self.loaded_bytes.values()) + sum(self.stored_bytes.values())


def time_kernel(
    kernel: ArrayKernel, array: PeArray, iterations: Iterations | None = None
) -> KernelTiming:
    """Cycles and off-chip traffic of a kernel.

    Args:
        iterations: iterations of the innermost loop that zero skipping leaves; None for all of them.

    Raises:
        TargetError: a buffer cannot hold a row of the kernel.
    """
    plan = plan_buffers(kernel, array)
    groups = group_times(kernel, array, iterations)
    transfers = tile_transfers(kernel, array, plan)
    bus = _Bus(kernel, array, transfers)
    off_chip = _off_chip_stalls(groups.row_cycles, bus)
    last_store = sum(int(store[-1, -1]) for store in bus.stores.values())
    return KernelTiming(
        cycles=groups.cycles,
        on_chip_stalls=groups.stalls,
        off_chip_stalls=off_chip,
        fill_cycles=sum(int(load.flat[0]) for load in [*bus.loads.values(), *bus.phases.values()]),
        drain_cycles=PIPELINE_CYCLES + groups.last_cycles + last_store,
        loaded_bytes=_totals(transfers.loads, transfers.phase_loads),
        stored_bytes=_totals(transfers.stores),
    )


def stall_free_bandwidth(kernel: ArrayKernel, array: PeArray) -> int | None:
    """Smallest bandwidth in whole bytes per cycle at which the array never waits for off chip.

    None if no bandwidth is enough: a transfer takes at least one cycle, and a memory that is not
    double-buffered stops the array.
    """
    groups = group_times(kernel, array)
    transfers = tile_transfers(kernel, array, plan_buffers(kernel, array))
    parts = [*transfers.loads.values(), *transfers.stores.values(), *transfers.phase_loads.values()]

    def stalls(bytes_per_cycle: int) -> bool:
        bus = _Bus(kernel, array, transfers, bytes_per_cycle)
        return any(_off_chip_stalls(groups.row_cycles, bus).values())

    low, high = 0, 1  # it stalls at low, and after the first loop it does not stall at high
    largest = max(1, *(int(part.max()) for part in parts))
    while stalls(high):
        if high >= largest:
            return None
        low, high = high, min(2 * high, largest)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stalls(middle) else (low, middle)
    return high


class _Bus:
    """Bus cycles of each row tile and phase by operand, and the operands whose transfers stop the array."""

    def __init__(
        self,
        kernel: ArrayKernel,
        array: PeArray,
        transfers: TileTransfers,
        bytes_per_cycle: int | None = None,
    ) -> None:
        width = bytes_per_cycle or array.off_chip_bytes_per_cycle
        self.serial = {
            name for name in OPERANDS if array.buffers[buffer_of(kernel, name)].copies == 1
        }

        def cycles(
            parts: Mapping[OperandName, np.ndarray], order: Sequence[OperandName] = OPERANDS
        ) -> dict[OperandName, np.ndarray]:
            return {name: -(-parts[name] // width) for name in order if name in parts}

        self.loads, self.stores = cycles(transfers.loads), cycles(transfers.stores)
        self.phases = cycles(transfers.phase_loads, PHASE_OPERANDS)

    def of_row_tiles(self) -> list[tuple[OperandName, np.ndarray]]:
        """Transfers during each row tile in bus order: stores of the previous one, loads of the next."""
        moved = []
        for name, cycles in self.stores.items():
            flat = np.zeros(cycles.size, np.int64)
            flat[1:] = cycles.flat[:-1]
            moved.append((name, flat.reshape(cycles.shape)))
        for name, cycles in self.loads.items():
            flat = np.zeros(cycles.size, np.int64)
            flat[:-1] = cycles.flat[1:]
            moved.append((name, flat.reshape(cycles.shape)))
        return moved


def _off_chip_stalls(row_cycles: np.ndarray, bus: _Bus) -> dict[str, int]:
    """Off-chip stalls by operand.

    Args:
        row_cycles: cycles of the array for each row tile, ``(phases, rows)``.
    """
    stalls: dict[str, int] = dict.fromkeys(OPERANDS, 0)
    busy = np.zeros_like(row_cycles)  # cycles of the bus while the array works
    for name, cycles in bus.of_row_tiles():
        if name in bus.serial:
            stalls[name] += int(cycles.sum())
            continue
        begins = np.maximum(busy, row_cycles)
        busy = busy + cycles
        stalls[name] += int(np.maximum(0, busy - begins).sum())
    idle = np.maximum(0, row_cycles - busy).sum(axis=1)[:-1]
    busy_phase = np.zeros_like(idle)
    for name, cycles in bus.phases.items():
        if name in bus.serial:
            stalls[name] += int(cycles[1:].sum())
            continue
        begins = np.maximum(busy_phase, idle)
        busy_phase = busy_phase + cycles[1:]
        stalls[name] += int(np.maximum(0, busy_phase - begins).sum())
    return stalls


def _totals(*parts: Mapping[OperandName, np.ndarray]) -> dict[OperandName, int]:
    totals = dict.fromkeys(OPERANDS, 0)
    for part in parts:
        for name, moved in part.items():
            totals[name] += int(moved.sum())
    return totals
