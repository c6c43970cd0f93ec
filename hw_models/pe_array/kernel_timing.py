"""Cycles of one kernel with its memories: closed form over row tiles.

``tests/oracles/timing_trace.py`` steps through every clock cycle to check it.

Three things can make the array wait:

- a *port*: an iteration of the innermost loop that needs more bytes than the weight or the input port moves
  in a cycle takes as many cycles as the slower of the two;
- the *output stage*: partial sums have two banks; while the array accumulates one group, the node unit fires
  on the other, with the potentials, sums and spikes that its ports move. A group begins when both are done;
- *off chip*: during a row tile, the bus stores the results of the row tile before and loads what the next
  one needs; what is left of the row tile's time goes to the weights of the next phase. A row tile (a phase)
  ends when its transfers have, and the array waits for the operand that is then on the bus. Memories that are
  not double-buffered move their tile while the array stands still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import buffer_of, plan_buffers
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
    """What a kernel takes.

    Attributes:
        cycles: iterations of the innermost loop.
        on_chip_stalls: cycles by what the array waited for: the weight or input port; in the
            output stage, the node unit, or the psum, membrane or output port.
        off_chip_stalls: cycles by the operand on the bus.
        fill_cycles: until the first tiles are there.
        drain_cycles: from the last iteration of the loop until the last result is off chip.
        loaded_bytes, stored_bytes: off-chip traffic by operand.
    """

    cycles: int
    on_chip_stalls: Mapping[str, int]
    off_chip_stalls: Mapping[str, int]
    fill_cycles: int
    drain_cycles: int
    loaded_bytes: Mapping[str, int]
    stored_bytes: Mapping[str, int]

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
    """Closed form.

    Args:
        iterations: iterations of the innermost loop that zero skipping leaves; all of them when None.

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
    """Least whole number of bytes a cycle at which the array never waits for off chip.

    None where no bandwidth helps: a transfer takes a cycle at least, and a memory that is not
    double-buffered stops the array.
    """
    groups = group_times(kernel, array)
    transfers = tile_transfers(kernel, array, plan_buffers(kernel, array))
    parts = [*transfers.loads.values(), *transfers.stores.values(), *transfers.phase_loads.values()]

    def stalls(bytes_per_cycle: int) -> bool:
        bus = _Bus(kernel, array, transfers, bytes_per_cycle)
        return any(_off_chip_stalls(groups.row_cycles, bus).values())

    low, high = 0, 1  # stalls at low (no bandwidth at all), and not at high once the loop has ended
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
    """Bus cycles of each row tile and phase by operand, and the operands that stop the array."""

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

        def cycles(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: -(-parts[name] // width) for name in OPERANDS if name in parts}

        self.loads, self.stores = cycles(transfers.loads), cycles(transfers.stores)
        self.phases = {
            name: -(-transfers.phase_loads[name] // width)
            for name in PHASE_OPERANDS
            if name in transfers.phase_loads
        }

    def of_row_tiles(self) -> list[tuple[str, np.ndarray]]:
        """Transfers during each row tile in bus order: stores of the one before, loads of the next."""
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


def _off_chip_stalls(row_cycles: np.ndarray, bus: _Bus) -> Counter[str]:
    """Off-chip stalls by operand.

    Args:
        row_cycles: what the array takes for each row tile, ``(phases, rows)``.
    """
    stalls: Counter[str] = Counter(dict.fromkeys(OPERANDS, 0))
    busy = np.zeros_like(row_cycles)  # of the bus, beside the array
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


def _totals(*parts: Mapping[str, np.ndarray]) -> dict[str, int]:
    totals: Counter[str] = Counter(dict.fromkeys(OPERANDS, 0))
    for part in parts:
        for name, moved in part.items():
            totals[name] += int(moved.sum())
    return dict(totals)
