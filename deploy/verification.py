"""The verification ladder: from the model file to each engine, rung by rung, every integer compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deploy.build_folder import MODEL, load_report
from deploy.compilation import CompileOptions
from deploy.design import chosen_graph, lowering
from deploy.lava_emitter.emit_bundle import bundle_document
from hw_models.multicore.mapping import Mapping
from hw_models.multicore.mapping_file import load_mapping
from hw_models.multicore.pipeline import Pipeline, pipeline_of
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.array_description import PeArray, load_array
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.modes import snn_schedules
from hw_models.pe_array.rtl.driver.network import verify_in_rtl
from hw_models.pe_array.rtl.driver.simulator import SimulatorName
from hw_models.target_description import TargetDescription, load_target
from sim.core_by_core import frames_and_probes, verify_cores
from sim.exact import run_exact
from sim.lava_runner import LavaRun, run_lava
from sim.simulation import Simulation, first_divergence
from sim.stepped import run_stepped
from toolchain.checkpoint import load_checkpoint
from toolchain.datasets import load_recorded
from toolchain.errors import DataError, LavaError, ModelFileError
from toolchain.integer_network import IntegerNetwork
from toolchain.integer_network.serialize import (
    array_titles,
    describe_network,
    load_integer_network,
)

# about 20 s each at the default array's 1,024 elements
RTL_CYCLES: dict[SimulatorName, int] = {"verilator": 1_000_000, "icarus": 500}

Status = Literal["equal", "different", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One comparison of the ladder.

    Attributes:
        detail: what was compared, or the first difference, or why it was skipped.
    """

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, kw_only=True)
class RtlLimit:
    """How much of the PE array's RTL to simulate, and with what."""

    simulator: SimulatorName
    cycles: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """A build folder read back, with the samples to try and the judge's result on them."""

    folder: Path
    options: CompileOptions
    target: TargetDescription
    array: PeArray
    network: IntegerNetwork
    mapping: Mapping
    pipeline: Pipeline
    pixels: np.ndarray
    reference: Simulation


def load_build(folder: Path, num_samples: int) -> Build:
    """Read a build, and run the stepped engine on test samples (random pixels without a data set).

    Raises:
        QacDeployError: a file of the build is missing or damaged.
    """
    report = load_report(folder)
    try:
        options = CompileOptions(**report["options"])
    except TypeError as error:
        raise ModelFileError(f"{folder}: report.json has other options ({error})") from error
    network = load_integer_network(folder)
    target = load_target(options.target)
    mapping = load_mapping(folder, network, target)
    pixels = _samples(network, report, folder, num_samples)
    return Build(
        folder=folder,
        options=options,
        target=target,
        array=load_array(options.array),
        network=network,
        mapping=mapping,
        pipeline=pipeline_of(network, mapping.slots, target.link_ticks, mapping.replicas),
        pixels=pixels,
        reference=run_stepped(network, pixels),
    )


def verify(
    build: Build,
    lava_python: Callable[[], Path],
    on_stage: Callable[[str], None] = lambda stage: None,
    rtl: RtlLimit | None = None,
) -> Iterator[Rung]:
    """Climb the ladder; each rung is held against the one the judge stands on.

    Args:
        lava_python: finds the interpreter for Lava, or raises LavaError.
        rtl: what to simulate of the PE array's RTL; without it there is no such rung.

    Raises:
        RtlError: the RTL is asked for and cannot be simulated.
    """
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
    if rtl is not None:
        yield _rtl(build, rtl, on_stage)


def hold_lava_run(build: Build, run: LavaRun) -> str | None:
    """The first difference of a Lava run to the stepped engine and the tick model, or None."""
    schedule = schedule_pipeline(build.pipeline, len(build.pixels))
    if divergence := first_divergence(build.reference, run.simulation):
        return divergence
    for name, ticks in schedule.step_ticks.items():
        if (ticks != run.step_ticks[name]).any():
            return f"{name}: steps fire at other ticks than the tick model's"
    for stage in schedule.spans:
        if schedule.activity_ticks(stage) != run.stalls[stage]:
            return f"{stage}: stall counters {run.stalls[stage]} differ from the tick model's"
    return None


def hold_array(network: IntegerNetwork, array: PeArray, pixels: np.ndarray) -> str | None:
    """The first difference of the PE array's own loop order to the stepped engine, or None.

    Under both schedules, where the network's alignment allows them.
    """
    stepped = run_stepped(network, pixels)
    for mode in snn_schedules(network):
        run = run_on_array(network, array, pixels, mode)
        on_array = Simulation(logits=run.logits, counts=run.counts, trains=run.trains)
        if (divergence := first_divergence(stepped, on_array)) is not None:
            return f"{mode}: {divergence}"
    return None


def _samples(
    network: IntegerNetwork, report: dict[str, Any], folder: Path, count: int
) -> np.ndarray:
    if report["data"] is not None:
        try:
            return load_recorded(report, folder)[0].test_pixels[:count]
        except DataError:
            pass  # its files are elsewhere: any pixels will do for an equality
    return random_pixels(network, count)


def random_pixels(network: IntegerNetwork, count: int) -> np.ndarray:
    """Pixels of any value the input population holds, ``(count, C, H, W)``; always the same ones."""
    source = network.input
    return np.random.default_rng(0).integers(0, source.max_value + 1, (count, *source.shape))


def _rung(name: str, difference: str | None, compared: str) -> Rung:
    if difference is None:
        return Rung(name=name, status="equal", detail=compared)
    return Rung(name=name, status="different", detail=difference)


def _model_to_integers(build: Build) -> Rung:
    name = "quantized ANN -> integer network"
    checkpoint = load_checkpoint(build.folder / MODEL)
    network = lowering(build.target, build.options)(chosen_graph(checkpoint.graph, build.options))
    document, arrays = describe_network(network)
    found_document, found = describe_network(build.network)
    titles = array_titles(document)
    difference = _array_difference(titles, arrays, found)
    difference = difference or _record_difference(document, found_document)
    num_integers = sum(array.size for array in arrays.values())
    return _rung(name, difference, f"{num_integers:,} integers lowered again from the model")


def _exact_engine(build: Build) -> Rung:
    name = "stepped engine -> exact engine"
    if not build.network.has_constant_current:
        reason = "replicate and truncate have no closed form; the stepped engine is the only one"
        return Rung(name=name, status="skipped", detail=reason)
    exact = run_exact(build.network, build.pixels, with_trains=True)
    compared = f"counts, trains and logits of {len(build.pixels)} samples"
    return _rung(name, first_divergence(build.reference, exact), compared)


def _cores(build: Build, on_stage: Callable[[str], None]) -> Rung:
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
        f"{len(build.pixels)} samples and {samples - len(build.pixels)} probes",
    )


def _bundle(build: Build) -> Rung:
    """What the bundle was given: compared before it runs, as a silent neuron hides its weights."""
    folder = build.folder / "lava"
    document, arrays = bundle_document(
        build.network,
        buffer_slots=build.mapping.slots,
        link_ticks=build.target.link_ticks,
        cores=build.mapping.cores_by_population(),
        replicas=build.mapping.replicas,
    )
    try:
        found_document = json.loads((folder / "network.json").read_text())
        with np.load(folder / "weights.npz", allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{folder}: cannot be read ({error}); compile again") from error
    difference = _array_difference(array_titles(document), arrays, found)
    difference = difference or _record_difference(json.loads(json.dumps(document)), found_document)
    return _rung("integer network -> Lava bundle", difference, "every array, slot and exponent")


def _lava(build: Build, lava_python: Callable[[], Path]) -> Rung:
    name = "Lava bundle -> Lava on the CPU"
    try:
        python = lava_python()
    except LavaError as error:
        return Rung(name=name, status="skipped", detail=str(error))
    num_ticks = schedule_pipeline(build.pipeline, len(build.pixels)).num_ticks
    try:
        run = run_lava(build.folder / "lava", build.pixels, num_ticks=num_ticks, python=python)
    except LavaError as error:
        return Rung(name=name, status="different", detail=str(error))
    compared = f"counts, trains, logits, step ticks and stall counters over {num_ticks} ticks"
    return _rung(name, hold_lava_run(build, run), compared)


def _pe_array(build: Build) -> Rung:
    name = "integer network -> PE array"
    difference = hold_array(build.network, build.array, build.pixels)
    schedules = len(snn_schedules(build.network))
    compared = f"counts, trains and logits of {len(build.pixels)} samples, {schedules} schedules"
    return _rung(name, difference, compared)


def _rtl(build: Build, limit: RtlLimit, on_stage: Callable[[str], None]) -> Rung:
    """The first sample: the array's cycles do not depend on what it computes."""
    name = "PE array -> its RTL"
    run = verify_in_rtl(
        build.network,
        build.array,
        build.pixels[:1],
        {name: count[:1] for name, count in build.reference.counts.items()},
        {name: train[:1] for name, train in build.reference.trains.items()},
        simulator=limit.simulator,
        cycle_limit=limit.cycles,
        progress=on_stage,
    )
    num_left_out, cycles_left_out = len(run.left_out), sum(run.left_out.values())
    over = ""
    if run.left_out:
        over = (
            f"; {num_left_out} longer ones over the limit of {limit.cycles:,} cycles left out "
            f"({cycles_left_out:,} cycles: --rtl-cycles {run.cycles + cycles_left_out})"
        )
    if run.num_kernels == 0:
        return Rung(name=name, status="skipped", detail=f"no pass{over}")
    compared = (
        f"cycles, port accesses, sums and spikes of {run.num_kernels} passes on one sample, {run.cycles:,} "
        f"cycles in {run.simulator}{over}"
    )
    return _rung(name, run.difference, compared)


def _array_difference(
    titles: dict[str, str], expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> str | None:
    """The first array entry that differs, by the title of its array: population or synapse, and field."""
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
    """A list entry by what it is called, where it has a name or ends."""
    if isinstance(record, dict) and "name" in record:
        return str(record["name"])
    if isinstance(record, dict) and "source" in record:
        return f"{record['source']} -> {record['target']}"
    return str(index)
