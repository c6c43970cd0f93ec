"""Every command in terminals of several widths: lines fit, and no figure is cut or left out."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from functools import cache
from types import SimpleNamespace

import pytest
from installed_command import in_terminal, run_command
from small_networks import two_neurons

from toolchain.files.checkpoint import Checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def place(trained, compiled, tmp_path_factory):
    """A folder with a trained model and its build, and a small model."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(compiled[1], folder / "build")
    shutil.copy(trained[1], folder / "model.pt")
    save_checkpoint(folder / "small.pt", Checkpoint(two_neurons(), {}))
    return SimpleNamespace(
        folder=folder, piped=cache(lambda *command: run_command(*command, cwd=folder))
    )


@pytest.fixture(scope="module")
def chain(place, small_model):
    """A build that NetX can express, beside the others: a chain of layers with one threshold each."""
    options = ("--samples", 2, "--thresholds", 1, "--out", "chain")
    process = run_command("compile", small_model, *options, cwd=place.folder)
    assert process.returncode == 0, process.stderr
    return "chain"


def figures(text):
    """Words with a digit, without the signs around them, and how often each appears."""
    words = re.findall(r"\S*\d\S*", text)
    return Counter(word.strip(",.;:()`'") for word in words)


def longest_line(text):
    """Characters of the longest line that could be broken: no command to copy, no word that fills it."""
    lines = [line for line in text.split("\n") if "qac-deploy " not in line]
    return max((len(line.rstrip()) for line in lines if len(line.split()) > 1), default=0)


COMMANDS = (
    ("report", "build"),
    ("report", "--diff", "build", "build"),
    ("compile", "small.pt", "--out", "small"),
    ("trace", "build", "--break", "join fires", "--until", "tick 40", "--contributions", "2"),
    ("simulate", "build", "--samples", "8"),
    ("doctor",),
)
SLOW = (
    ("compare", "build", "--sweep"),
    ("verify", "build", "--lava-python", "absent"),
    ("train", "--epochs", "2", "--out", "other.pt"),
    ("calibrate", "model.pt", "--epochs", "1", "--samples", "8", "--out", "other.pt"),
    ("compile", "model.pt", "--optimize", "stalls", "--out", "other"),
    ("explore", "model.pt", "--budget", "3", "--workers", "1", "--array", "pe-array"),
    ("export", "build", "--format", "c", "--out", "c"),
    ("demo", "--out", "demo", "--lava-python", "absent"),
    ("reproduce", "summary", "--data", "digits", "--network", "resnet-mini", "--epochs", "1",
     "--further-epochs", "1"),
)  # fmt: skip
NARROW = 40


@pytest.mark.parametrize("columns", [NARROW, 80, 200])
@pytest.mark.parametrize(
    "command",
    [*COMMANDS, *(pytest.param(command, marks=pytest.mark.slow) for command in SLOW)],
    ids=lambda command: " ".join(command[:4]),
)
def test_every_figure_appears_whole(place, columns, command):
    piped = place.piped(*command)
    assert piped.returncode == 0, piped.stderr
    shown = in_terminal(columns, *command, cwd=place.folder)
    assert not figures(piped.stdout) - figures(shown)
    assert longest_line(shown) <= columns
    assert "…" not in shown


@pytest.mark.sanafe
@pytest.mark.slow
@pytest.mark.parametrize("columns", [NARROW, 80, 200])
def test_every_figure_of_a_cross_check_appears_whole(place, columns):
    test_every_figure_appears_whole(place, columns, ("cross-check", "build"))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [NARROW, 80, 200])
def test_every_figure_of_an_export_to_netx_appears_whole(place, chain, columns):
    command = ("export", chain, "--format", "netx", "--out", "x.net")
    test_every_figure_appears_whole(place, columns, command)


@pytest.mark.parametrize("columns", [NARROW, 80, 200])
def test_help_and_errors_are_whole(place, columns):
    for command in ((), ("compile",), ("explore",)):
        shown = in_terminal(columns, *command, "--help", cwd=place.folder)
        piped = run_command(*command, "--help", cwd=place.folder, COLUMNS="500").stdout
        assert not set(re.findall(r"--[a-z-]+\b", piped)) - set(re.findall(r"--[a-z-]+\b", shown))
        assert longest_line(shown) <= columns
        assert "…" not in shown
        assert not re.search(r"\w\.\.\.(?!\])", shown)
    for command in (("compile", "small.pt", "--samples", 10**9), ("report", "small.pt")):
        shown = in_terminal(columns, *command, cwd=place.folder, code=2)
        assert longest_line(shown) <= columns
