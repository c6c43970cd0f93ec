"""Whole data sets: the same integers in chunks, on workers, and after an interrupt."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import distributed
import numpy as np
import pytest
from builders import connect, network_of, spiking

from deploy.build import line_journal as journal_module
from deploy.dataset_run import cluster as simulation_cluster
from deploy.dataset_run.cluster import Cluster
from deploy.dataset_run.journal import Journal, describe_run
from deploy.dataset_run.simulate_dataset import (
    CHUNK_SAMPLES,
    ChunkSimulator,
    in_this_process,
    simulate_dataset,
)
from sim.engines import ENGINES
from sim.stepped import run_stepped
from toolchain.errors import ClusterError, EngineError, ModelFileError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Dense

SAMPLES = 2 * CHUNK_SAMPLES + 7


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (4, 1, 3, 3), dtype=np.int8)
    head = rng.integers(-127, 128, (5, 4 * 16), dtype=np.int8)
    return network_of(
        spiking("hidden", (4, 4, 4), timesteps=3, threshold=60_000, initial=30_000),
        connect("input", "hidden", Convolution(weight=weight, padding=(1, 1))),
        connect("hidden", "logits", Dense(weight=head), exponent=2),
        image=(1, 4, 4),
        max_value=255,
        classes=5,
    )


@pytest.fixture(scope="module")
def pixels():
    return noise()


def noise():
    return np.random.default_rng(0).integers(0, 256, (SAMPLES, 1, 4, 4), np.uint8)


@pytest.fixture(scope="module")
def whole(network, pixels):
    return simulate_dataset(ChunkSimulator(network=network), pixels)


def assert_same(ours, theirs):
    assert np.array_equal(ours.predictions, theirs.predictions)
    assert ours.spikes == theirs.spikes
    assert ours.logits_sha256 == theirs.logits_sha256


def test_a_data_set_in_chunks_is_the_stepped_run_of_all_samples(network, pixels, whole):
    run = run_stepped(network, pixels)
    assert len(np.unique(run.counts["hidden"])) == 4
    assert np.array_equal(whole.predictions, run.predictions)
    assert whole.spikes == {"hidden": int(run.counts["hidden"].sum())}
    assert_same(simulate_dataset(ChunkSimulator(network=network, engine="stepped"), pixels), whole)


def test_neurons_that_fire_in_every_step_are_counted(network, pixels):
    """As many spikes as eight counts in one 64-bit integer could overflow with."""
    source, hidden, logits = network.populations
    ones = np.ones_like(hidden.threshold)
    restless = replace(hidden, threshold=ones, initial_potential=0 * ones, bias=10**6 * ones)
    always = IntegerNetwork.build([source, restless, logits], network.synapses)
    run = simulate_dataset(ChunkSimulator(network=always), pixels)
    assert run.spikes == {"hidden": SAMPLES * 64 * 3}


def test_another_logit_is_another_digest(network, pixels, whole):
    changed = pixels.copy()
    changed[-1] = 0
    other = simulate_dataset(ChunkSimulator(network=network), changed)
    assert other.logits_sha256 != whole.logits_sha256


def test_the_first_samples_only(network, pixels, whole):
    run = simulate_dataset(ChunkSimulator(network=network), pixels, num_samples=CHUNK_SAMPLES + 1)
    assert np.array_equal(run.predictions, whole.predictions[: CHUNK_SAMPLES + 1])


def backwards(simulator, chunks):
    return in_this_process(simulator, reversed(list(chunks)))


def test_the_order_in_which_chunks_finish_does_not_matter(network, pixels, whole):
    assert_same(simulate_dataset(ChunkSimulator(network=network), pixels, spread=backwards), whole)


def run_of(network):
    return describe_run(network, "exact", noise(), np.arange(SAMPLES), CHUNK_SAMPLES)


@pytest.fixture
def interrupted(network, pixels, tmp_path):
    """The journal of a run that was interrupted after its first chunk."""
    path = tmp_path / "build.simulation"
    journal = Journal(path, run_of(network), resume=False)

    def interrupt(done):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_dataset(
            ChunkSimulator(network=network), pixels, journal=journal, on_progress=interrupt
        )
    journal.close(finished=False)
    return path


def resumed(path, network, pixels):
    """The run that goes on, and the chunks it computed."""
    computed = []

    def counting(simulator, chunks):
        for index, result in in_this_process(simulator, chunks):
            computed.append(index)
            yield index, result

    journal = Journal(path, run_of(network), resume=True)
    run = simulate_dataset(
        ChunkSimulator(network=network), pixels, spread=counting, journal=journal
    )
    journal.close(finished=True)
    return run, computed


def test_an_interrupted_run_goes_on(interrupted, network, pixels, whole):
    run, computed = resumed(interrupted, network, pixels)
    assert computed == [1, 2]
    assert_same(run, whole)
    assert not interrupted.exists()


def test_a_chunk_cut_off_while_it_was_written_is_computed_again(
    interrupted, network, pixels, whole
):
    interrupted.write_text(interrupted.read_text()[:-3])
    run, computed = resumed(interrupted, network, pixels)
    assert computed == [0, 1, 2]
    assert_same(run, whole)


def one_pixel(network):
    pixels = noise()
    pixels[-1, 0, 3, 3] ^= 1
    return describe_run(network, "exact", pixels, np.arange(SAMPLES), CHUNK_SAMPLES)


def one_label(network):
    labels = np.arange(SAMPLES)
    labels[0] = 1
    return describe_run(network, "exact", noise(), labels, CHUNK_SAMPLES)


def one_sample_less(network):
    return describe_run(network, "exact", noise(), np.arange(SAMPLES - 1), CHUNK_SAMPLES)


def one_bias(network):
    source, hidden, logits = network.populations
    other = IntegerNetwork.build(
        [source, replace(hidden, bias=hidden.bias + 1), logits], network.synapses
    )
    return run_of(other)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (one_pixel, "data"),
        (one_label, "data"),
        (one_sample_less, "samples"),
        (one_bias, "network"),
        (lambda network: run_of(network) | {"engine": "stepped"}, "engine"),
    ],
)
def test_the_state_of_another_run_is_refused(interrupted, network, change, field):
    Journal(interrupted, run_of(network), resume=True).close(finished=False)
    with pytest.raises(
        ModelFileError, match=rf"is of another run: its {field} differs; run without --resume"
    ):
        Journal(interrupted, change(network), resume=True)


FORMAT = "qac-deploy simulation, version 3"
NOT_A_STATE = "not the state of a simulation"


@pytest.mark.parametrize(
    ("line", "content", "message"),
    [
        (1, "not json", NOT_A_STATE),
        (1, "[" * 100_000, NOT_A_STATE + r" \(more than 64 levels deep\)"),
        (0, "[]", "exists and is not the state of a simulation, so it is not replaced"),
        (0, f'["{FORMAT}"]', r"line 1 must be a record with named fields, not \["),
        (1, "[]", r"line 2 was changed since it was written; run without --resume to start over"),
        (0, f'{{"x": "{FORMAT}"}}', "is of another run: its format differs"),
        (1, {"x": 3}, "line 2 has no field 'x'; its fields are chunk, predictions, "),
        (1, {"chunk": True}, "line 2.chunk must be an integer of at least 0, not True"),
        (1, {"chunk": 3}, "line 2.chunk must be the number of a chunk of this run, not 3"),
        (1, {"predictions": [0]}, f"line 2.predictions must be {CHUNK_SAMPLES} integers"),
        (1, {"spikes": [1]}, r"line 2.spikes must be a record with named fields, not \[1\]"),
        (1, {"spikes": {"stem": 0.5}}, "line 2.spikes.stem must be an integer of at least 0"),
        (1, {"logits_sha256": None}, "line 2.logits_sha256 must be a SHA-256 of 64 "),
    ],
)
def test_a_damaged_state_is_refused(interrupted, network, line, content, message):
    lines = interrupted.read_text().splitlines()
    if isinstance(content, dict):
        record = json.loads(lines[line]) | content
        del record["sha256"]
        before = json.loads(lines[line - 1])["sha256"]
        content = journal_module._line(record, before)[0].rstrip()
    lines[line] = content
    interrupted.write_text("\n".join(lines) + "\n")
    with pytest.raises(ModelFileError, match=message):
        Journal(interrupted, run_of(network), resume=True)


def test_every_changed_byte_is_refused_with_its_line(interrupted, network, pixels):
    journal = Journal(interrupted, run_of(network), resume=True)
    journal.write(1, ChunkSimulator(network=network)(pixels[:CHUNK_SAMPLES]))
    journal.close(finished=False)
    content = interrupted.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1
        interrupted.write_bytes(damaged)
        try:
            journal = Journal(interrupted, run_of(network), resume=True)
        except ModelFileError:
            continue
        journal.close(finished=False)
        assert (
            position == len(content) - 1
        )  # the end of the last line, which an interrupt can cut off
    lines = content.splitlines(keepends=True)
    third = lines[2].replace(b"[", b"[ ", 1)
    for wrong, number in (
        ([lines[0], lines[1], third], 3),
        ([lines[0], lines[2]], 2),
        ([lines[0], lines[2], lines[1]], 2),
        ([lines[0], lines[1], lines[1]], 3),
    ):
        interrupted.write_bytes(b"".join(wrong))
        with pytest.raises(
            ModelFileError, match=f"line {number} was changed since it was written; run without"
        ):
            Journal(interrupted, run_of(network), resume=True)


def test_bytes_that_are_no_text_are_no_state(interrupted, network):
    interrupted.write_bytes(interrupted.read_bytes() + b"\xff\n")
    with pytest.raises(ModelFileError, match=NOT_A_STATE):
        Journal(interrupted, run_of(network), resume=True)


def test_where_nothing_can_be_written(network, pixels, tmp_path, monkeypatch):
    with pytest.raises(ModelFileError, match="there is no folder"):
        Journal(tmp_path / "missing" / "file", run_of(network), resume=False)
    journal = Journal(tmp_path / "file", run_of(network), resume=False)

    result = ChunkSimulator(network=network)(pixels[:2])
    journal.write(0, result)

    def fail(_):
        raise OSError("no space left")

    kept = "cannot be written .*; finished samples are kept there for --resume: make room, or"
    with monkeypatch.context() as full:
        full.setattr(journal, "_file", SimpleNamespace(write=fail))
        with pytest.raises(ModelFileError, match=kept):
            journal.write(1, result)
    journal.close(finished=True)


def test_a_resumed_run_that_cannot_begin_keeps_the_chunks(
    interrupted, network, pixels, monkeypatch
):
    """The chunks of the earlier run are written again before the file is replaced."""
    before = interrupted.read_bytes()
    journal = Journal(interrupted, run_of(network), resume=True)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(journal_module, "_line", fail)
    with pytest.raises(KeyboardInterrupt):
        journal.write(1, ChunkSimulator(network=network)(pixels[:2]))
    journal.close(finished=False)
    assert interrupted.read_bytes() == before


@pytest.mark.parametrize("resume", [True, False])
def test_two_runs_at_once_do_not_mix_their_chunks(interrupted, network, resume):
    first = Journal(interrupted, run_of(network), resume=True)
    with pytest.raises(ModelFileError, match="another simulation of this build is at work; wait"):
        Journal(interrupted, one_pixel(network), resume=resume)
    first.close(finished=True)
    second = Journal(interrupted, one_pixel(network), resume=resume)
    assert second.finished == {}
    second.close(finished=False)
    assert not interrupted.exists()  # nothing was finished, so nothing is kept


def test_workers_give_the_same_bits(network, pixels, whole):
    cluster = Cluster(processes=2)
    assert_same(simulate_dataset(ChunkSimulator(network=network), pixels, spread=cluster), whole)


def test_the_workers_of_a_scheduler_somewhere(network, pixels, whole):
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=None
    ) as elsewhere:
        cluster = Cluster(processes=1, scheduler=elsewhere.scheduler_address)
        run = simulate_dataset(ChunkSimulator(network=network), pixels, spread=cluster)
    assert_same(run, whole)


def test_without_dask_the_error_says_what_to_install(network, pixels, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'qac-deploy\[cluster\]'"):
        simulate_dataset(ChunkSimulator(network=network), pixels, spread=Cluster(processes=2))


def test_no_scheduler_at_the_address(network, pixels, monkeypatch):
    monkeypatch.setattr(simulation_cluster, "CONNECT_TIMEOUT_S", 1)
    cluster = Cluster(processes=1, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        simulate_dataset(ChunkSimulator(network=network), pixels, spread=cluster)


def test_an_engine_that_reports_no_counts_is_named(network, pixels, monkeypatch):
    exact = ENGINES["exact"]

    def silent(network, request):
        run = exact.prepare(network, request)
        return lambda pixels, on_counts=None: run(pixels)

    monkeypatch.setitem(ENGINES, "silent", replace(exact, name="silent", prepare=silent))
    simulator = ChunkSimulator(network=network, engine="silent")
    with pytest.raises(EngineError) as refusal:
        simulate_dataset(simulator, pixels, num_samples=3)
    assert str(refusal.value) == (
        "engine 'silent' gave the counts of 'hidden' for 0 of 3 samples; it must call "
        "on_counts(name, counts) for every spiking population and every batch (sim.engines.OnCounts)"
    )
