"""The benchmark times nothing that computes something else, and its page says what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.performance.engine_subjects import Setting, exact, stepped
from benchmarks.performance.engines import EXACT, FLAT, FLOAT, PEERS_AT
from benchmarks.performance.networks import write_network
from benchmarks.performance.page import write_page
from benchmarks.performance.workers import Subject, measure

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "performance"


def subject(name, prepare, folder, reference):
    setting = Setting(architecture="resnet-20", folder=folder, samples=2, device="cpu")
    return Subject(name=name, prepare=prepare, setting=setting, rounds=2, reference=reference)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The same weights with two mixtures of timesteps."""
    folder = tmp_path_factory.mktemp("networks")
    write_network("resnet-20", (1, 2, 3), folder / "one")
    write_network("resnet-20", (2, 3, 1), folder / "other")
    return folder


def test_engines_in_processes_of_their_own_agree(networks):
    ours = subject("exact", exact, networks / "one", "exact")
    judge = subject("stepped", stepped, networks / "one", "exact")
    measured = measure([ours, judge], on_progress=lambda said: None)
    for measurement in measured.values():
        assert measurement.same
        assert len(measurement.seconds) == 2
        assert measurement.memory_bytes > 2**20


def test_what_computes_something_else_is_not_timed(networks):
    ours = subject("exact", exact, networks / "one", "exact")
    other = subject("another", exact, networks / "other", "exact")
    with pytest.raises(RuntimeError, match="another does not compute the integers of exact"):
        measure([ours, other], on_progress=lambda said: None)


def test_a_page_of_what_was_measured(tmp_path):
    def row(name, seconds, timesteps="mixed", samples=64, memory=100):
        return {
            "network": "resnet-18", "subject": name, "timesteps": timesteps, "mean_timesteps": 3.5,
            "samples": samples, "seconds": [seconds, seconds / 2, 2 * seconds],
            "memory_bytes": memory * 10**6, "same": None if name == FLOAT else True,
        }  # fmt: skip

    rows = [row(FLOAT, 0.4, memory=200), row(EXACT, 0.1), row(f"{EXACT}, logits alone", 0.05)]
    rows += [row(EXACT, 0.1 if t < 32 else 0.11, str(t)) for t in FLAT]
    for peer in ("SpikingJelly", "snnTorch"):
        for timesteps in PEERS_AT:
            rows.append(row(peer, timesteps * 0.3, str(timesteps)))
            rows.append(row(f"{peer}, told of averaging", 0.5, str(timesteps)))
    rows += [row(EXACT, 0.01, "4", 2), row("Lava on the CPU", 20, "4", 2)]
    machine = {"device": "a processor", "cores": 2, "threads": 2, "vnni": True, "python": "3.11"}
    document = {"machine": machine | {"packages": {"torch": "2.13"}}, "batch": 64, "rows": rows}
    folder = tmp_path / "performance"
    folder.mkdir()
    (folder / "engines-cpu.json").write_text(json.dumps(document))
    page = write_page(folder).read_text()
    assert "mean T 3.50: **0.25** x the float ANN's time (logits alone: 0.12 x), **0.50** x" in page
    assert "from T = 1 to T = 32: between +0% and +10% of the median" in page
    assert "T = 16: **48** times as fast as SpikingJelly (3.0 T), 5.0 times when it is told" in page
    assert "T = 4, 2 samples: **2,000** times as fast as Lava on the CPU" in page
    assert "| float ANN |  | 64 | 6.25 [3.12, 12.5] | 200 |  |" in page
    assert (folder / "engines-cpu.png").stat().st_size > 10_000


def test_the_folder_is_a_command_and_without_measurements_there_is_no_page(tmp_path):
    command = [sys.executable, BENCHMARK, "--only", "page", "--docs", tmp_path]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "holds no measurement" in run.stderr
