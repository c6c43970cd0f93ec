"""Quantities of a run in SANA-FE: ours, SANA-FE's, and what SANA-FE must give by its own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.backends.sanafe.places import one_mesh, tile_number
from deploy.check.sanafe_events import SanafeEvents, energies_j
from hw_models.multicore.cost.event_counts import Events
from hw_models.multicore.cost.tick_cost import run_cost
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.target_description import CostProfile
from sim.runners.sanafe import SanafeRun

ROUNDING = 1e-6
"""Relative difference between joules or seconds that are equal sums in another order."""

_REASONS = {
    "hops east-west": "SANA-FE also counts hops between chips",
    "hops north-south": "SANA-FE also counts hops between chips",
    "compartments serviced": "the copies need more compartments than there are",
    "active updates": "SANA-FE updates only neurons that a spike reaches",
    "synapse": "SANA-FE has one kind of synapse per core",
    "soma": "updates and compartments as above",
    "network": "hops as above, in place of crossings between chips",
}
"""Why SANA-FE may count more or less of a quantity."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity over a run.

    Attributes:
        expected: of SANA-FE, recounted by its rules from our spike trains.
        reason: why ``ours`` and ``expected`` differ; empty if they are equal.
        first_difference: the first difference of ``theirs`` from ``expected``, or None.
    """

    name: str
    ours: float
    expected: float
    theirs: float
    reason: str
    first_difference: str | None


def event_quantities(
    mapping: CoreMapping,
    profile: CostProfile,
    events: Events,
    expected: SanafeEvents,
    run: SanafeRun,
) -> list[Quantity]:
    """Counts on each core in each tick; in each tick for what SANA-FE reports only by tick."""
    theirs = _message_counts(mapping, events.spikes.shape, run)
    updated = run.counts["updated"] - run.pixel_spikes
    fired = run.counts["fired"] - run.pixel_spikes
    serviced = events.active_updates + events.inactive_updates
    quantities = {
        "synaptic events": (
            events.synaptic + events.convolution,
            expected.synaptic,
            theirs["synaptic"],
        ),
        "messages sent": (events.messages_out, expected.messages_out, theirs["sent"]),
        "messages received": (events.messages_in, expected.messages_in, theirs["received"]),
        "hops east-west": (events.hops_east_west, expected.hops_east_west, theirs["east_west"]),
        "hops north-south": (
            events.hops_north_south,
            expected.hops_north_south,
            theirs["north_south"],
        ),
        "spikes": (events.spikes.sum(axis=0), expected.spikes.sum(axis=0), fired),
        "compartments serviced": (
            serviced.sum(axis=0),
            expected.serviced.sum(axis=0),
            _serviced(profile, updated, fired, run.energy_j["soma"]),
        ),
        "active updates": (
            events.active_updates.sum(axis=0),
            expected.updates.sum(axis=0),
            updated,
        ),
    }
    cores = [core.core_index for core in mapping.cores]
    return [_quantity(name, *amounts, cores) for name, amounts in quantities.items()]


def _message_counts(
    mapping: CoreMapping, shape: tuple[int, ...], run: SanafeRun
) -> dict[str, np.ndarray]:
    """Sums of SANA-FE's messages on each core in each tick, each of shape ``shape``."""
    mesh = mapping.target.mesh
    rows = {
        (tile_number(core, mesh), core.core_index % mesh.cores_per_tile): row
        for row, core in enumerate(one_mesh(mapping).cores)
    }
    tick, *places, synapses, east_west, north_south = run.messages.T
    tiles_and_cores = np.stack(places, axis=1).tolist()
    source = np.array([rows.get((tile, core), -1) for tile, core, _, _ in tiles_and_cores], int)
    target = np.array([rows[tile, core] for _, _, tile, core in tiles_and_cores], int)
    by_core = source >= 0  # the others are the host's

    def totals(row: np.ndarray, amount: np.ndarray | int, chosen: np.ndarray) -> np.ndarray:
        counts = np.zeros(shape, np.int64)
        amounts = np.broadcast_to(amount, tick.shape)
        np.add.at(counts, (row[chosen], tick[chosen]), amounts[chosen])
        return counts

    everything = np.ones_like(by_core)
    return {
        "synaptic": totals(target, synapses, everything),
        "received": totals(target, 1, everything),
        "sent": totals(source, 1, by_core),
        "east_west": totals(source, east_west, by_core),
        "north_south": totals(source, north_south, by_core),
    }


def _serviced(
    profile: CostProfile, updated: np.ndarray, fired: np.ndarray, soma_j: np.ndarray
) -> np.ndarray:
    """Neurons that SANA-FE serviced in each tick, from their energy: it does not report their number."""
    update_pj = profile.active_update_pj - profile.inactive_update_pj
    rest_pj = soma_j * 1e12 - updated * update_pj - fired * profile.spike_pj
    return np.rint(rest_pj / profile.inactive_update_pj).astype(np.int64)


def energy_quantities(
    mapping: CoreMapping,
    profile: CostProfile,
    schedule: Schedule,
    events: Events,
    expected: SanafeEvents,
    run: SanafeRun,
) -> list[Quantity]:
    """Joules of the run by SANA-FE's categories."""
    ours = run_cost(mapping, profile, schedule, events).energy_by_event_j
    kinds = {
        "synapse": ("synaptic event", "convolution event"),
        "soma": ("active update", "inactive update", "spike"),
        "network": ("message out", "hop east-west", "hop north-south", "chip crossing"),
    }
    assert sorted(kind for group in kinds.values() for kind in group) == sorted(ours)
    recounted = energies_j(mapping, profile, expected)
    found = [
        _quantity(
            name,
            np.array(schedule.num_samples * sum(ours[kind] for kind in group)),
            recounted[name],
            run.energy_j[name],
        )
        for name, group in kinds.items()
    ]
    rest = run.energy_j["total"] - sum(run.energy_j[name] for name in kinds)
    nothing = np.zeros_like(rest)
    return [*found, _quantity("other", nothing, nothing, np.where(abs(rest) < 1e-18, 0, rest))]


def _quantity(
    name: str,
    ours: np.ndarray,
    expected: np.ndarray,
    theirs: np.ndarray,
    cores: Sequence[int] = (),
) -> Quantity:
    totals = [array.sum().item() for array in (ours, expected, theirs)]
    differs = not np.isclose(totals[0], totals[1], rtol=ROUNDING, atol=0)
    return Quantity(
        name=name,
        ours=totals[0],
        expected=totals[1],
        theirs=totals[2],
        reason=_REASONS.get(name, "") if differs else "",
        first_difference=first_difference(name, expected, theirs, cores),
    )


def first_difference(
    name: str, expected: np.ndarray, theirs: np.ndarray, cores: Sequence[int] = ()
) -> str | None:
    """The first core and tick that differ; counts must be equal, and joules and seconds up to rounding."""
    exact = np.issubdtype(expected.dtype, np.integer)
    same = expected == theirs if exact else np.isclose(theirs, expected, rtol=ROUNDING, atol=0)
    if same.all():
        return None
    *row, tick = (int(i) for i in np.argwhere(~same)[0])
    core = f", core {cores[row[0]]}" if row else ""
    a, b = (array[(*row, tick)].item() for array in (expected, theirs))
    return f"{name}{core}, tick {tick}: {b:,.9g} in SANA-FE, {a:,.9g} by our spike trains"
