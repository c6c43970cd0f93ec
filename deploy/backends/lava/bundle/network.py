"""Build connected Lava processes from the bundle's files."""

import json
from pathlib import Path

import numpy as np
from linear_maps import with_matrices
from probes import ProbedReadoutPopulation, ProbedSpikingPopulation
from processes import InputPopulation, ReadoutPopulation, SpikingPopulation, Synapse


def load_bundle(folder):
    """The structure (``network.json``) and the named arrays (``weights.npz``) of a bundle."""
    document = json.loads((Path(folder) / "network.json").read_text())
    with np.load(Path(folder) / "weights.npz", allow_pickle=False) as archive:
        return document, {name: archive[name] for name in archive.files}


def process_names(document):
    """Texts with which `Progress` shows the state of each process: populations, then synapses."""
    populations = [f"{p['name']} at sample {{}} of the run" for p in document["populations"]]
    synapses = [
        f"{s['source']} -> {s['target']} with {{}} of {s['slots']} slots taken"
        for s in document["synapses"]
    ]
    return populations + synapses


def build_network(document, arrays, pixels, progress, probes):
    """One process for each population and each synapse, connected.

    Args:
        pixels: integers of shape (samples, channels, height, width).
        progress: a `Progress` whose rows are those of `process_names`.
        probes: neurons to record, by name of their population.

    Returns:
        Populations by name, and synapses by (source, target).
    """
    records = {record["name"]: record for record in document["populations"]}
    populations = {
        name: build_population(
            record,
            document["synapses"],
            arrays,
            pixels,
            probes.get(name),
            progress=progress,
            row=row,
        )
        for row, (name, record) in enumerate(records.items())
    }
    synapses = {}
    for row, record in enumerate(document["synapses"], len(populations)):
        source, target = populations[record["source"]], populations[record["target"]]
        synapse = build_synapse(
            record,
            records,
            arrays,
            link_ticks=document["link_ticks"],
            progress=progress,
            row=row,
        )
        source.frame_out.connect(synapse.frame_in)
        synapse.credit_out.connect(source.credit_in)
        target.step_out.connect(synapse.step_in)
        synapse.current_out.connect(target.current_in)
        synapses[record["source"], record["target"]] = synapse
    return populations, synapses


def build_population(record, synapses, arrays, pixels, probed, **params):
    """The process of one population; its name lists the population's cores on the chip.

    Args:
        probed: neurons to record, or None.
    """
    cores = ", ".join(str(core) for core in record["cores"])
    params |= {
        "name": f"{record['name']} (cores {cores})" if cores else record["name"],
        "shape": tuple(record["shape"]),
        "replicas": record["replicas"],
        "num_incoming": sum(s["target"] == record["name"] for s in synapses),
        "num_outgoing": sum(s["source"] == record["name"] for s in synapses),
    }
    if record["kind"] == "input":
        return InputPopulation(pixels=pixels.reshape(len(pixels), -1), **params)
    params |= {
        "timesteps": record["timesteps"],
        "num_samples": len(pixels),
        "bias": arrays[record["bias"]],
    }
    if probed is not None:
        params["probed"] = probed
    if record["kind"] == "readout":
        return (ReadoutPopulation if probed is None else ProbedReadoutPopulation)(**params)
    return (SpikingPopulation if probed is None else ProbedSpikingPopulation)(
        threshold=arrays[record["threshold"]],
        initial_potential=arrays[record["initial_potential"]],
        **params,
    )


def build_synapse(record, populations, arrays, **params):
    weights = [arrays[m["weight"]] for m in record["maps"] if "weight" in m]
    assert len(weights) == 1, "exactly one map of a synapse carries a weight"
    return Synapse(
        name=f"{record['source']} -> {record['target']}",
        weight=weights[0],
        maps=with_matrices(record["maps"], arrays),
        exponent=record["exponent"],
        frames=record["frames"],
        slots=record["slots"],
        source=populations[record["source"]],
        target=populations[record["target"]],
        **params,
    )
