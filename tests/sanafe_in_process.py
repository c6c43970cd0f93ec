"""Run an export to SANA-FE in this process: no start-up for each of many small networks."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

from deploy.backends.sanafe.network import to_sanafe, write_sanafe
from deploy.check.judged_build import Samples
from hw_models.multicore.mapping.mapping import map_network
from sim.runners.sanafe import TIMING_MODELS, sanafe_run
from sim.stepped import run_stepped


def as_build(network, target, provisioning, pixels):
    """What a cross-check needs of a build."""
    mapping = map_network(network, target, provisioning)
    return SimpleNamespace(
        network=network,
        target=target,
        mapping=mapping,
        pipeline=mapping.pipeline,
        pixels=pixels,
        samples=Samples(pixels=pixels, name="random pixels", note=None),
        reference=run_stepped(network, pixels),
    )


def run_export(folder, export):
    """Write an export and run its own script; returns the ``SanafeRun``."""
    import sanafe

    write_sanafe(export, folder)
    spec = importlib.util.spec_from_file_location("exported_run", folder / "run.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    architecture = sanafe.load_arch(folder / "architecture.yaml")
    network = sanafe.load_net(folder / "network.yaml", architecture)
    result = {}
    for timing in TIMING_MODELS:
        chip = sanafe.SpikingChip(architecture)
        chip.load(network)
        result |= script.run(chip, export.plan, export.arrays, timing)
    return sanafe_run(result)


def export_build(build):
    return to_sanafe(build.mapping, build.pipeline, build.pixels)
