"""The verification ladder compares every integer, rung by rung, from the model file to each engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deploy.backends.lava.emit_bundle import SOURCES, bundle_document
from deploy.build.folder import BUILD, changes_of
from deploy.build.load import LAVA, MODEL
from deploy.check.engines import compare_array, compare_lava_run, run_build_in_lava
from deploy.check.judged_build import JudgedBuild
from deploy.check.lowered_again import images_of_build
from deploy.check.report_figures import report_difference
from deploy.design.design import lower_model
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.modes import snn_schedules
from hw_models.pe_array.operands import Activity
from hw_models.pe_array.rtl.driver.network import verify_in_rtl
from hw_models.pe_array.rtl.driver.simulator import SimulatorName
from sim.core_by_core import frames_and_probes, verify_cores
from sim.exact.engine import run_exact
from sim.results import first_divergence
from toolchain.array_files import read_npz
from toolchain.errors import DataError, LavaError, UnsupportedNetworkError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.json_files import read_typed_json
from toolchain.networks.integer_network.serialize import array_titles, describe_network

Status = Literal["equal", "different", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One comparison of the ladder.

    Attributes:
        detail: the quantities compared, or the first difference, or why the rung was skipped.
    """

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, kw_only=True)
class RtlLimit:
    """The simulator for the PE array's RTL, and the most cycles to simulate."""

    simulator: SimulatorName
    cycles: int


def verify(
    build: JudgedBuild,
    lava_python: Callable[[], Path],
    on_stage: Callable[[str], None] = lambda stage: None,
    rtl: RtlLimit | None = None,
) -> Iterator[Rung]:
    """Climb the ladder: compare each engine with the stepped engine.

    Args:
        lava_python: finds the interpreter for Lava, or raises LavaError.
        rtl: None leaves the rung of the PE array's RTL out.

    Raises:
        RtlError: the RTL cannot be simulated.
        ModelFileError: the folder was replaced since the build was read.
    """
    rungs = _rungs(build, lava_python, on_stage, rtl)
    while True:
        with build.still_there():
            rung = next(rungs, None)
        if rung is None:
            return
        yield rung


def _rungs(
    build: JudgedBuild,
    lava_python: Callable[[], Path],
    on_stage: Callable[[str], None],
    rtl: RtlLimit | None,
) -> Iterator[Rung]:
    on_stage("lowering the model again")
    yield _model_to_integers(build)
    on_stage("exact engine")
    yield _exact_engine(build)
    yield _cores(build, on_stage)
    on_stage("Lava bundle")
    yield _bundle(build)
    on_stage("running in Lava")
    yield _lava(build, lava_python)
    on_stage("PE array")
    yield _pe_array(build)
    on_stage("measuring again")
    yield _report(build)
    if rtl is not None:
        yield _rtl(build, rtl, on_stage)


def compare_files(folder: Path) -> Rung:
    """The lowest rung: no file of a build folder was changed, removed or added.

    Raises:
        ModelFileError: the folder is not a build.
    """
    changes = changes_of(folder, BUILD)
    num_files = changes.num_files
    return _rung("files of the build", str(changes) or None, f"SHA-256 of all {num_files} files")


def _rung(name: str, difference: str | None, compared: str) -> Rung:
    if difference is None:
        return Rung(name=name, status="equal", detail=compared)
    return Rung(name=name, status="different", detail=difference)


def _model_to_integers(build: JudgedBuild) -> Rung:
    name = "quantized ANN -> integer network"
    checkpoint = load_checkpoint(build.folder / MODEL)
    try:
        images = images_of_build(build, checkpoint.graph)
    except DataError as error:
        return Rung(name=name, status="skipped", detail=str(error))
    _, lowered = lower_model(checkpoint.graph, build.target, build.options, images)
    document, arrays = describe_network(lowered.network)
    found_document, found = describe_network(build.network)
    titles = array_titles(document)
    difference = _array_difference(titles, arrays, found)
    difference = difference or _record_difference(document, found_document)
    num_integers = sum(array.size for array in arrays.values())
    return _rung(name, difference, f"{num_integers:,} integers lowered again from the model")


def _exact_engine(build: JudgedBuild) -> Rung:
    name = "stepped engine -> exact engine"
    if not build.network.has_constant_current:
        reason = "replicate and truncate have no closed form; the stepped engine is the only one"
        return Rung(name=name, status="skipped", detail=reason)
    exact = run_exact(build.network, build.pixels, with_trains=True)
    compared = f"counts, trains and logits of {build.samples.name}"
    return _rung(name, first_divergence(build.reference, exact), compared)


def _cores(build: JudgedBuild, on_stage: Callable[[str], None]) -> Rung:
    frames = frames_and_probes(build.mapping, build.pixels, build.reference.trains)
    samples = len(next(iter(frames.values())))
    total = len(build.mapping.cores)
    found = verify_cores(
        build.mapping,
        schedule_pipeline(build.pipeline, samples),
        frames,
        progress=lambda done: on_stage(f"core {done:,} of {total:,}"),
    )
    return _rung(
        "integer network -> cores",
        None if found is None else str(found),
        f"membrane potentials of {total:,} cores, each from its own axons, lists and slots, on "
        f"{build.samples.name} and {samples - len(build.pixels)} probes",
    )


def _bundle(build: JudgedBuild) -> Rung:
    """The files of the bundle; they are compared before it runs, as a silent neuron hides its weights."""
    folder = build.folder / LAVA
    document, arrays = bundle_document(
        build.network,
        provisioning=build.mapping.provisioning,
        link_ticks=build.target.link_ticks,
        cores=build.mapping.cores_by_population(),
    )
    remedy = "compile the model again"
    found_document = read_typed_json(
        folder / "network.json", dict[str, Any], absent=remedy, remedy=remedy
    )
    found = read_npz(folder / "weights.npz", remedy)
    difference = (
        _source_difference(folder)
        or _array_difference(array_titles(document), arrays, found)
        or _record_difference(json.loads(json.dumps(document)), found_document)
    )
    compared = "its sources, and every array, slot and exponent"
    return _rung("integer network -> Lava bundle", difference, compared)


def _lava(build: JudgedBuild, lava_python: Callable[[], Path]) -> Rung:
    name = "Lava bundle -> Lava on the CPU"
    try:
        python = lava_python()
    except LavaError as error:
        return Rung(name=name, status="skipped", detail=str(error))
    schedule = schedule_pipeline(build.pipeline, len(build.pixels))
    num_ticks = schedule.num_ticks
    try:
        run = run_build_in_lava(build, build.pixels, num_ticks=num_ticks, python=python)
    except LavaError as error:
        return Rung(name=name, status="different", detail=str(error))
    compared = (
        f"counts, trains, logits, step ticks and stall counters of {build.samples.name} over "
        f"{num_ticks} ticks"
    )
    return _rung(name, compare_lava_run(build.reference, schedule, run).first_difference, compared)


def _pe_array(build: JudgedBuild) -> Rung:
    name = "integer network -> PE array"
    try:
        difference = compare_array(build.reference, build.network, build.array, build.pixels)
    except UnsupportedNetworkError as error:
        return Rung(name=name, status="skipped", detail=str(error))
    schedules = len(snn_schedules(build.network))
    compared = f"counts, trains and logits of {build.samples.name}, {schedules} schedules"
    return _rung(name, difference, compared)


def _report(build: JudgedBuild) -> Rung:
    difference, left_out = report_difference(build)
    compared = "every figure computed again, and the page, the array's file and the trace"
    return _rung(
        "build -> report", difference, compared + (f"; left out: {left_out}" if left_out else "")
    )


def _rtl(build: JudgedBuild, limit: RtlLimit, on_stage: Callable[[str], None]) -> Rung:
    """The RTL on the first sample only, as the array's cycles do not depend on the values."""
    name = "PE array -> its RTL"
    try:
        run = verify_in_rtl(
            build.network,
            build.array,
            Activity(
                pixels=build.pixels[:1],
                counts={name: count[:1] for name, count in build.reference.counts.items()},
                trains={name: train[:1] for name, train in build.reference.trains.items()},
            ),
            simulator=limit.simulator,
            cycle_limit=limit.cycles,
            progress=on_stage,
        )
    except UnsupportedNetworkError as error:
        return Rung(name=name, status="skipped", detail=str(error))
    num_left_out, cycles_left_out = len(run.left_out), sum(run.left_out.values())
    over = ""
    if run.left_out:
        over = (
            f"; {num_left_out} longer ones over the limit of {limit.cycles:,} cycles left out "
            f"({cycles_left_out:,} cycles: --rtl-cycles {run.cycles + cycles_left_out})"
        )
    if run.max_pools:
        over += f"; without {', '.join(run.max_pools)}: the RTL has no comparators"
    if run.num_kernels == 0:
        return Rung(name=name, status="skipped", detail=f"no kernel{over}")
    compared = (
        f"cycles, port accesses, sums and spikes of {run.num_kernels} kernels on one sample, {run.cycles:,} "
        f"cycles in {run.simulator}{over}"
    )
    return _rung(name, run.difference, compared)


def _source_difference(folder: Path) -> str | None:
    """The first Python file of a bundle that is not as installed: users are invited to run them."""
    ours, theirs = (
        {path.name: path.read_bytes() for path in sorted(place.glob("*.py"))}
        for place in (SOURCES, folder)
    )
    for name in sorted(ours | theirs):
        if ours.get(name) != theirs.get(name):
            return f"{LAVA}/{name}: differs from the installed version; compile again"
    return None


def _array_difference(
    titles: dict[str, str], expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> str | None:
    """The first array entry that differs, with the array's title: population or synapse, and field."""
    for name, array in expected.items():
        other, title = found.get(name), titles[name]
        if other is None or other.shape != array.shape:
            return f"{title}: must be an array of shape {array.shape}"
        different = np.argwhere(other != array)
        if len(different):
            at = tuple(int(i) for i in different[0])
            return f"{title} at {at} is {int(other[at]):,}, must be {int(array[at]):,}"
    return None


def _record_difference(expected: Any, found: Any, where: str = "") -> str | None:
    """The first field of a JSON document that differs, with its path."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        pairs = [(f"{where}.{key}".lstrip("."), expected[key], found[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [
            (f"{where}[{_title(item, index)}]", item, found[index])
            for index, item in enumerate(expected)
        ]
    else:
        return None if expected == found else f"{where} is {found!r}, must be {expected!r}"
    return next((d for w, a, b in pairs if (d := _record_difference(a, b, w))), None)


def _title(record: Any, index: int) -> str:
    """The name of a list entry, or the populations it connects, or else its index."""
    if isinstance(record, dict) and "name" in record:
        return str(record["name"])
    if isinstance(record, dict) and "source" in record:
        return f"{record['source']} -> {record['target']}"
    return str(index)
