"""The network core by core: every core computes with its own axons, synapse lists and buffer slots.

Each population is tried alone. Its cores are sent the source frames of the stepped engine, over the
routes of the mapping, and must reach the stepped engine's membrane potentials after every step. If all
populations do, then by induction so does the whole chip; and where one does not, the fault is its own.
The cores of a replica are sent what the fixed routes bring them, and must drop the frames of samples that
other replicas work on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import lcm

import numpy as np

from hw_models.multicore.mapping.core_program import (
    CoreProgram,
    IncomingEdge,
    OutputAxons,
    core_programs,
    output_axons,
)
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from sim.stepped import firing_window
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.network import step_frames

NUM_PROBES = 3
"""Made-up frames for every two replicas that talk: all neurons at once, then random halves."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first difference between a core and the reference.

    Attributes:
        quantity: what differs, such as ``membrane potential``.
        neuron: (channel, row, column) in the population.
        sample: the real samples come first, then the probes; -1 for what is set before a run.
    """

    population: str
    core_index: int
    quantity: str
    neuron: tuple[int, int, int]
    sample: int
    step: int
    expected: int
    found: int

    def __str__(self) -> str:
        when = "" if self.sample < 0 else f", sample {self.sample}, timestep {self.step}"
        return (
            f"{self.population}, core {self.core_index}, neuron {self.neuron}{when}: {self.quantity} "
            f"is {self.found:,}, must be {self.expected:,}"
        )


def frames_and_probes(
    mapping: CoreMapping, pixels: np.ndarray, trains: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Frames that each population sends, int64 ``(K + probes, T, C, H, W)``.

    The probes need not be what the network would compute: they exercise every synapse of every core, as
    each replica of a source sends ``NUM_PROBES`` to each replica that takes some of its samples.
    """
    network = mapping.network
    turns = max(
        lcm(mapping.num_replicas(s.source), mapping.num_replicas(s.target))
        for s in network.synapses
    )
    random = np.random.default_rng(0)
    frames = {}
    for population in network.populations:
        if isinstance(population, IntegerReadout):
            continue
        is_input = isinstance(population, IntegerInput)
        highest = population.max_value if isinstance(population, IntegerInput) else 1
        real = pixels[:, None] if is_input else trains[population.name]
        shape = (NUM_PROBES * turns, population.timesteps, *population.shape)
        probes = random.integers(0, highest + 1, shape)
        probes[:turns] = highest
        frames[population.name] = np.concatenate([real.astype(np.int64), probes])
    return frames


def verify_cores(
    mapping: CoreMapping,
    schedule: Schedule,
    frames: Mapping[str, np.ndarray],
    *,
    programs: Callable[[CoreMapping, str], Iterable[CoreProgram]] = core_programs,
    routes: Callable[[CoreMapping, IntegerSynapse], Iterable[OutputAxons]] = output_axons,
    progress: Callable[[int], None] = lambda cores: None,
) -> Divergence | None:
    """Run every core alone; returns where one first differs, or None when all are equal.

    Args:
        schedule: of as many samples as ``frames`` has: it says when slots are written and read.
        programs, routes: what the cores are loaded with.
        progress: called with the number of cores done after each.
    """
    done = 0
    for population in mapping.network.populations:
        if isinstance(population, IntegerInput):
            continue
        expected = firing_window(mapping.network, population, frames)
        sent = {
            s.source: _by_target(routes(mapping, s))
            for s in mapping.network.incoming(population.name)
            if s.source in mapping.grids
        }
        first = mapping.first_core[population.name]
        for row, program in enumerate(programs(mapping, population.name), first):
            inputs = [
                _received(mapping, edge, frames[edge.source], sent.get(edge.source, {}).get(row))
                for edge in program.edges
            ]
            potentials = _run_core(program, population, mapping.network, schedule, inputs)
            difference = _first_difference(program, population, expected, potentials)
            if difference is not None:
                return difference
            done += 1
            progress(done)
    return None


def _by_target(routes: Iterable[OutputAxons]) -> dict[int, list[OutputAxons]]:
    grouped: dict[int, list[OutputAxons]] = {}
    for route in routes:
        grouped.setdefault(route.target, []).append(route)
    return grouped


def _received(
    mapping: CoreMapping,
    edge: IncomingEdge,
    frames: np.ndarray,
    routes: list[OutputAxons] | None,
) -> np.ndarray:
    """Values on each axon in each frame, ``(K, T, A, atoms)``; pixels come from the host directly.

    A core of a replicated source sends the frames of its own samples only.
    """
    rows, columns = edge.pixels.T
    if edge.source not in mapping.grids:
        return frames[:, :, :, rows, columns].swapaxes(2, 3)
    received = np.zeros((*frames.shape[:2], len(rows), frames.shape[2]), np.int64)
    for route in routes or ():
        core = mapping.cores[route.source]
        sent = slice(core.replica, None, mapping.num_replicas(edge.source))
        channels, rows_held, columns_held = core.tile.slices
        own = frames[sent, :, channels, rows_held, columns_held]
        values = own[:, :, :, route.pixels[:, 0], route.pixels[:, 1]]
        received[sent, :, route.axons, channels] += values.swapaxes(2, 3)
    return received


def _run_core(
    program: CoreProgram,
    population: IntegerSpiking | IntegerReadout,
    network: IntegerNetwork,
    schedule: Schedule,
    inputs: list[np.ndarray],
) -> np.ndarray:
    """Membrane potentials after each step: slots filled and read in tick order.

    Returns:
        int64 ``(K, T, neurons)``; 0 for the samples of other replicas.
    """
    synapses = network.incoming(population.name)
    buffers = [
        _AlignmentBuffer(program, edge, _currents(edge, values, len(program.bias)), selected)
        for edge, values, selected in zip(
            program.edges,
            inputs,
            (None if s.alignment == "average" else step_frames(network, s) for s in synapses),
            strict=True,
        )
    ]
    samples = schedule.num_samples
    potentials = np.zeros((samples, population.timesteps, len(program.bias)), np.int64)
    potential = np.zeros(len(program.bias), np.int64)
    for _, is_firing, sample, step, index in _events(schedule, population.name, program):
        if not is_firing:
            buffers[index].integrate(sample, step)
            continue
        if step == 0:
            potential = program.initial_potential.copy()
        potential = potential + program.bias + sum(b.current(sample, step) for b in buffers)
        if program.threshold is not None:
            potential = potential - program.threshold * (potential >= program.threshold)
        potentials[sample, step] = potential
    return potentials


def _events(
    schedule: Schedule, population: str, program: CoreProgram
) -> list[tuple[int, bool, int, int, int]]:
    """(tick, is a step, sample, frame or step, edge), in order; a frame arrives a tick after its step."""
    events = [
        (int(tick) + 1, False, sample, frame, index)
        for index, edge in enumerate(program.edges)
        for (sample, frame), tick in np.ndenumerate(schedule.step_ticks[edge.source])
    ]
    events += [
        (int(tick), True, sample, step, -1)
        for (sample, step), tick in np.ndenumerate(schedule.step_ticks[population])
        if sample % program.num_replicas == program.core.replica
    ]
    return sorted(events)


class _AlignmentBuffer:
    """D slots of accumulators: one for all frames of a sample when averaging, else one a frame."""

    def __init__(
        self,
        program: CoreProgram,
        edge: IncomingEdge,
        currents: np.ndarray,
        selected: tuple[int | None, ...] | None,
    ) -> None:
        self.replica, self.num_replicas = program.core.replica, program.num_replicas
        self.edge, self.currents, self.selected = edge, currents, selected
        kept = 1 if selected is None else currents.shape[1]
        self.slots = np.zeros((len(edge.integrating), kept, currents.shape[2]), np.int64)

    def integrate(self, sample: int, frame: int) -> None:
        turn, replica = divmod(sample, self.num_replicas)
        if replica != self.replica:
            return  # dropped
        slot = self.slots[self.edge.integrating[turn % len(self.slots)]]
        if frame == 0:
            slot[:] = 0
        slot[0 if self.selected is None else frame] += self.currents[sample, frame]

    def current(self, sample: int, step: int) -> np.ndarray:
        turn = sample // self.num_replicas
        slot = self.slots[self.edge.firing[turn % len(self.slots)]]
        if self.selected is None:
            return slot[0]
        frame = self.selected[step]
        return np.zeros_like(slot[0]) if frame is None else slot[frame]


def _currents(edge: IncomingEdge, values: np.ndarray, neurons: int) -> np.ndarray:
    """What each frame adds to each compartment, int64 ``(K, T, neurons)``, list by list."""
    samples, steps, _, _ = values.shape
    currents = np.zeros((samples * steps, neurons), np.int64)
    flat = values.reshape(samples * steps, *values.shape[2:]).astype(np.float64)
    for number, synapses in enumerate(edge.synapse_lists):
        axons = np.flatnonzero(edge.lists == number)
        products = flat[:, axons] @ synapses.weights.astype(
            np.float64
        )  # integers below 2^53: exact
        for axon, added in zip(axons, products.swapaxes(0, 1).astype(np.int64), strict=True):
            currents[:, edge.bases[axon] + synapses.offsets] += added
    return currents.reshape(samples, steps, neurons) << edge.exponent


def _first_difference(
    program: CoreProgram,
    population: IntegerSpiking | IntegerReadout,
    expected: np.ndarray,
    potentials: np.ndarray,
) -> Divergence | None:
    """Parameters first, as a neuron that never spikes would not show its threshold; then potentials."""
    tile, core = program.core.tile, program.core.core_index
    corner = tuple(axis.start for axis in tile.slices)

    def neuron(index: int) -> tuple[int, int, int]:
        shape = tuple(axis.stop - axis.start for axis in tile.slices)
        at = np.unravel_index(index, shape)
        return (int(at[0]) + corner[0], int(at[1]) + corner[1], int(at[2]) + corner[2])

    loaded = {"bias": program.bias}
    if isinstance(population, IntegerSpiking):
        assert program.threshold is not None
        loaded |= {
            "threshold": program.threshold,
            "initial_potential": program.initial_potential,
        }
    for field, found in loaded.items():
        whole = np.broadcast_to(getattr(population, field), population.shape)
        right = whole[tile.slices].reshape(-1)
        if len(different := np.flatnonzero(right != found)):
            at = int(different[0])
            return Divergence(
                population=population.name, core_index=core, quantity=field.replace("_", " "),
                neuron=neuron(at), sample=-1, step=-1,
                expected=int(right[at]), found=int(found[at]),
            )  # fmt: skip
    wanted = expected[:, :, tile.slices[0], tile.slices[1], tile.slices[2]].reshape(
        potentials.shape
    )
    replica, count = program.core.replica, program.num_replicas
    wrong = np.argwhere(wanted[replica::count] != potentials[replica::count])
    if not len(wrong):
        return None
    turn, step, at = (int(i) for i in wrong[0])
    sample = turn * count + replica
    return Divergence(
        population=population.name, core_index=core, quantity="membrane potential",
        neuron=neuron(at), sample=sample, step=step,
        expected=int(wanted[sample, step, at]), found=int(potentials[sample, step, at]),
    )  # fmt: skip
