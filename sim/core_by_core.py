"""The network core by core: every core computes with its own axons, synapse lists and buffer slots.

Each population is tested alone. Its cores get the source frames of the stepped engine, over the routes of the
mapping, and must reach the stepped engine's membrane potentials after every step. If all populations do, so
does the whole chip, by induction; if one does not, the fault is its own. The cores of a replica get all
frames that the fixed routes bring them, and must drop those of samples on which other replicas work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import lcm

import numpy as np
from typing_extensions import assert_never

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
"""Probes for every two replicas that communicate: all neurons at once, then random halves of them."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first difference between a core and the reference.

    Attributes:
        quantity: the quantity that differs, such as ``membrane potential``.
        neuron: (channel, row, column) in the population.
        sample, step: real samples come first, then probes; -1 for parameters, which are set before a run.
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

    Probes need not be frames that the network would compute: they exercise every synapse of every core,
    as each replica of a source sends ``NUM_PROBES`` to each replica with which it has samples in common.
    """
    network = mapping.network
    # samples after which every two replicas that communicate have had one in common
    period = max(
        lcm(mapping.num_replicas(s.source), mapping.num_replicas(s.target))
        for s in network.synapses
    )
    random = np.random.default_rng(0)
    frames = {}
    for population in network.populations:
        match population:
            case IntegerInput():
                highest, real = population.max_value, pixels[:, None]
            case IntegerSpiking():
                highest, real = 1, trains[population.name]
            case IntegerReadout():
                continue
            case _:
                assert_never(population)
        shape = (NUM_PROBES * period, population.timesteps, *population.shape)
        probes = random.integers(0, highest + 1, shape)
        probes[:period] = highest
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
    """Run every core alone.

    Args:
        schedule: of as many samples as ``frames`` has: it says when slots are written and read.
        programs, routes: programs of a population's cores, and routes of a synapse.
        progress: called after each core with the number of cores done.

    Returns:
        The first difference, None if there is none.
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
        for core_slot, program in enumerate(programs(mapping, population.name), first):
            inputs = []
            for edge in program.edges:
                own = sent[edge.source][core_slot] if edge.source in sent else []
                inputs.append(_received(mapping, edge, frames[edge.source], own))
            potentials = _run_core(program, population, mapping.network, schedule, inputs)
            difference = _first_difference(program, population, expected, potentials)
            if difference is not None:
                return difference
            done += 1
            progress(done)
    return None


def _by_target(routes: Iterable[OutputAxons]) -> defaultdict[int, list[OutputAxons]]:
    grouped: defaultdict[int, list[OutputAxons]] = defaultdict(list)
    for route in routes:
        grouped[route.target].append(route)
    return grouped


def _received(
    mapping: CoreMapping, edge: IncomingEdge, frames: np.ndarray, routes: Iterable[OutputAxons]
) -> np.ndarray:
    """Values on each axon in each frame, ``(K, T, A, atoms)``; pixels come directly from the host.

    A core of a replicated source sends the frames of its own samples only.
    """
    rows, columns = edge.pixels.T
    if edge.source not in mapping.grids:
        return frames[:, :, :, rows, columns].swapaxes(2, 3)
    received = np.zeros((*frames.shape[:2], len(rows), frames.shape[2]), np.int64)
    for route in routes:
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
    """Membrane potentials after each step, with slots filled and read in tick order.

    Returns:
        int64 ``(K, T, neurons)``; 0 for the samples of other replicas.
    """
    buffers = []
    for edge, values, synapse in zip(
        program.edges, inputs, network.incoming(population.name), strict=True
    ):
        selected = None if synapse.alignment == "average" else step_frames(network, synapse)
        currents = _currents(edge, values, len(program.bias))
        buffers.append(_AlignmentBuffer(program, edge, currents, selected))
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
    """D slots of accumulators: one for all frames of a sample if it averages, else one per frame held.

    Args:
        currents: current of each frame into each compartment, int64 ``(K, T, neurons)``.
        selected: frame that each step reads; None if it averages.
    """

    def __init__(
        self,
        program: CoreProgram,
        edge: IncomingEdge,
        currents: np.ndarray,
        selected: tuple[int | None, ...] | None,
    ) -> None:
        self.replica, self.num_replicas = program.core.replica, program.num_replicas
        self.edge, self.currents, self.selected = edge, currents, selected
        read = dict.fromkeys(frame for frame in selected or () if frame is not None)
        self.place = {frame: n % edge.frames for n, frame in enumerate(read)}
        self.slots = np.zeros((len(edge.integrating), edge.frames, currents.shape[2]), np.int64)

    def integrate(self, sample: int, frame: int) -> None:
        nth_sample, replica = divmod(sample, self.num_replicas)
        if replica != self.replica:
            return  # dropped
        slot = self.slots[self.edge.integrating[nth_sample % len(self.slots)]]
        if self.selected is None:
            slot[0] = self.currents[sample, frame] + (slot[0] if frame else 0)
        elif frame in self.place:  # others are dropped
            slot[self.place[frame]] = self.currents[sample, frame]

    def current(self, sample: int, step: int) -> np.ndarray:
        nth_sample = sample // self.num_replicas
        slot = self.slots[self.edge.firing[nth_sample % len(self.slots)]]
        if self.selected is None:
            return slot[0]
        frame = self.selected[step]
        return np.zeros_like(slot[0]) if frame is None else slot[self.place[frame]]


def _currents(edge: IncomingEdge, values: np.ndarray, neurons: int) -> np.ndarray:
    """Current of each frame into each compartment, int64 ``(K, T, neurons)``."""
    samples, steps, _, _ = values.shape
    currents = np.zeros((samples * steps, neurons), np.int64)
    flat = values.reshape(samples * steps, *values.shape[2:]).astype(np.float64)
    for number, synapses in enumerate(edge.synapse_lists):
        axons = np.flatnonzero(edge.lists == number)
        # integers below 2^53: exact
        products = flat[:, axons] @ synapses.weights.astype(np.float64)
        for axon, added in zip(axons, products.swapaxes(0, 1).astype(np.int64), strict=True):
            currents[:, edge.bases[axon] + synapses.offsets] += added
    return currents.reshape(samples, steps, neurons) << edge.exponent


def _first_difference(
    program: CoreProgram,
    population: IntegerSpiking | IntegerReadout,
    expected: np.ndarray,
    potentials: np.ndarray,
) -> Divergence | None:
    """The first wrong parameter, as it may not change any potential; else the first wrong potential."""
    tile = program.core.tile
    channels, rows, columns = tile.slices

    def divergence(
        quantity: str, right: np.ndarray, found: np.ndarray, sample: int = -1, step: int = -1
    ) -> Divergence:
        neuron = int(np.flatnonzero(right != found)[0])
        channel, pixel = divmod(neuron, tile.positions)
        row, column = divmod(pixel, columns.stop - columns.start)
        return Divergence(
            population=population.name, core_index=program.core.core_index, quantity=quantity,
            neuron=(channels.start + channel, rows.start + row, columns.start + column),
            sample=sample, step=step, expected=int(right[neuron]), found=int(found[neuron]),
        )  # fmt: skip

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
        if (right != found).any():
            return divergence(field.replace("_", " "), right, found)
    wanted = expected[:, :, channels, rows, columns].reshape(potentials.shape)
    for sample in range(program.core.replica, len(wanted), program.num_replicas):
        for step, (right, found) in enumerate(zip(wanted[sample], potentials[sample], strict=True)):
            if (right != found).any():
                return divergence("membrane potential", right, found, sample, step)
    return None
