"""Write the Lava bundle: unchanged copies of the sources in ``bundle/``, and the network as data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.build.folder import write_npz
from hw_models.multicore.pipeline.provisioning import Provisioning
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.network import step_frames
from toolchain.networks.integer_network.serialize import describe_network

FORMAT = "qac-deploy Lava bundle"
VERSION = 2
SOURCES = Path(__file__).parent / "bundle"

_README = """\
# The network as Lava processes

    python -I run.py --samples samples.npz --ticks 200 --out result.npz

Needs lava-nc 0.10.0 on Python 3.10 to 3.13. As lava-nc names Python 3.10 alone, install it with

    pip install asteval networkx numpy scipy
    pip install --no-deps --ignore-requires-python lava-nc==0.10.0

`python -I run.py --help` describes the two files.
`processes.py` has the Lava processes and their models, `network.py` builds and connects them, and
`linear_maps.py` has the arithmetic of a synapse. `lava_dataclasses.py` lets Lava be imported on Python 3.11
and later. `probes.py` has populations that record chosen neurons,
for `--probe`. `placement.py` runs Lava's processes in a few processes of
the operating system, and `progress.py` detects a run that hangs. `network.json` and `weights.npz` are the
network.

To change the network, first copy this folder to a place outside the build: `qac-deploy` refuses a build
whose files were changed, and executes its own copy of these processes. Then edit a population's record in
`network.json` (such as `timesteps` or `replicas`, or `slots` of a synapse: a multiple of its target's
replicas) or its arrays in `weights.npz`, or its model in `processes.py`, and run the copy.
"""


def bundle_document(
    network: IntegerNetwork,
    *,
    provisioning: Provisioning,
    link_ticks: int,
    cores: Mapping[str, Sequence[int]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The bundle's ``network.json`` and the arrays of its ``weights.npz``.

    Args:
        provisioning: slots D of each synapse's alignment buffer, and replicas R.
        link_ticks: delay of a frame forward and of a credit backward.
        cores: indices of each population's cores; a population that is not on the chip, such as the
            input, may be left out.
    """
    document, arrays = describe_network(network)
    document |= {"format": FORMAT, "version": VERSION, "link_ticks": link_ticks}
    for record, population in zip(document["populations"], network.populations, strict=True):
        record["timesteps"] = population.timesteps
        record["replicas"] = provisioning.num_replicas(population.name)
        record["cores"] = [int(core) for core in cores.get(record["name"], ())]
    for record, synapse in zip(document["synapses"], network.synapses, strict=True):
        record["slots"] = provisioning.slots[synapse.source, synapse.target]
        record["frames"] = None if synapse.alignment == "average" else step_frames(network, synapse)
    return document, arrays


def emit_bundle(
    network: IntegerNetwork,
    directory: Path,
    *,
    provisioning: Provisioning,
    link_ticks: int,
    cores: Mapping[str, Sequence[int]],
) -> None:
    """Write a bundle that needs only lava-nc; the same input gives the same bytes.

    Args:
        directory: is made if it does not exist.
        provisioning, link_ticks, cores: see ``bundle_document``.
    """
    document, arrays = bundle_document(
        network, provisioning=provisioning, link_ticks=link_ticks, cores=cores
    )
    directory.mkdir(parents=True, exist_ok=True)
    for source in sorted(SOURCES.glob("*.py")):
        shutil.copyfile(source, directory / source.name)
    (directory / "README.md").write_text(_README)
    (directory / "network.json").write_text(json.dumps(document, indent=1) + "\n")
    write_npz(directory / "weights.npz", arrays)
