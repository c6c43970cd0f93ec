"""Several runs at once on one folder: readers see the whole result of one of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from installed_command import ForkedCommand, run_command, started
from small_networks import two_neurons

from deploy.build.load import load_build, load_report_and_digests
from deploy.check.engines import run_build_in_lava
from deploy.check.judged_build import judge
from deploy.check.verify import verify
from toolchain.errors import ModelFileError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import PREFIX

REPLACE = """\
import shutil, sys, time
from pathlib import Path
from deploy.build.folder import BUILD, whole_folder

source, destination, stop = map(Path, sys.argv[1:])
while not stop.exists():
    time.sleep(0.3)
    with whole_folder(destination, BUILD) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
"""
"""What ``compile`` does at its end, which takes less time than a whole run of it."""

PAIRS = 12


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """A model, and two builds of it whose options differ."""
    folder = tmp_path_factory.mktemp("builds")
    save_checkpoint(folder / "model.pt", Checkpoint(two_neurons(), {}))
    for slots in (2, 3):
        options = ("--slots", slots, "--out", slots)
        process = run_command("compile", "model.pt", *options, cwd=folder)
        assert process.returncode == 0, process.stderr
    return folder


def read_until(are_done, build, of_slots):
    """Read a build again and again; returns how often each one was seen, and the readings that were mixed."""
    seen, mixed = dict.fromkeys(of_slots, 0), []
    while not are_done(seen):
        report, digests = load_report_and_digests(build)
        loaded = load_build(build)
        slots = report["options"]["slots"]
        depths = set(loaded.mapping.provisioning.slots.values())
        if digests != of_slots[slots] or depths != {loaded.options.slots}:
            mixed.append((slots, loaded.options.slots, depths))
        seen[slots] += 1
    return seen, mixed


def digests_of(folder):
    return {slots: load_report_and_digests(folder / str(slots))[1] for slots in (2, 3)}


def test_readers_see_one_build_while_two_runs_replace_it(builds, tmp_path):
    shutil.copytree(builds / "2", tmp_path / "build")
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                REPLACE,
                builds / str(slots),
                tmp_path / "build",
                tmp_path / "stop",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for slots in (2, 3)
    ]
    try:
        seen, mixed = read_until(
            lambda seen: min(seen.values()) > 5, tmp_path / "build", digests_of(builds)
        )
    finally:
        (tmp_path / "stop").touch()
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert all(seen.values())
    assert mixed == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "stop"]


@pytest.mark.slow
def test_readers_see_one_build_under_pairs_of_compile_runs(builds, tmp_path):
    shutil.copytree(builds / "2", tmp_path / "build")
    shutil.copy(builds / "model.pt", tmp_path)  # a report names its path, as it was given
    of_slots, seen, mixed = digests_of(builds), dict.fromkeys((2, 3), 0), []

    def compile_with(slots):
        options = ("--slots", slots, "--out", "build", "--json")
        return ForkedCommand("compile", "model.pt", *options, cwd=tmp_path, server=slots)

    for _ in range(PAIRS):
        with compile_with(2) as two, compile_with(3) as three:
            found, wrong = read_until(
                lambda seen, pair=(two, three): all(run.has_ended() for run in pair),
                tmp_path / "build",
                of_slots,
            )
            ended = {2: two.finished(60), 3: three.finished(60)}
        seen = {slots: seen[slots] + found[slots] for slots in seen}
        mixed += wrong
        for slots, run in ended.items():
            assert run.returncode == 0, run.stderr
            own = json.loads(run.stdout)["options"]["slots"]
            assert own == slots  # not that of the other run
    assert all(seen.values())
    assert mixed == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "model.pt"]


def replaced(builds, build):
    shutil.rmtree(build)
    shutil.copytree(builds / "3", build)


def test_what_is_read_late_is_of_the_same_build(builds, tmp_path):
    build = shutil.copytree(builds / "2", tmp_path / "build")
    loaded = judge(load_build(build), 1)

    def python():
        replaced(builds, build)
        return Path("/bin/false")

    message = (
        "build: was replaced since it was read, such as by `qac-deploy compile`; read it again"
    )
    with pytest.raises(ModelFileError, match=message):
        list(verify(loaded, python))
    with pytest.raises(ModelFileError, match=message):
        run_build_in_lava(loaded, loaded.pixels, num_ticks=1, python=Path("/bin/false"))


def test_two_runs_that_share_a_state_are_refused(trained, compiled, tmp_path):
    """One simulation and one exploration at a time keep their finished parts in a file."""
    shutil.copytree(compiled[1], tmp_path / "build")
    shutil.copy(trained[1], tmp_path)
    for state, command in (
        ("build.simulation", ("simulate", "build")),
        ("explore.exploration", ("explore", "model.pt", "--workers", 1)),
    ):
        first = started(*command, cwd=tmp_path)
        while not (tmp_path / f"{state}.lock").exists():
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(19)  # SIGSTOP
        second = run_command(*command, cwd=tmp_path)
        first.kill()
        first.communicate()
        assert second.returncode == 2
        assert "at work; wait until it ends" in second.stderr
    assert not list(tmp_path.glob(f"{PREFIX}*"))
