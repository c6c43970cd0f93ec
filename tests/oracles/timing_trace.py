"""One kernel cycle by cycle, with its node unit, ports, buffers and bus: the proof of the closed form.

Everything is recounted: which input rows a tile still misses from sets of rows, bytes from the tiles that
the loops visit, stalls from a bus that moves one burst a cycle. Only the buffer plan is shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import (
    BufferPlan,
    buffer_of,
    carries_membranes,
    carries_sums,
    plan_buffers,
    potential_word_bits,
)
from hw_models.pe_array.closed_form import PIPELINE_CYCLES
from hw_models.pe_array.group_times import OUTPUT_STAGE, PORTS
from hw_models.pe_array.kernel_timing import KernelTiming
from hw_models.pe_array.loop_nest import (
    Ending,
    LoopNest,
    TileIndices,
    outer_loops,
    tiles,
    tiling_of,
)
from hw_models.pe_array.tile_transfers import OPERANDS

Iteration = tuple[int, int]  # frames, input channels
IterationsOf = Callable[[list[TileIndices]], list[Iteration]]


def trace_kernel(
    kernel: ArrayKernel, array: PeArray, iterations_of: IterationsOf | None = None
) -> KernelTiming:
    """Literal counterpart of ``time_kernel``.

    Args:
        iterations_of: iterations of the innermost loop that a group makes, given its tiles.
    """
    rows = list(_row_tiles(kernel, array))
    memory = _Memory(kernel, array, plan_buffers(kernel, array))
    for index, row in enumerate(rows):
        memory.visit(row, is_new_phase=index == 0 or row.phase != rows[index - 1].phase)
    clock = _Clock(kernel, array)
    node = _OutputStage(kernel, array)
    iterations_of = iterations_of or (lambda group: list(_all_iterations(kernel, array, group)))
    clock.fill([*memory.loads[0].items(), *memory.phase_loads[0].items()])
    phase = 0
    for index, row in enumerate(rows):
        ends_phase = index == len(rows) - 1 or rows[index + 1].phase != row.phase
        stores = memory.stores[index - 1] if index > 0 else {}
        loads = memory.loads[index + 1] if index + 1 < len(rows) else {}
        if index == 0 or rows[index - 1].phase != row.phase:
            following = memory.phase_loads[phase + 1] if phase + 1 < len(memory.phase_loads) else {}
            clock.prefetch(following)
            phase += 1
        labels = (label for group in row.groups for label in node.run(group, iterations_of(group)))
        clock.run(labels, stores, loads)
        if ends_phase:
            clock.end_phase()
    on_chip = {name: clock.stalls[name] for name in (*PORTS, *OUTPUT_STAGE)}
    last_store = sum(clock.bursts(count) for count in memory.stores[-1].values())
    return KernelTiming(
        cycles=clock.iterations,
        on_chip_stalls=on_chip,
        off_chip_stalls={name: clock.off_chip[name] for name in OPERANDS},
        fill_cycles=clock.fill_cycles,
        drain_cycles=PIPELINE_CYCLES + node.left + last_store,
        loaded_bytes=_sum([*memory.loads, *memory.phase_loads]),
        stored_bytes=_sum(memory.stores),
    )


@dataclass(frozen=True, kw_only=True)
class _RowTile:
    """One row of one tile of channels; ``frames`` is the outer frame tile, or all frames."""

    group: int
    frames: range
    channels: range
    row: int
    groups: list[list[TileIndices]]  # each what one bank of sums holds

    @property
    def phase(self) -> tuple[int, int, int]:
        return self.group, self.frames.start, self.channels.start


def _row_tiles(kernel: ArrayKernel, array: PeArray) -> Iterator[_RowTile]:
    nest, tiling = kernel.nest, tiling_of(kernel.nest, array.unrolling, array.dataflow)
    is_outermost = array.dataflow.time_loop == "outermost"

    def row_of(tile: TileIndices) -> tuple[int, int, int, int]:
        return tile.group, tile.frames.start if is_outermost else 0, tile.channels.start, tile.row

    for _, members in groupby(outer_loops(tiling, array.dataflow), row_of):
        visited = list(members)
        if nest.sum_frames:
            banks = [list(bank) for _, bank in groupby(visited, lambda tile: tile.columns)]
        else:
            banks = [[tile] for tile in visited]
        first = visited[0]
        yield _RowTile(
            group=first.group,
            frames=first.frames if is_outermost else range(nest.frames),
            channels=first.channels,
            row=first.row,
            groups=banks,
        )


def _all_iterations(
    kernel: ArrayKernel, array: PeArray, group: list[TileIndices]
) -> Iterator[Iteration]:
    for tile in group:
        for _ in range(kernel.nest.kernel_size[0] * kernel.nest.kernel_size[1]):
            for inputs in tiles(kernel.nest.input_channels, array.unrolling.input_channels):
                yield len(tile.frames), len(inputs)


class _OutputStage:
    """The array and its output stage: yields what each clock cycle of the array goes into."""

    def __init__(self, kernel: ArrayKernel, array: PeArray) -> None:
        self.kernel, self.array = kernel, array
        self.tiling = tiling_of(kernel.nest, array.unrolling, array.dataflow)
        self.left, self.busy_with = 0, "node"

    def run(self, group: list[TileIndices], iterations: list[Iteration]) -> Iterator[str]:
        """Accumulate a group, wait for the output stage, hand over."""
        m, n = len(group[0].channels), len(group[0].columns)
        for s, v in iterations:
            for label in self._iteration(m, n, s, v):
                self.left = max(0, self.left - 1)
                yield label
        while self.left > 0:
            self.left -= 1
            yield self.busy_with
        self.left, self.busy_with = self._work(group, m, n)

    def _iteration(self, m: int, n: int, s: int, v: int) -> list[str]:
        weights = 0 if self.kernel.nest.unit_weights else m * v * self.array.weight_bits
        at_weight = self._port("weight", weights)
        at_input = self._port("input", n * s * v * self.kernel.reads.bits)
        slower = "weight" if at_weight >= at_input else "input"
        return ["iteration", *[slower] * (max(1, at_weight, at_input) - 1)]

    def _work(self, group: list[TileIndices], m: int, n: int) -> tuple[int, str]:
        nest, frames = self.kernel.nest, [frame for tile in group for frame in tile.frames]
        begins, ends = frames[0] == 0, frames[-1] == nest.frames - 1
        carries = carries_sums(self.kernel, self.array, self.tiling)
        completes = ends if nest.sum_frames else True
        sums = m * n * (1 if nest.sum_frames else len(frames))
        moved_sums = sums * (nest.adds_sums or (carries and not begins))
        moved_sums += sums * ((carries and not ends) or (completes and not nest.fires))
        potentials = 0
        if carries_membranes(self.kernel, self.array, self.tiling):
            potentials = m * n * ((not begins) + (not ends))
        steps = nest.node_steps if nest.sum_frames else len(frames)
        fired = steps if nest.fires and completes else 0
        work = {
            "node": max(1, ceil(fired / self.tiling.frames)),
            "psum": self._port("psum", moved_sums * self.array.sum_bits),
            "membrane": self._port(
                "membrane", potentials * potential_word_bits(self.kernel, self.array)
            ),
            "output": self._port("output", m * n * fired * self.kernel.leaves.written_bits),
        }
        busy_with = max(work, key=work.__getitem__)  # of equals, the first
        return work[busy_with], busy_with

    def _port(self, name: str, bits: int) -> int:
        return ceil(bits / (8 * self.array.buffers[name].port_bytes))  # type: ignore[index]


class _Clock:
    """Counts cycles: the array's, and those in which it stands still for the bus."""

    def __init__(self, kernel: ArrayKernel, array: PeArray) -> None:
        self.kernel, self.array = kernel, array
        self.iterations = self.fill_cycles = 0
        self.stalls: Counter[str] = Counter()
        self.off_chip: Counter[str] = Counter()
        self.background: list[str] = []  # bursts for the next phase, one per cycle
        self.serial_phase: list[str] = []

    def bursts(self, count: int) -> int:
        return ceil(count / self.array.off_chip_bytes_per_cycle)

    def fill(self, transfers: list[tuple[str, int]]) -> None:
        self.fill_cycles = sum(self.bursts(count) for _, count in transfers)

    def prefetch(self, transfers: dict[str, int]) -> None:
        self.background, self.serial_phase = self._split(transfers, ("parameter", "weight"))

    def run(self, labels: Iterator[str], stores: dict[str, int], loads: dict[str, int]) -> None:
        """One row tile: the array and the bus work at the same time, then the bus finishes."""
        parallel, serial_stores = self._split(stores, OPERANDS)
        parallel_loads, serial_loads = self._split(loads, OPERANDS)
        bus = [*parallel, *parallel_loads]
        for operand in (*serial_stores, *serial_loads):
            self.off_chip[operand] += 1
        for label in labels:
            if bus:
                bus.pop(0)
            elif self.background:
                self.background.pop(0)
            if label == "iteration":
                self.iterations += 1
            else:
                self.stalls[label] += 1
        for operand in bus:
            self.off_chip[operand] += 1

    def end_phase(self) -> None:
        for operand in (*self.background, *self.serial_phase):
            self.off_chip[operand] += 1
        self.background, self.serial_phase = [], []

    def _split(
        self, transfers: dict[str, int], order: tuple[str, ...]
    ) -> tuple[list[str], list[str]]:
        """Bursts during which the array works, and bursts that stop it, each in bus order."""
        parallel: list[str] = []
        serial: list[str] = []
        for name in order:
            is_double = self.array.buffers[buffer_of(self.kernel, name)].copies == 2
            (parallel if is_double else serial).extend([name] * self.bursts(transfers.get(name, 0)))
        return parallel, serial


@dataclass
class _Memory:
    """Bytes that each row tile and each phase moves, found by keeping track of what the buffers hold."""

    kernel: ArrayKernel
    array: PeArray
    plan: BufferPlan
    loads: list[dict[str, int]] = field(default_factory=list)
    stores: list[dict[str, int]] = field(default_factory=list)
    phase_loads: list[dict[str, int]] = field(default_factory=list)
    held_rows: set[tuple[object, ...]] = field(default_factory=set)
    held_weights: set[tuple[int, int]] = field(default_factory=set)

    def visit(self, row: _RowTile, is_new_phase: bool) -> None:
        nest, m = self.kernel.nest, len(row.channels)
        begins, ends = row.frames.start == 0, row.frames.stop == nest.frames
        completes = ends or not nest.sum_frames
        if is_new_phase:
            self.phase_loads.append(self._phase(row, completes))
            if self.plan.input == "rows" or (self.plan.input == "map" and self._is_new_map(row)):
                self.held_rows.clear()
        neurons = m * nest.columns
        loads, stores = {"input": self._input(row)}, {}
        if self.plan.weight == "streamed":
            iterations = sum(len(group) for group in row.groups)
            loads["weight"] = _bytes(
                iterations * m * self._weights_per_channel() * self.array.weight_bits
            )
        if self.kernel.parameters.per_neuron and completes:
            words = neurons * self.kernel.parameters.per_neuron
            loads["parameter"] = _bytes(words * self.array.potential_bits)
        tiling = tiling_of(nest, self.array.unrolling, self.array.dataflow)
        sums = _bytes(neurons * (1 if nest.sum_frames else len(row.frames)) * self.array.sum_bits)
        carries = carries_sums(self.kernel, self.array, tiling)
        if self.plan.psum == "spilled":
            if nest.adds_sums or (carries and not begins):
                loads["psum"] = sums
            if self.kernel.nest.ending is Ending.JOINS or (carries and not ends):
                stores["psum"] = sums
        if self.plan.membrane == "spilled":
            potentials = _bytes(neurons * potential_word_bits(self.kernel, self.array))
            loads["membrane"] = 0 if begins else potentials
            stores["membrane"] = 0 if ends else potentials
        stores["output"] = self._output(row, completes, ends)
        self.loads.append(loads)
        self.stores.append(stores)

    def _phase(self, row: _RowTile, completes: bool) -> dict[str, int]:
        m, loads = len(row.channels), {}
        tile = (row.group, row.channels.start)
        is_held = self.plan.weight == "kept" and tile in self.held_weights
        if self.plan.weight in ("kept", "tile") and not is_held:
            loads["weight"] = _bytes(m * self._weights_per_channel() * self.array.weight_bits)
        self.held_weights.add(tile)
        if self.kernel.parameters.per_channel and completes:
            words = m * self.kernel.parameters.per_channel
            loads["parameter"] = _bytes(words * self.array.potential_bits)
        return loads

    def _weights_per_channel(self) -> int:
        nest = self.kernel.nest
        return nest.input_channels * nest.kernel_size[0] * nest.kernel_size[1]

    def _is_new_map(self, row: _RowTile) -> bool:
        return row.frames.start == 0 and row.channels.start == 0

    def _input(self, row: _RowTile) -> int:
        """Input values of the row tile that the buffer does not hold, entry by entry and row by row."""
        nest, kernel = self.kernel.nest, self.kernel
        read_rows = _read(nest, row.row, axis=0)
        rows = _between(read_rows)
        entries = {kernel.reads.selection[frame] for frame in row.frames} - {None}
        values = 0
        if self.plan.input == "streamed":
            for tile in (tile for group in row.groups for tile in group):
                read = {kernel.reads.selection[frame] for frame in tile.frames} - {None}
                for column in tile.columns:
                    values += len(read) * len(read_rows) * len(_read(nest, column, axis=1))
        elif self.plan.input == "window":
            for columns in tiles(nest.columns, len(row.groups[0][0].columns)):
                under = [c for column in columns for c in _read(nest, column, axis=1)]
                values += len(entries) * len(rows) * len(_between(under))
        else:
            needed_rows = {(entry, r) for entry in entries for r in rows}
            stored = nest.addresses[1] or tuple(range(nest.input_size[1]))
            width = len(_between([column for column in stored if column >= 0]))
            values = len(needed_rows - self.held_rows) * width
            self.held_rows = needed_rows | (self.held_rows if self.plan.input == "map" else set())
        return _bytes(values * nest.input_channels * kernel.reads.entry_bits)

    def _output(self, row: _RowTile, completes: bool, ends: bool) -> int:
        kernel, nest = self.kernel, self.kernel.nest
        neurons, frames = len(row.channels) * nest.columns, len(row.frames)
        sums = 1 if nest.sum_frames else frames
        if kernel.nest.fires and kernel.leaves.stores_frames:
            return _bytes(neurons * frames)
        if kernel.nest.fires:
            return _bytes(neurons * kernel.leaves.stored_bits) if ends else 0
        if not completes or kernel.nest.ending is Ending.JOINS:
            return 0
        if kernel.nest.ending is Ending.READS_OUT:
            return _bytes(neurons * sums * self.array.sum_bits)
        return _bytes(neurons * sums * kernel.leaves.stored_bits // nest.sums_per_neuron)


def _read(nest: LoopNest, output: int, axis: int) -> list[int]:
    """Stored rows or columns that an output reads through the taps of the kernel."""
    first = output * nest.stride[axis] - nest.padding[axis]
    taps = [first + k * nest.dilation[axis] for k in range(nest.kernel_size[axis])]
    stored = nest.addresses[axis] or tuple(range(nest.input_size[axis]))
    read = [stored[tap] for tap in taps if 0 <= tap < nest.input_size[axis]]
    return [position for position in read if position >= 0]


def _between(positions: list[int]) -> range:
    """All positions from the first to the last."""
    return range(min(positions), max(positions) + 1) if positions else range(0)


def _bytes(bits: int) -> int:
    return ceil(bits / 8)


def _sum(parts: list[dict[str, int]]) -> dict[str, int]:
    totals: Counter[str] = Counter(dict.fromkeys(OPERANDS, 0))
    for part in parts:
        totals.update(part)
    return dict(totals)
