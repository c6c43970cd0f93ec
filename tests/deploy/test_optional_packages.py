"""A package that is not installed ends a command with one message, which says how to install it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from toolchain.errors import MissingPackageError
from toolchain.optional_packages import OPTIONAL_PACKAGES, optional_packages

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

WITHOUT_PACKAGES = """\
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # as if it were not installed
from deploy.cli.main import main
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["qac-deploy", *arguments]
    print("===", file=sys.stderr)
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    print(code, flush=True, file=sys.stderr)
"""

NEED_TORCH = (
    ("train", "--out", "other.pt"),
    ("train", "--out", "other.pt", "--json"),
    ("calibrate", "model.pt"),
    ("convert", "relu.onnx", "--data", "digits", "--mean-timesteps", "4"),
    ("compile", "model.pt"),
    ("explore", "model.pt"),
    ("verify", "build"),
    ("simulate", "build"),
    ("simulate", "build", "--engine", "stepped", "--json"),
    ("compare", "build"),
    ("export", "build", "--format", "c"),
    ("reproduce", "table8", "--network", "lenet"),
)
NEED_NO_TORCH = (
    ("--help",),
    ("train", "--help"),
    ("doctor",),
    ("report", "build"),
    ("report", "build", "--json"),
    ("report", "--diff", "build", "build"),
    ("trace", "build", "--population", "join", "--neuron", "0"),
    ("export", "build", "--format", "nir", "--out", "network.nir"),
)


def run_without(packages, commands, cwd):
    """(exit code, standard error) of each command in an interpreter without some packages."""
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, json.dumps(packages), json.dumps(commands)],
        cwd=cwd, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    parts = process.stderr.split("===\n")[1:]
    return [(int(text.splitlines()[-1]), text.rpartition("\n")[0]) for text in parts]


def test_commands_without_torch_say_how_to_install_both_builds(compiled):
    """No traceback, and no file is left behind."""
    folder = compiled[1].parent
    before = sorted(folder.iterdir())
    for arguments, (code, stderr) in zip(
        NEED_TORCH, run_without(["torch"], NEED_TORCH, folder), strict=True
    ):
        message = stderr[stderr.index("error: ") :].splitlines()
        assert code == 2, arguments
        assert "Traceback" not in stderr
        assert message[:4] == [
            "error: PyTorch is not installed; choose one of its builds:",
            "  CPU:  run the command that https://pytorch.org/get-started/locally shows for the CPU, then "
            "`pip install 'qac-deploy[torch]'`",
            "  CUDA: run `pip install 'qac-deploy[torch]'`, which on Linux brings 3 GB of CUDA packages",
            "2",
        ]
    assert sorted(folder.iterdir()) == before


def test_commands_that_need_no_torch_run_without_it(compiled):
    folder = compiled[1].parent
    results = run_without(["torch", "lightning_fabric"], NEED_NO_TORCH, folder)
    for arguments, (code, stderr) in zip(NEED_NO_TORCH, results, strict=True):
        assert code == 0, (arguments, stderr)


def test_functions_without_torch_raise_the_same_message(compiled):
    """What shows a finished build needs no torch."""
    script = """\
import sys
sys.modules["torch"] = None
import qac_deploy as qd
build = qd.load_build("build")
assert build.report.num_cores == 17 and "<" in build.pipeline._repr_html_()
pixels = qd.load_data("digits").test_pixels[:2]
calls = (
    lambda: qd.network("lenet", "digits"),
    lambda: qd.quantize(None),
    lambda: qd.train(None, "digits"),
    lambda: qd.convert("relu.onnx", "digits"),
    lambda: qd.load_model("model.pt"),
    lambda: qd.compile("model.pt"),
    lambda: build.simulate(pixels),
)
for call in calls:
    try:
        call()
    except qd.QacDeployError as error:
        print(str(error).splitlines()[0])
"""
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=compiled[1].parent, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert process.stdout == 7 * "PyTorch is not installed; choose one of its builds:\n"


def test_other_packages_name_their_extra(compiled):
    """NetX needs h5py alone; the message names the first missing package and the extra that brings it."""
    forms = {"nir": ("nir", "nir"), "netx": ("h5py", "netx"), "qonnx": ("onnx", "onnx")}
    commands = [("export", "build", "--format", form) for form in forms]
    results = run_without(["nir", "h5py", "onnx"], commands, compiled[1].parent)
    for (package, extra), (code, stderr) in zip(forms.values(), results, strict=True):
        assert code == 2
        assert stderr.splitlines()[0] == (
            f"error: the package {package} is not installed; run `pip install 'qac-deploy[{extra}]'`"
        )


def test_a_package_that_lacks_a_part_is_named_with_its_version():
    with pytest.raises(MissingPackageError) as raised, optional_packages():
        from torch import no_such_name  # noqa: F401
    assert str(raised.value).startswith(
        f"the installed torch {version('torch')} cannot be used: cannot import name 'no_such_name'"
    )
    assert str(raised.value).endswith("; run `pip install --upgrade 'qac-deploy[torch]'`")
    with pytest.raises(MissingPackageError, match="used: No module named"), optional_packages():
        import torch.absent  # noqa: F401


def test_imports_that_no_extra_brings_stay_bugs():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), optional_packages():
        import no_such_package  # noqa: F401


def test_the_extras_bring_what_the_messages_say():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for package in OPTIONAL_PACKAGES.values():
        assert any(line.startswith(package.name + ">") or line.startswith(package.name + "=")
                   for line in extras[package.extra]), package  # fmt: skip
