"""Counts and estimates that SANA-FE must give by its own rules, from our spike trains."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass

import numpy as np

from deploy.backends.sanafe.places import (
    copies_of,
    dropping,
    one_mesh,
    receivers,
    synapse_unit,
)
from hw_models.multicore.cost.event_counts import count_events
from hw_models.multicore.mapping.connectivity import connectivity
from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.target_description import CostProfile
from toolchain.networks.integer_network import IntegerInput, IntegerPopulation, IntegerSynapse


@dataclass(frozen=True, kw_only=True, eq=False)
class SanafeEvents:
    """Counts of each core in each tick, int64 of shape ``(cores, ticks)``.

    Attributes:
        serviced: neurons of the core; each is serviced once per tick.
        updates: of neurons in their window, and of those that a spike of the previous tick reached.
    """

    synaptic: np.ndarray
    serviced: np.ndarray
    updates: np.ndarray
    spikes: np.ndarray
    messages_out: np.ndarray
    messages_in: np.ndarray
    hops_east_west: np.ndarray
    hops_north_south: np.ndarray


def sanafe_events(
    mapping: CoreMapping,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
    copies: int,
) -> SanafeEvents:
    """Count by SANA-FE's rules.

    Args:
        pixels, trains: as for ``count_events``.
        copies: of each neuron.
    """
    events = count_events(one_mesh(mapping), schedule, pixels, trains)
    neurons = [
        max(core.use.compartments, _neurons(mapping, core, copies)) for core in mapping.cores
    ]
    return SanafeEvents(
        synaptic=events.synaptic + events.convolution,
        serviced=np.repeat(np.array(neurons)[:, None], schedule.num_ticks, axis=1),
        updates=_updates(mapping, schedule, pixels, trains, copies),
        spikes=events.spikes,
        messages_out=events.messages_out,
        messages_in=events.messages_in,
        hops_east_west=events.hops_east_west,
        hops_north_south=events.hops_north_south,
    )


def _neurons(mapping: CoreMapping, core: CoreAssignment, copies: int) -> int:
    """Neurons on a core, of its copies and of those that drop frames."""
    name = core.tile.population
    kept = len(copies_of(mapping, name, core.replica, copies))
    return core.use.neurons * (kept + (core.replica in dropping(mapping, name, copies)))


def _updates(
    mapping: CoreMapping,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
    copies: int,
) -> np.ndarray:
    network = mapping.network
    updates = np.zeros((len(mapping.cores), schedule.num_ticks), np.int64)
    for name in mapping.grids:
        shape = network[name].shape
        kept = np.zeros((schedule.num_ticks, copies, *shape), bool)
        dropped = np.zeros((schedule.num_ticks, mapping.num_replicas(name), *shape), bool)
        for (sample, _), tick in np.ndenumerate(schedule.step_ticks[name]):
            kept[tick, sample % copies] = True
        for synapse in network.incoming(name):
            source = network[synapse.source]
            frames = pixels[:, None] if isinstance(source, IntegerInput) else trains[source.name]
            reached = _reached(synapse, source, frames > 0)
            for (sample, step), tick in np.ndenumerate(schedule.step_ticks[source.name]):
                kept[tick + 1, sample % copies] |= reached[sample, step]
                for replica in receivers(mapping, synapse, sample % copies)[1]:
                    dropped[tick + 1, replica] |= reached[sample, step]
        for row, core in enumerate(mapping.cores):
            if core.tile.population == name:
                own = kept[:, copies_of(mapping, name, core.replica, copies)]
                here = np.concatenate([own, dropped[:, [core.replica]]], axis=1)
                of_core = here[(slice(None), slice(None), *core.tile.slices)]
                updates[row] = of_core.sum(axis=(1, 2, 3, 4))
    return updates


def _reached(synapse: IntegerSynapse, source: IntegerPopulation, frames: np.ndarray) -> np.ndarray:
    """Neurons with a synapse from a set neuron; ``frames`` and result are bool ``(K, T, C, H, W)``."""
    links = connectivity(synapse, source.shape)
    matrices = [
        (matrix != 0).astype(np.float64) for matrix in (links.channels, links.rows, links.columns)
    ]
    spikes = frames.astype(np.float64)
    return np.einsum("oi,Rr,Cc,ktirc->ktoRC", *matrices, spikes, optimize=True) > 0


def energies_j(
    mapping: CoreMapping, profile: CostProfile, events: SanafeEvents
) -> dict[str, np.ndarray]:
    """Joules of each tick by SANA-FE's categories, each of shape ``(ticks,)``."""
    update_pj = profile.active_update_pj - profile.inactive_update_pj
    per_core_pj = {
        "synapse": events.synaptic * _of_unit(mapping, profile)[:, :1],
        "soma": events.serviced * profile.inactive_update_pj
        + events.updates * update_pj
        + events.spikes * profile.spike_pj,
        "network": events.messages_out * profile.message_out_pj
        + events.hops_east_west * profile.hop_east_west_pj
        + events.hops_north_south * profile.hop_north_south_pj,
    }
    return {name: amount.sum(axis=0) * 1e-12 for name, amount in per_core_pj.items()}


def simple_tick_ns(mapping: CoreMapping, profile: CostProfile, events: SanafeEvents) -> np.ndarray:
    """Nanoseconds of each tick in SANA-FE's simple model: the longest neurons or lookups of a core."""
    update_ns = profile.active_update_ns - profile.inactive_update_ns
    neurons = (
        events.serviced * profile.inactive_update_ns
        + events.updates * update_ns
        + events.spikes * profile.spike_ns
        + events.messages_out * profile.message_out_ns
    )
    lookups = (
        events.synaptic * _of_unit(mapping, profile)[:, 1:]
        + events.messages_in * profile.message_in_ns
    )
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    return np.maximum(neurons, lookups).max(axis=0) + barrier_ns


def _of_unit(mapping: CoreMapping, profile: CostProfile) -> np.ndarray:
    """Picojoules and nanoseconds of a synaptic event on each core, ``(cores, 2)``."""
    costs = {
        "loihi_sparse_synapse": (profile.synaptic_event_pj, profile.synaptic_event_ns),
        "loihi_conv_synapse": (profile.convolution_event_pj, profile.convolution_event_ns),
    }
    units = {name: synapse_unit(mapping.network, name) for name in mapping.grids}
    return np.array([costs[units[core.tile.population]] for core in mapping.cores])
