"""The emitted bundle in Lava: the integers of the stepped engine, the ticks of the tick model."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import connect, dense, max_pooled, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import residual_network
from strategies import integer_networks, random_pixels

from deploy.backends.lava.emit_bundle import SOURCES, emit_bundle
from deploy.backends.lava.environment import find_lava_python
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from sim.results import first_divergence
from sim.runners.lava import run_lava
from sim.stepped import apply_maps, run_stepped
from toolchain.errors import LavaError
from toolchain.networks.integer_network import IntegerNetwork, verify_integer_network
from toolchain.networks.integer_network.serialize import describe_network
from toolchain.networks.linear_maps import Convolution, Resample, Scale, SelectChannels


@pytest.fixture(scope="module")
def lava_python():
    return find_lava_python()


def chain(alignment="average"):
    """input -> hidden (T = 3) -> logits on 2x2 images."""
    weight = np.arange(-4, 4)
    convolution = Convolution(weight=np.array([3, -2], np.int8).reshape(2, 1, 1, 1))
    return network_of(
        spiking("hidden", (2, 2, 2), timesteps=3, threshold=20, initial=10, bias=[5, -5]),
        connect("input", "hidden", convolution, exponent=1, alignment=alignment),
        connect("hidden", "logits", dense([weight, -weight]), alignment=alignment),
        image=(1, 2, 2),
        max_value=16,
        classes=2,
    )


def emit(network, directory, *, slots=2, link_ticks=1, cores=None):
    emit_bundle(
        network,
        directory,
        provisioning=uniform_provisioning(network, slots),
        link_ticks=link_ticks,
        cores=cores or {},
    )
    return directory


def shared_memory():
    """Names of the shared-memory segments on this machine, where the system lists them."""
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


def network_with_every_map():
    """Exact max pooling, dilation, resampling and selections of channels, and a readout that is a map."""
    random = np.random.default_rng(3)

    def weights(*size):
        return random.integers(-60, 100, size, dtype=np.int8)

    stem = spiking("stem", (2, 4, 4), timesteps=3, threshold=900, initial=450)
    maximum = max_pooled(stem, (2, 2), (1, 2), weight=4)
    repeat = Resample(rows=np.eye(3, dtype=np.int64), columns=np.eye(2, dtype=np.int64)[[0, 0, 1]])
    averages = Resample(rows=np.array([[1, 1, 0], [0, 1, 1]]), columns=np.eye(3, dtype=np.int64))
    dilated = Convolution(weight=weights(2, 1, 2, 2), padding=(1, 1), dilation=(3, 2))
    return verify_integer_network(
        network_of(
            stem,
            *maximum.populations,
            spiking("mixed", (4, 3, 3), timesteps=2, threshold=300, initial=150),
            connect("input", "stem", dilated),
            *maximum.synapses,
            *maximum.connect(
                "mixed",
                repeat,
                Convolution(weight=weights(3, 2, 1, 1)),
                SelectChannels(channels=np.array([2, -1, 0, 2])),
            ),
            connect(
                "mixed",
                "logits",
                SelectChannels(channels=np.array([-1, 3])),
                averages,
                Scale(weight=weights(2)),
            ),
            image=(1, 5, 4),
            max_value=15,
            classes=(2, 2, 3),
            bias=[5, -5],
        )
    )


@pytest.mark.lava
def test_every_map_and_a_readout_that_is_a_map_in_lava(lava_python, tmp_path):
    network = network_with_every_map()
    pixels = random_pixels(network, 0)
    run = run_lava(emit(network, tmp_path), pixels, num_ticks=60, python=lava_python, timeout_s=60)
    reference = run_stepped(network, pixels)
    assert all(counts.any() for counts in reference.counts.values())
    assert reference.logits.shape == (3, 12)
    assert first_divergence(reference, run.simulation) is None


@pytest.fixture(scope="module")
def bundled_maps():
    """The bundle's own arithmetic, which needs no Lava."""
    spec = importlib.util.spec_from_file_location("bundled_maps", SOURCES / "linear_maps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(max_examples=40)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_the_bundles_maps_are_those_of_the_stepped_engine(bundled_maps, network, seed):
    document, arrays = describe_network(network)
    random = np.random.default_rng(seed)
    for record, synapse in zip(document["synapses"], network.synapses, strict=True):
        values = random.integers(0, 256, network[synapse.source].shape, np.int32)
        maps = bundled_maps.with_matrices(record["maps"], arrays)
        currents = bundled_maps.apply_maps(maps, synapse.weighted.weight, values)
        assert currents.dtype == np.int64
        assert np.array_equal(currents, apply_maps(synapse.maps, values[None].astype(np.int64))[0])


@pytest.mark.lava
def test_names_of_populations_never_meet_in_a_result(lava_python, tmp_path):
    """NumPy takes the name 'counts/stem.npy' for the archive's member of 'counts/stem'."""
    names = {
        "input": "input",
        "stem": "stem",
        "inner.0": "stem.npy",
        "join": "stem/counts",
        "logits": "x",
    }
    network = residual_network()
    network = IntegerNetwork.build(
        [replace(p, name=names[p.name]) for p in network.populations],
        [replace(s, source=names[s.source], target=names[s.target]) for s in network.synapses],
    )
    pixels = random_pixels(network, 0)
    run = run_lava(emit(network, tmp_path), pixels, num_ticks=60, python=lava_python, timeout_s=60)
    reference = run_stepped(network, pixels)
    assert run.simulation.counts.keys() == reference.counts.keys()
    assert first_divergence(reference, run.simulation) is None


MIXED = given(
    integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True),
    st.data(),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(3, 7),
)


@pytest.mark.lava
@settings(max_examples=10)
@MIXED
def test_equals_the_stepped_engine_and_the_tick_model(
    lava_python, network, data, link_ticks, spare_ticks, samples
):
    assert_equals_both(lava_python, network, data, link_ticks, spare_ticks, samples)


@pytest.mark.lava
@pytest.mark.slow
@settings(max_examples=60)
@MIXED
def test_many_equal_the_stepped_engine_and_the_tick_model(
    lava_python, network, data, link_ticks, spare_ticks, samples
):
    assert_equals_both(lava_python, network, data, link_ticks, spare_ticks, samples)


def assert_equals_both(lava_python, network, data, link_ticks, spare_ticks, samples):
    pixels = random_pixels(network, seed=data.draw(st.integers(0, 99)), samples=samples)
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    slots = {
        edge: data.draw(st.integers(1, 3)) * replicas[edge[1]]
        for edge in uniform_provisioning(network, 1).slots
    }
    provisioning = Provisioning(slots=slots, replicas=replicas)
    pipeline = pipeline_of(network, provisioning, link_ticks)
    schedule = schedule_pipeline(pipeline, len(pixels))
    num_ticks = schedule.num_ticks + spare_ticks
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "lava"
        emit_bundle(
            network,
            bundle,
            provisioning=provisioning,
            link_ticks=link_ticks,
            cores={},
        )
        run = run_lava(bundle, pixels, num_ticks=num_ticks, python=lava_python, timeout_s=60)
    reference = run_stepped(network, pixels)
    assert first_divergence(reference, run.simulation) is None
    assert run.simulation.trains.keys() == reference.trains.keys()
    for name, ticks in schedule.step_ticks.items():
        assert np.array_equal(run.step_ticks[name], ticks)
    assert run.stalls.keys() == schedule.spans.keys()
    for stage in schedule.spans:
        expected = schedule.activity_ticks(stage)
        expected["drained"] += spare_ticks
        assert run.stalls[stage] == expected
        assert sum(run.stalls[stage].values()) == num_ticks


@pytest.mark.lava
def test_a_run_that_is_too_short_tells_the_state_of_every_buffer(lava_python, tmp_path):
    network = chain()
    bundle = emit(network, tmp_path / "lava")
    pixels = random_pixels(network, seed=0, samples=6)
    with pytest.raises(LavaError) as refusal:
        run_lava(bundle, pixels, num_ticks=12, python=lava_python)
    assert str(refusal.value) == (
        f"{bundle}: the Lava run failed with exit code 1\n"
        "error: 12 ticks are not enough; finished: input 4 of 6 samples, hidden 3 of 6 samples, "
        "logits 2 of 6 samples; slots taken: input -> hidden: 1 of 2, hidden -> logits: 1 of 2"
    )


@pytest.mark.lava
@pytest.mark.parametrize("timeout_s", [0.3, 3.0], ids=["while it starts", "while it runs"])
def test_a_run_that_takes_too_long_leaves_nothing_behind(lava_python, tmp_path, timeout_s):
    before = shared_memory()
    network = chain()
    bundle = emit(network, tmp_path / "lava")
    pixels = random_pixels(network, seed=0)
    with pytest.raises(LavaError, match=rf"the Lava run took more than {timeout_s:g} s"):
        run_lava(bundle, pixels, num_ticks=10**6, python=lava_python, timeout_s=timeout_s)
    left, patience = shared_memory() - before, 40
    while left & shared_memory() and patience:  # another test's run may hold some for a while
        patience -= 1
        time.sleep(0.5)
    assert patience
    assert not processes_of(bundle)


def run_directly(lava_python, bundle, folder, *options):
    """The bundle's own command, started and not waited for."""
    np.savez(folder / "samples.npz", pixels=random_pixels(chain(), 0))
    arguments = ["--samples", "samples.npz", "--ticks", "30", "--out", "result.npz", *options]
    return subprocess.Popen(
        [str(lava_python), "-I", str(bundle / "run.py"), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(bundle):
    listing = subprocess.run(["ps", "-wweo", "stat,args"], capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if str(bundle) in line and line[0] != "Z"]


def hanging(bundle):
    """The hidden population never finishes its second step."""
    source = (bundle / "processes.py").read_text()
    broken = source.replace(
        "        potential += current",
        "        if self.step[replica] == 1:\n            import time; time.sleep(3600)\n"
        "        potential += current",
    )
    assert broken != source
    (bundle / "processes.py").write_text(broken)
    return bundle


@pytest.mark.lava
def test_a_hang_is_noticed_and_shows_every_buffer(lava_python, tmp_path):
    bundle = hanging(emit(chain(), tmp_path / "lava"))
    process = run_directly(lava_python, bundle, tmp_path, "--patience", "2")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: no tick for 2 s; " in said
    first, *others = said.split("no tick for 2 s; ")[1].split("; ")
    assert first.startswith("hidden at sample 0 of the run after ")  # the one that is behind
    assert any(o.startswith("input -> hidden with 2 of 2 slots taken") for o in others)
    assert not processes_of(bundle)


@pytest.mark.lava
def test_few_processes_serve_a_network_and_none_outlives_a_kill(lava_python, tmp_path):
    bundle = hanging(emit(chain(), tmp_path / "lava"))
    process = run_directly(lava_python, bundle, tmp_path, "--processes", "2")
    deadline = time.monotonic() + 60
    # the main process, two that share the network, the runtime service, two of multiprocessing
    while len(processes_of(bundle)) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    assert 4 <= len(processes_of(bundle)) <= 6
    process.kill()
    process.communicate(timeout=60)
    while processes_of(bundle) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes_of(bundle)


@pytest.mark.lava
def test_an_error_inside_a_process_ends_the_run_and_is_shown(lava_python, tmp_path):
    network = chain()
    bundle = emit(network, tmp_path / "lava")
    source = (bundle / "processes.py").read_text()
    broken = source.replace("return self.pixels[self.sample[replica]]", "return self.pixels[99]")
    assert broken != source
    (bundle / "processes.py").write_text(broken)
    with pytest.raises(LavaError, match="IndexError: index 99 is out of bounds"):
        run_lava(bundle, random_pixels(network, 0), num_ticks=50, python=lava_python, timeout_s=30)


@pytest.mark.lava
@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (np.zeros((2, 1, 3, 2), int), r"must have shape \(samples, 1, 2, 2\), not \(2, 1, 3, 2\)"),
        (np.zeros((0, 1, 2, 2), int), r"must have shape \(samples, 1, 2, 2\), not \(0, 1, 2, 2\)"),
        (np.full((2, 1, 2, 2), 17), "must be integers 0..16"),
        (np.full((2, 1, 2, 2), 0.5), "must be integers 0..16"),
    ],
)
def test_wrong_pixels_are_refused(lava_python, tmp_path, pixels, complaint):
    with pytest.raises(LavaError, match=complaint):
        run_lava(emit(chain(), tmp_path / "lava"), pixels, num_ticks=20, python=lava_python)


@pytest.mark.lava
def test_a_failed_run_writes_no_result_and_no_byte_code(lava_python, tmp_path):
    bundle = emit(chain(), tmp_path / "lava")
    before = sorted(bundle.iterdir())
    np.savez(tmp_path / "samples.npz", pixels=random_pixels(chain(), 0))
    arguments = ["--samples", "samples.npz", "--ticks", "3", "--out", "result.npz"]
    command = [str(lava_python), "-I", str(bundle / "run.py"), *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1] == "tick 3 of 3"
    assert run.stderr.startswith("error: 3 ticks are not enough")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lava", "samples.npz"]
    assert sorted(bundle.iterdir()) == before


def test_an_interpreter_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(LavaError, match="cannot be started"):
        run_lava(
            emit(chain(), tmp_path / "lava"),
            random_pixels(chain(), 0),
            num_ticks=20,
            python=tmp_path / "python",
        )


def test_same_network_gives_the_same_bytes(tmp_path):
    first = emit(chain(), tmp_path / "first", cores={"hidden": [3, 4]})
    second = emit(chain(), tmp_path / "second", cores={"hidden": [3, 4]})
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(
        ["README.md", "network.json", "weights.npz", *(p.name for p in SOURCES.glob("*.py"))]
    )
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_structure_says_cores_slots_and_frames(tmp_path):
    folder = emit(chain("replicate"), tmp_path, slots=3, link_ticks=0, cores={"hidden": [3, 4]})
    document = json.loads((folder / "network.json").read_text())
    assert document["link_ticks"] == 0
    assert [p["cores"] for p in document["populations"]] == [[], [3, 4], []]
    assert [(s["slots"], s["frames"]) for s in document["synapses"]] == [
        (3, [0, 0, 0]),
        (3, [0]),
    ]
    averaging = json.loads((emit(chain(), tmp_path) / "network.json").read_text())
    assert [s["frames"] for s in averaging["synapses"]] == [None, None]


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.py")), ids=lambda path: path.name)
def test_the_bundle_imports_nothing_of_ours(source):
    imported = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    siblings = {path.stem for path in SOURCES.glob("*.py")}
    assert imported <= {"lava", "numpy", *siblings, *sys.stdlib_module_names}


INTRUDER = "import pathlib; pathlib.Path({!r}).touch()\n"


@pytest.mark.lava
def test_no_file_of_a_build_is_executed(compiled, tmp_path, qac_deploy):
    """Neither changed code in the bundle runs, nor a module with a name of the standard library."""
    build = shutil.copytree(compiled[1], tmp_path / "build")
    marker = tmp_path / "executed"
    intruder = INTRUDER.format(str(marker))
    for name in ("argparse.py", "numpy.py", "notes.py"):
        (build / "lava" / name).write_text(intruder)
    simulated = qac_deploy("simulate", "build", "--engine", "lava", "--samples", 1)
    assert simulated.returncode == 0, simulated.stderr  # files that were added change nothing
    assert simulated.stdout.count("equal") == 3
    for source in (build / "lava").glob("*.py"):
        source.write_text(intruder + source.read_text())
    refused = qac_deploy("simulate", "build", "--engine", "lava", "--samples", 1)
    assert refused.returncode == 2
    assert (
        "build: is not as it was written: lava/lava_dataclasses.py was changed;" in refused.stderr
    )
    verified = qac_deploy("verify", "build", "--samples", 1, "--json")
    assert verified.returncode == 1
    different = [r for r in json.loads(verified.stdout)["rungs"] if r["status"] != "equal"]
    assert [rung["name"] for rung in different] == [
        "files of the build", "integer network -> Lava bundle",
    ]  # fmt: skip
    assert not marker.exists()


@pytest.mark.lava
def test_a_users_own_run_of_the_bundle_does_execute_it(lava_python, tmp_path):
    """The counterpart of the test above: its intruder would be noticed."""
    bundle, marker = emit(chain(), tmp_path / "lava"), tmp_path / "executed"
    source = bundle / "processes.py"
    source.write_text(INTRUDER.format(str(marker)) + source.read_text())
    process = run_directly(lava_python, bundle, tmp_path)
    process.communicate(timeout=60)
    assert marker.exists()
