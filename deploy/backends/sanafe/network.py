"""The mapped network in SANA-FE's formats, with a script that runs it there.

SANA-FE (Boyle et al., IEEE TCAD 2025) simulates neuromorphic chips event by event. A neuron of its Loihi
has an input current and a potential. Without decay, the current serves as the alignment buffer: it
integrates the frames of a sample, and is then the constant current of the window. It holds one sample, so
there are several *copies* of each neuron, one for each sample in flight, all on the core of our mapping.
The other compartments of the core lie idle.

The pixels come from a host core in each tile that they reach, with one neuron per bit of a pixel. As in our
cost model, they take no hops and cost nothing to send.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np
import yaml
from typing_extensions import assert_never

from deploy.backends.sanafe.architecture import HOST_SOMA, SOMA, Section, architecture_document
from deploy.backends.sanafe.explicit_synapses import (
    SynapseTable,
    TileInput,
    explicit_synapses,
    tile_inputs,
)
from deploy.backends.sanafe.places import (
    Places,
    copies_in_flight,
    dropping,
    host_places,
    one_mesh,
    population_places,
    receivers,
    tile_number,
)
from deploy.build.folder import write_json, write_npz
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, schedule_pipeline
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.networks.integer_network.accumulator_bounds import (
    potential_interval,
    window_sum_bound,
)

FORMAT = "qac-deploy SANA-FE run"
VERSION = 1
PLAN = "run.json"
SCRIPT = Path(__file__).parent / "bundle" / "run.py"

NEVER = 2**30
"""Threshold of a closed neuron, beyond every current."""

LARGEST_POTENTIAL = 2**25 - 1
"""SANA-FE's Loihi neuron rounds its potential to a 32-bit number of steps of 1/64."""

LARGEST_INITIAL = 2**23 - 1
"""SANA-FE's Python interface passes potentials, which end in 1/2, as floats with 24 bits of precision."""

Attributes: TypeAlias = dict[str, bool | float | str]
"""Attributes of neurons, by SANA-FE's names."""

_CLOSED: Attributes = {
    "reset_mode": "soft",
    "leak_decay": 1.0,
    "input_decay": 1.0,
    "threshold": NEVER,
    "reverse_threshold": NEVER,
    "reverse_reset_mode": "hard",
    "reverse_reset": 0,
}


class NeuronGroup(TypedDict):
    """A group of neurons in ``network.yaml``."""

    name: str
    attributes: Attributes
    neurons: list[dict[str, Attributes]]


class InputPlan(TypedDict):
    """The tick in which each sample is sent, and the groups of the pixels' neurons for each copy."""

    ticks: list[int]
    groups: list[list[str]]


class PopulationPlan(TypedDict):
    """The groups of a population, one per copy, and the first tick of its window for each sample."""

    name: str
    readout: bool
    timesteps: int
    groups: list[str]
    first_ticks: list[int]


class RunPlan(TypedDict):
    """``run.json``: when ``run.py`` opens and closes which neurons."""

    format: str
    version: int
    num_ticks: int
    copies: int
    input: InputPlan
    populations: list[PopulationPlan]


@dataclass(frozen=True, kw_only=True, eq=False)
class SanafeNetwork:
    """Contents of the exported files.

    Attributes:
        architecture, network: SANA-FE's own files.
        copies: of every neuron, for the samples in flight.
        plan, arrays: what ``run.py`` needs in addition: samples, windows, and attributes of open neurons.
        losses: what SANA-FE cannot express, and what replaces it.
    """

    architecture: Section
    network: list[str]
    copies: int
    plan: RunPlan
    arrays: dict[str, np.ndarray]
    losses: list[str]


def write_sanafe(export: SanafeNetwork, folder: Path) -> None:
    """Write the files into a folder that exists."""
    text = yaml.safe_dump(export.architecture, sort_keys=False, default_flow_style=None)
    (folder / "architecture.yaml").write_text(text)
    (folder / "network.yaml").write_text("\n".join(export.network) + "\n")
    write_json(folder / PLAN, export.plan)
    write_npz(folder / "run.npz", export.arrays)
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)


def to_sanafe(mapping: CoreMapping, pipeline: Pipeline, pixels: np.ndarray) -> SanafeNetwork:
    """A mapped network and a run of it.

    Args:
        pixels: samples of the run, integers of shape ``(K, C, H, W)``.

    Raises:
        UnsupportedNetworkError: the current of a window varies, or a value is too large for SANA-FE.
    """
    _check(mapping.network)
    num_chips, mesh = mapping.num_chips, mapping.target.mesh
    schedule = schedule_pipeline(pipeline, len(pixels))
    layout = _Layout.of(one_mesh(mapping), copies_in_flight(mapping, schedule))
    places = Places()
    mapped = list(population_places(layout.mapping, layout.groups, layout.dropped, places))
    for hosts in layout.hosts:
        mapped += host_places(hosts, mesh, places)
    return SanafeNetwork(
        architecture=architecture_document(
            width=mesh.width * num_chips,
            height=mesh.height,
            cores_per_tile=mesh.cores_per_tile,
            neurons_per_core=places.most(SOMA),
            host_tiles={tile for hosts in layout.hosts for tile, _ in hosts.values()},
            neurons_per_host=places.most(HOST_SOMA),
        ),
        network=[
            "network:",
            "  name: qac-deploy",
            "  groups:",
            *(f"    - {json.dumps(group)}" for group in _groups(layout, places.idle)),
            "  edges:",
            *(f"    - {edge}" for edge in _edges(layout)),
            "mappings:",
            *(f"  - {line}" for line in mapped),
        ],
        copies=layout.copies,
        plan=_plan(layout, schedule),
        arrays=_arrays(layout, pixels),
        losses=list(_losses(layout, places, num_chips)),
    )


def _check(network: IntegerNetwork) -> None:
    if not network.has_constant_current:
        raise UnsupportedNetworkError(
            "SANA-FE needs 'average' alignment on every synapse: its neuron has one input current, and "
            "cannot keep apart the frames that 'replicate' and 'truncate' select; compile with "
            "--alignment average"
        )
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        name, (initial, _) = population.name, _opened_at(population)
        for quantity, bound, limit in (
            ("potential", potential_interval(network, name).magnitude, LARGEST_POTENTIAL),
            ("current", window_sum_bound(network, name), NEVER - 1),
            ("initial potential", int(np.abs(initial).max()), LARGEST_INITIAL),
        ):
            if bound > limit:
                raise UnsupportedNetworkError(
                    f"{name}: the {quantity} can reach {bound:,}, but SANA-FE's Loihi neuron is exact "
                    f"only up to {limit:,}; use a target with a narrower state"
                )


def _opened_at(population: IntegerSpiking | IntegerReadout) -> tuple[np.ndarray, np.ndarray]:
    """Initial potentials and thresholds of open neurons; a readout never spikes."""
    match population:
        case IntegerSpiking():
            return population.initial_potential, population.threshold
        case IntegerReadout():
            return np.array(0), np.array(NEVER)
        case _:
            assert_never(population)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """Groups of neurons.

    Attributes:
        mapping: with all chips on one mesh.
        groups: of each population on the chip, one per copy.
        dropped: of each population, the groups that drop frames, by replica.
        hosts: for each copy, the pixels' neurons by group, with their tile.
    """

    mapping: CoreMapping
    copies: int
    groups: dict[str, list[str]]
    dropped: dict[str, dict[int, str]]
    hosts: list[dict[str, tuple[int, TileInput]]]

    @classmethod
    def of(cls, mapping: CoreMapping, copies: int) -> _Layout:
        groups: dict[str, list[str]] = {}
        dropped: dict[str, dict[int, str]] = {}
        taken: set[str] = set()
        for name in mapping.grids:
            plain = re.sub(r"\W", "_", name)  # no character with a meaning in SANA-FE's files
            while plain in taken:
                plain += "_"
            taken.add(plain)
            groups[name] = [f"{plain}@{copy}" for copy in range(copies)]
            replicas = dropping(mapping, name, copies)
            dropped[name] = {replica: f"{plain}@dropped{replica}" for replica in replicas}
        hosts = [_hosts(mapping, copy) for copy in range(copies)]
        return cls(mapping=mapping, copies=copies, groups=groups, dropped=dropped, hosts=hosts)


def _hosts(mapping: CoreMapping, copy: int) -> dict[str, tuple[int, TileInput]]:
    cores = [
        c for c in mapping.cores if c.replica == copy % mapping.num_replicas(c.tile.population)
    ]
    inputs = tile_inputs(mapping.network, cores, lambda c: tile_number(c, mapping.target.mesh))
    return {f"pixels/{tile}@{copy}": (tile, tile_input) for tile, tile_input in inputs.items()}


def _losses(layout: _Layout, places: Places, num_chips: int) -> Iterator[str]:
    mesh = layout.mapping.target.mesh
    yield (
        "firing windows and initial potentials: SANA-FE has none; run.py opens and closes the neurons "
        "between timesteps"
    )
    yield f"alignment buffers: the input currents of {layout.copies} copies of each neuron"
    if places.missing:
        yield f"limits of a core: the copies take {places.missing:,} compartments more than there are"
    if num_chips > 1:
        yield (
            f"{num_chips} chips: one mesh of {mesh.width * num_chips} x {mesh.height} tiles, where a "
            f"message between chips takes hops"
        )


def _groups(layout: _Layout, num_idle: int) -> Iterator[NeuronGroup]:
    network = layout.mapping.network
    for name, groups in layout.groups.items():
        neurons = prod(network[name].shape)
        is_readout = isinstance(network[name], IntegerReadout)
        logged: Attributes = {"log_spikes": True, "log_potential": is_readout}
        for group in groups:
            yield _group(group, neurons, logged | _CLOSED)
        for group in layout.dropped[name].values():
            yield _group(group, neurons, _CLOSED | {"input_decay": 0.0})
    for hosts in layout.hosts:
        for group, (_, tile_input) in hosts.items():
            yield _group(group, tile_input.num_neurons, {"log_spikes": True})
    if num_idle:
        yield _group("idle", num_idle, {})


def _group(name: str, neurons: int, attributes: Attributes) -> NeuronGroup:
    return {"name": name, "attributes": attributes, "neurons": [{f"0..{neurons - 1}": {}}]}


def _edges(layout: _Layout) -> Iterator[str]:
    """Every synapse once per copy; those from pixels once per copy and bit plane."""
    mapping = layout.mapping
    for synapse in mapping.network.synapses:
        if synapse.source not in layout.groups:
            continue
        attributes = _edge_attributes(explicit_synapses(mapping.network, synapse))
        for copy, group in enumerate(layout.groups[synapse.source]):
            targets = [layout.groups[synapse.target][copy]]
            for replica in receivers(mapping, synapse, copy)[1]:
                targets.append(layout.dropped[synapse.target][replica])
            for target in targets:
                yield f"{{{json.dumps(f'{group} -> {target}')}: {attributes}}}"
    for copy, hosts in enumerate(layout.hosts):
        for group, (_, tile_input) in hosts.items():
            for target, synapses in tile_input.by_bit_plane():
                edge = json.dumps(f"{group} -> {layout.groups[target][copy]}")
                yield f"{{{edge}: {_edge_attributes(synapses)}}}"


def _edge_attributes(synapses: SynapseTable) -> str:
    pairs = zip(synapses.source.tolist(), synapses.target.tolist(), strict=True)
    return json.dumps(
        {"type": "sparse", "source_target_pairs": list(pairs), "weight": synapses.weight.tolist()}
    )


def _plan(layout: _Layout, schedule: Schedule) -> RunPlan:
    network = layout.mapping.network
    source = network.input.name
    return {
        "format": FORMAT,
        "version": VERSION,
        "num_ticks": schedule.num_ticks,
        "copies": layout.copies,
        "input": {
            "ticks": schedule.step_ticks[source][:, 0].tolist(),
            "groups": [list(hosts) for hosts in layout.hosts],
        },
        "populations": [
            {
                "name": name,
                "readout": isinstance(network[name], IntegerReadout),
                "timesteps": network[name].timesteps,
                "groups": groups,
                "first_ticks": schedule.step_ticks[name][:, 0].tolist(),
            }
            for name, groups in layout.groups.items()
        ],
    }


def _arrays(layout: _Layout, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The samples, the attributes of open neurons of each population, and the pixels' neurons."""
    arrays = {"pixels": pixels.astype(np.int64)}
    for name in layout.groups:
        population = layout.mapping.network[name]
        assert isinstance(population, IntegerSpiking | IntegerReadout)
        initial, threshold = _opened_at(population)
        fields = {"initial": initial, "threshold": threshold, "bias": population.bias}
        for field, values in fields.items():
            arrays[f"{name}/{field}"] = np.broadcast_to(values, population.shape).reshape(-1)
    for hosts in layout.hosts:
        for group, (_, tile_input) in hosts.items():
            arrays[f"{group}/pixel"] = np.repeat(tile_input.pixels, tile_input.planes)
            arrays[f"{group}/bit"] = np.tile(np.arange(tile_input.planes), len(tile_input.pixels))
    return arrays
