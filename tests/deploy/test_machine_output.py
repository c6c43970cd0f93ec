"""``--json`` of every command: one document on standard output, whatever happens, and a documented exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from types import SimpleNamespace

import pytest
from installed_command import COMMAND, run_command, started, wait_until
from small_networks import two_neurons

from deploy.cli.endings import EXIT_CODES
from deploy.cli.json_output import as_json
from deploy.cli.main import _COMMANDS
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import PREFIX


@pytest.fixture(scope="module")
def place(trained, compiled, tmp_path_factory):
    """A folder with a trained model and its build, and a small model."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(compiled[1], folder / "build")
    shutil.copy(trained[1], folder / "model.pt")
    save_checkpoint(folder / "small.pt", Checkpoint(two_neurons(), {}))
    (folder / "results").mkdir()
    (folder / "results" / "summary-x.json").write_text(
        '{"title": "x", "columns": [], "rows": [], "notes": []}'
    )
    return SimpleNamespace(folder=folder)


def slow(*arguments, marks=()):
    return pytest.param(arguments, marks=[pytest.mark.slow, *marks])


def document_of(text):
    """The only document, which has no number that JSON lacks."""

    def refuse(name):
        raise AssertionError(name)

    assert text.isascii()
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (("report", "build"), {"pipeline", "mapping", "costs"}),
        (("report", "--diff", "build", "build"), {"differing", "only_in_one", "same"}),
        (("compile", "small.pt", "--out", "small"), {"pipeline", "mapping", "costs"}),
        (("simulate", "build", "--samples", "8"), {"accuracy", "logits_sha256"}),
        (("trace", "build", "--population", "join"), {"build", "data"}),
        (("compare", "build"), {"comparison", "pe_array_equals_stepped"}),
        (("export", "build", "--format", "nir"), {"file", "format", "losses"}),
        (("reproduce", "page"), {"page"}),
        (("train", "--epochs", "1", "--out", "t.pt"), {"model", "timesteps", "training"}),
        (("doctor",), None),
        slow("verify", "build", "--lava-python", "absent"),
        slow("calibrate", "model.pt", "--epochs", "1", "--samples", "8", "--out", "t.pt"),
        slow("cross-check", "build", marks=[pytest.mark.sanafe]),
        slow("explore", "model.pt", "--budget", "3", "--workers", "2"),
        slow("demo", "--lava-python", "absent"),
        slow("reproduce", "summary", "--data", "digits", "--network", "resnet-mini", "--epochs", "1",
             "--further-epochs", "1"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_success_is_one_document(place, arguments, fields):
    process = run_command(*arguments, "--json", cwd=place.folder)
    assert process.returncode == 0, process.stderr
    document = document_of(process.stdout)
    assert "error" not in document
    assert set() if fields is None else fields <= document.keys()
