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
from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deploy.build_folder import write_json, write_npz
from deploy.export.explicit_synapses import (
    SynapseTable,
    TileInput,
    explicit_synapses,
    tile_inputs,
)
from deploy.export.sanafe_architecture import HOST_SOMA, SOMA, architecture_document
from deploy.export.sanafe_places import (
    Places,
    host_groups,
    host_places,
    one_mesh,
    population_places,
    tile_number,
)
from hw_models.multicore.mapping import Mapping
from hw_models.multicore.pipeline import Pipeline
from hw_models.multicore.pipeline_ticks import Schedule, schedule_pipeline
from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    has_constant_current,
    input_population,
)
from toolchain.integer_network.accumulator_bounds import potential_interval, window_sum_bound

FORMAT = "qac-deploy SANA-FE run"
VERSION = 1
PLAN = "run.json"
SCRIPT = Path(__file__).parent / "sanafe_bundle" / "run.py"

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


def to_sanafe(mapping: Mapping, pipeline: Pipeline, pixels: np.ndarray) -> SanafeNetwork:
    """A mapped network and a run of it.

    Args:
        pixels: the run's samples, shape ``(K, C, H, W)``, as many in flight as the pipeline lets.

    Raises:
        UnsupportedNetworkError: the current of a window varies, or is too large for SANA-FE.
    """
    network, mesh = mapping.network, mapping.target.mesh
    num_chips, mapping = mapping.num_chips, one_mesh(mapping)
    _check(network)
    schedule = schedule_pipeline(pipeline, len(pixels))
    copies = copies_in_flight(network, schedule)
    inputs = tile_inputs(mapping, lambda core: tile_number(core, mesh))
    groups = _group_names(network, copies)
    places = Places()
    mapped = [
        *population_places(mapping, groups, places),
        *host_places(inputs, copies, mesh, places),
    ]
    return SanafeNetwork(
        architecture=architecture_document(
            width=mesh.width * num_chips,
            height=mesh.height,
            cores_per_tile=mesh.cores_per_tile,
            neurons_per_core=places.most(SOMA),
            host_tiles=set(inputs),
            neurons_per_host=places.most(HOST_SOMA),
        ),
        network=[
            "network:",
            "  name: qac-deploy",
            "  groups:",
            *(
                f"    - {json.dumps(group)}"
                for group in _groups(network, groups, inputs, places.idle)
            ),
            "  edges:",
            *(f"    - {edge}" for edge in _edges(network, groups, inputs)),
            "mappings:",
            *(f"  - {line}" for line in mapped),
        ],
        copies=copies,
        plan=_plan(network, schedule, groups, inputs),
        arrays=_arrays(network, pixels, inputs, copies),
        losses=list(_losses(mapping, num_chips, copies)),
    )


def copies_in_flight(network: IntegerNetwork, schedule: Schedule) -> int:
    """Fewest copies of each neuron so that no sample arrives at one that still works on another."""

    def enough(copies: int) -> bool:
        for name, ticks in schedule.step_ticks.items():
            sources = [schedule.step_ticks[s.source][copies:, 0] for s in network.incoming(name)]
            if sources and (np.min(sources, axis=0) + 1 <= ticks[:-copies, -1]).any():
                return False
        return True

    return next((n for n in range(1, schedule.num_samples) if enough(n)), schedule.num_samples)


def _check(network: IntegerNetwork) -> None:
    if not has_constant_current(network):
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


def _losses(mapping: Mapping, num_chips: int, copies: int) -> Iterator[str]:
    mesh = mapping.target.mesh
    yield (
        "firing windows and initial potentials: SANA-FE has none; run.py opens and closes the neurons "
        "between timesteps"
    )
    yield f"alignment buffers: the input currents of {copies} copies of each neuron"
    more = sum(max(copies * c.use.neurons - c.use.compartments, 0) for c in mapping.cores)
    if more:
        yield f"limits of a core: the copies take {more:,} compartments more than it has"
    if num_chips > 1:
        yield (
            f"{num_chips} chips: one mesh of {mesh.width * num_chips} x {mesh.height} tiles, where a "
            f"message between chips takes hops"
        )


def _group_names(network: IntegerNetwork, copies: int) -> dict[str, list[str]]:
    """One group a copy of each population on the chip; no characters that mean something in the files."""
    names: dict[str, list[str]] = {}
    taken: set[str] = set()
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        plain = re.sub(r"\W", "_", population.name)
        while plain in taken:
            plain += "_"
        taken.add(plain)
        names[population.name] = [f"{plain}@{copy}" for copy in range(copies)]
    return names


def _groups(
    network: IntegerNetwork,
    groups: ReadOnlyDict[str, list[str]],
    inputs: ReadOnlyDict[int, TileInput],
    num_idle: int,
) -> Iterator[dict[str, Any]]:
    for name, copies in groups.items():
        logged = {"log_spikes": True, "log_potential": isinstance(network[name], IntegerReadout)}
        for group in copies:
            yield _group(group, prod(network[name].shape), logged | _CLOSED)
    for copy in range(len(next(iter(groups.values())))):
        for group, tile_input in zip(host_groups(inputs, copy), inputs.values(), strict=True):
            yield _group(group, tile_input.num_neurons, {"log_spikes": True})
    if num_idle:
        yield _group("idle", num_idle, {})


def _group(name: str, neurons: int, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "attributes": attributes, "neurons": [{f"0..{neurons - 1}": {}}]}


def _edges(
    network: IntegerNetwork,
    groups: ReadOnlyDict[str, list[str]],
    inputs: ReadOnlyDict[int, TileInput],
) -> Iterator[str]:
    """Every synapse once a copy, and from the pixels' neurons once a bit plane."""
    for synapse in network.synapses:
        if synapse.source in groups:
            table = _edge_attributes(explicit_synapses(network, synapse))
            for source, target in zip(groups[synapse.source], groups[synapse.target], strict=True):
                yield f"{{{json.dumps(f'{source} -> {target}')}: {table}}}"
    for copy in range(len(next(iter(groups.values())))):
        for group, tile_input in zip(host_groups(inputs, copy), inputs.values(), strict=True):
            for target, synapses in tile_input.by_bit_plane():
                edge = json.dumps(f"{group} -> {groups[target][copy]}")
                yield f"{{{edge}: {_edge_attributes(synapses)}}}"


def _edge_attributes(synapses: SynapseTable) -> str:
    pairs = zip(synapses.source.tolist(), synapses.target.tolist(), strict=True)
    return json.dumps(
        {"type": "sparse", "source_target_pairs": list(pairs), "weight": synapses.weight.tolist()}
    )


def _plan(
    network: IntegerNetwork,
    schedule: Schedule,
    groups: ReadOnlyDict[str, list[str]],
    inputs: ReadOnlyDict[int, TileInput],
) -> dict[str, Any]:
    """When each population's windows open, for ``run.json``."""
    source = input_population(network).name
    copies = len(next(iter(groups.values())))
    return {
        "format": FORMAT,
        "version": VERSION,
        "num_ticks": schedule.num_ticks,
        "copies": copies,
        "input": {
            "ticks": schedule.step_ticks[source][:, 0].tolist(),
            "groups": [host_groups(inputs, copy) for copy in range(copies)],
        },
        "populations": [
            {
                "name": name,
                "readout": isinstance(network[name], IntegerReadout),
                "timesteps": network[name].timesteps,
                "groups": names,
                "first_ticks": schedule.step_ticks[name][:, 0].tolist(),
            }
            for name, names in groups.items()
        ],
    }


def _arrays(
    network: IntegerNetwork,
    pixels: np.ndarray,
    inputs: ReadOnlyDict[int, TileInput],
    copies: int,
) -> dict[str, np.ndarray]:
    """The samples, what the neurons of each population are opened with, and the pixels' neurons."""
    arrays = {"pixels": pixels.astype(np.int64)}
    for population in network.populations:
        if isinstance(population, IntegerInput):
            continue
        initial, threshold = np.array(0), np.array(NEVER)
        if isinstance(population, IntegerSpiking):
            initial, threshold = population.initial_potential, population.threshold
        fields = {"initial": initial, "threshold": threshold, "bias": population.bias}
        for field, values in fields.items():
            whole = np.broadcast_to(values, population.shape).reshape(-1)
            arrays[f"{population.name}/{field}"] = whole
    for copy in range(copies):
        for group, tile_input in zip(host_groups(inputs, copy), inputs.values(), strict=True):
            arrays[f"{group}/pixel"] = np.repeat(tile_input.pixels, tile_input.planes)
            arrays[f"{group}/bit"] = np.tile(np.arange(tile_input.planes), len(tile_input.pixels))
    return arrays
