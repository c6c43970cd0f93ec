"""Shell completion, driven by the variables through which bash, zsh and fish ask for it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
from installed_command import COMMAND

from deploy.cli import completion
from deploy.reproduce.experiments import EXPERIMENTS
from hw_models.pe_array.array_description import built_in_arrays
from hw_models.target_description import built_in_targets
from toolchain.importers.qcfs_format.networks import ARCHITECTURES as QCFS_ARCHITECTURES
from toolchain.method.max_pooling import MAX_POOLS
from toolchain.model_zoo import ARCHITECTURES

BASH = """\
eval "$(_QAC_DEPLOY_COMPLETE=source_bash "$1")"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_qac_deploy_completion "$1"
printf '%s\\n' "${COMPREPLY[@]}"
complete -p qac-deploy
"""


def test_bash_completes_values_and_falls_back_to_files(tmp_path):
    """The function that the script defines is called as bash calls it."""
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    process = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", COMMAND, "qac-deploy", "compile", "--target", "lo"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *values, rule = process.stdout.splitlines()
    assert values == built_in_targets() == ["loihi-sim", "loihi2-sim"]
    assert rule == "complete -o default -F _qac_deploy_completion qac-deploy"
    assert process.stderr == ""


VALUES = {
    "qac-deploy tra": ["train", "trace"],
    "qac-deploy --ver": ["--version"],
    "qac-deploy compile --opt": ["--optimize"],
    "qac-deploy train --data ": ["digits", "mnist5k", "fashion-mnist", "cifar-10", "cifar-100"],
    "qac-deploy simulate build --data cifar": ["cifar-10", "cifar-100"],
    "qac-deploy train --arch resnet-1": ["resnet-18", "resnet-19"],
    "qac-deploy convert --arch vgg-19": ["vgg-19", "vgg-19-wobn"],
    "qac-deploy simulate --engine ": ["exact", "frame-by-frame", "stepped", "lava"],
    "qac-deploy trace --engine r": ["rtl"],
    "qac-deploy compile --array ": built_in_arrays(),
    "qac-deploy export --format n": ["nir", "netx"],
    "qac-deploy compile --optimize st": ["stalls"],
    "qac-deploy compile --alignment t": ["truncate"],
    "qac-deploy explore --vary s": ["slots"],
    "qac-deploy reproduce table": [f"table{n}" for n in range(1, 9)],
    "qac-deploy reproduce --network vgg-1": ["vgg-16"],
    "qac-deploy train --data own": [],
    "qac-deploy compile mo": [],
}
"""A line up to the cursor and the values of its last word; none means that the shell completes files."""

COMPLETE = """\
import io, json, os, sys
from contextlib import redirect_stdout
from deploy.cli.main import main

sys.argv = ["qac-deploy"]
os.environ["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
outputs = {}
lines = json.loads(os.environ["LINES_TO_COMPLETE"])
others = [line for line in lines if line.endswith((" n", " mo"))]
for shell, completed in (("bash", lines), ("zsh", others), ("fish", others)):
    for line in completed:
        words = line.split(" ")
        os.environ |= {
            "_QAC_DEPLOY_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        with redirect_stdout(io.StringIO()) as output:
            try:
                main()
            except SystemExit:
                pass
        outputs[f"{shell} {line}"] = output.getvalue()
heavy = sorted({"torch", "matplotlib", "sklearn"} & sys.modules.keys())
print(json.dumps({"outputs": outputs, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def completed():
    """Output for each shell and line, and the heavy modules that were imported for them."""
    process = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        env={**os.environ, "LINES_TO_COMPLETE": json.dumps(list(VALUES))},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(process.stdout)


@pytest.mark.parametrize("line", VALUES)
def test_values(completed, line):
    assert completed["outputs"][f"bash {line}"].split() == VALUES[line]


def test_zsh_and_fish(completed):
    def output(shell, line):
        return completed["outputs"][f"{shell} qac-deploy {line}"]

    assert output("zsh", "export --format n") == '_arguments \'*: :(("nir"\n"netx"))\'\n'
    assert output("zsh", "compile mo") == "_files\n"
    assert output("fish", "export --format n").split() == ["nir", "netx"]
    assert output("fish", "compile mo") == "\n"


def test_completing_a_value_imports_no_torch(completed):
    """Names of data sets and targets come from their modules; those of architectures are repeated."""
    assert completed["heavy"] == []


def test_repeated_names_are_those_that_can_be_loaded():
    assert sorted(completion.ARCHITECTURES) == sorted(ARCHITECTURES)
    assert completion.QCFS_ARCHITECTURES == QCFS_ARCHITECTURES
    assert sorted(completion.EXPERIMENTS) == sorted(EXPERIMENTS)
    assert completion.MAX_POOLS == MAX_POOLS


def test_install_completion_writes_the_script_of_the_shell_that_runs_it(tmp_path):
    process = subprocess.run(
        ["bash", "--norc", "-c", '"$1" --install-completion; exit $?', "bash", COMMAND],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    script = tmp_path / ".bash_completions" / "qac-deploy.sh"
    assert "_QAC_DEPLOY_COMPLETE=complete_bash" in script.read_text()
    assert f"source '{script}'" in (tmp_path / ".bashrc").read_text()
    assert "bash completion installed" in process.stdout


def test_version(qac_deploy):
    process = qac_deploy("--version")
    assert process.returncode == 0
    assert process.stdout == f"qac-deploy {importlib.metadata.version('qac-deploy')}\n"
