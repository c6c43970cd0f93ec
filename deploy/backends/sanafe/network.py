"""The mapped network in SANA-FE's formats, with a script that runs it there.

SANA-FE (Boyle et al., IEEE TCAD 2025) simulates neuromorphic chips event by event. A neuron of its Loihi
keeps an input current beside its potential; without decay that current is the alignment buffer: it
integrates the frames of a sample, and is then the constant current of the window. It holds one sample, so
each neuron is there in several *copies*, one for each sample in flight, all on the core of our mapping. The
other compartments of the core lie idle.

The host's pixels come from a core of their own in each tile that they reach, one neuron a bit plane: they
take no hops and cost nothing to send, as in our cost model.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deploy.backends.sanafe.architecture import HOST_SOMA, SOMA, architecture_document
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
"""SANA-FE's Python interface takes a number with a half as a float of 24 bits."""

_CLOSED = {
    "reset_mode": "soft",
    "leak_decay": 1.0,
    "input_decay": 1.0,
    "threshold": NEVER,
    "reverse_threshold": NEVER,
    "reverse_reset_mode": "hard",
    "reverse_reset": 0,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SanafeNetwork:
    """What the files hold.

    Attributes:
        architecture, network: SANA-FE's own files.
        copies: of every neuron, for the samples in flight.
        plan, arrays: what ``run.py`` needs beside them: samples, windows, and what opens a neuron.
        losses: what SANA-FE cannot express, and what stands for it.
    """

    architecture: dict[str, Any]
    network: list[str]
    copies: int
    plan: dict[str, Any]
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
        pixels: the run's samples, shape ``(K, C, H, W)``, as many in flight as the pipeline lets.

    Raises:
        UnsupportedNetworkError: the current of a window varies, or is too large for SANA-FE.
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
        name = population.name
        for quantity, bound, limit in (
            ("potential", potential_interval(network, name).magnitude, LARGEST_POTENTIAL),
            ("current", window_sum_bound(network, name), NEVER - 1),
            ("initial potential", _largest_initial_potential(population), LARGEST_INITIAL),
        ):
            if bound > limit:
                raise UnsupportedNetworkError(
                    f"{name}: the {quantity} can reach {bound:,}, but SANA-FE's Loihi neuron is exact "
                    f"only up to {limit:,}; use a target with a narrower state"
                )


def _largest_initial_potential(population: IntegerSpiking | IntegerReadout) -> int:
    if isinstance(population, IntegerReadout):
        return 0
    return int(np.abs(population.initial_potential).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """Groups of neurons.

    Attributes:
        mapping: on one mesh.
        groups: by population on the chip, one a copy.
        dropped: by population, the neurons that drop frames on the cores of a replica.
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
            plain = re.sub(r"\W", "_", name)  # nothing that means something in SANA-FE's files
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


def _groups(layout: _Layout, num_idle: int) -> Iterator[dict[str, Any]]:
    network = layout.mapping.network
    for name, groups in layout.groups.items():
        neurons = prod(network[name].shape)
        logged = {"log_spikes": True, "log_potential": isinstance(network[name], IntegerReadout)}
        for group in groups:
            yield _group(group, neurons, logged | _CLOSED)
        for group in layout.dropped[name].values():
            yield _group(group, neurons, _CLOSED | {"input_decay": 0.0})
    for hosts in layout.hosts:
        for group, (_, tile_input) in hosts.items():
            yield _group(group, tile_input.num_neurons, {"log_spikes": True})
    if num_idle:
        yield _group("idle", num_idle, {})


def _group(name: str, neurons: int, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "attributes": attributes, "neurons": [{f"0..{neurons - 1}": {}}]}


def _edges(layout: _Layout) -> Iterator[str]:
    """Every synapse once a copy, and from the pixels' neurons once a bit plane."""
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


def _plan(layout: _Layout, schedule: Schedule) -> dict[str, Any]:
    """When each population's windows open, for ``run.json``."""
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
    """The samples, what the neurons of each population are opened with, and the pixels' neurons."""
    arrays = {"pixels": pixels.astype(np.int64)}
    for name in layout.groups:
        population = layout.mapping.network[name]
        assert isinstance(population, IntegerSpiking | IntegerReadout)
        initial, threshold = np.array(0), np.array(NEVER)
        if isinstance(population, IntegerSpiking):
            initial, threshold = population.initial_potential, population.threshold
        fields = {"initial": initial, "threshold": threshold, "bias": population.bias}
        for field, values in fields.items():
            arrays[f"{name}/{field}"] = np.broadcast_to(values, population.shape).reshape(-1)
    for hosts in layout.hosts:
        for group, (_, tile_input) in hosts.items():
            arrays[f"{group}/pixel"] = np.repeat(tile_input.pixels, tile_input.planes)
            arrays[f"{group}/bit"] = np.tile(np.arange(tile_input.planes), len(tile_input.pixels))
    return arrays
