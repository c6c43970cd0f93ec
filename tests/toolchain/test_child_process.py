"""Programs that are run end with the process that runs them, and their children with them."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from installed_command import wait_until
from proc import processes_in

from toolchain.child_process import last_lines, run_child

FAMILY = ["sh", "-c", "sleep 600 & echo started > started; sleep 600"]


def test_output_and_exit_code_of_a_program():
    run = run_child(["sh", "-c", "cat; echo out; echo one >&2; echo >&2; echo two >&2; exit 3"])
    assert (run.returncode, run.stdout) == (3, b"out\n")
    assert last_lines(run.stderr) == "one\ntwo"


def test_a_program_that_a_signal_ends_has_its_number():
    run = run_child(["sh", "-c", "kill -6 $$"])
    assert (run.returncode, run.stderr) == (-6, b"")


@pytest.mark.parametrize("command", ["/nonexistent/program", "no-such-program"])
def test_a_program_that_is_missing(command):
    with pytest.raises(FileNotFoundError, match=command):
        run_child([command])


def test_a_whole_family_ends_in_time(tmp_path):
    start = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(FAMILY, folder=tmp_path, timeout_s=0.5)
    assert time.monotonic() < start + 30
    wait_until(lambda: not processes_in(tmp_path), seconds=20)


def test_a_whole_family_ends_when_its_parent_is_killed(tmp_path):
    code = "import sys; from toolchain.child_process import run_child; run_child(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", code, *FAMILY], cwd=tmp_path) as parent:
        wait_until((tmp_path / "started").exists, seconds=60)
        assert len(processes_in(tmp_path)) >= 4
        parent.kill()
    wait_until(lambda: not processes_in(tmp_path), seconds=20)


def test_no_process_is_left_of_a_program_that_ended(tmp_path):
    run_child(["true"], folder=tmp_path)
    wait_until(lambda: not processes_in(tmp_path), seconds=5)
