"""Which interpreter runs Lava, and how the managed environment is made; interpreters are scripts here."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.backends.lava.emit_bundle import SOURCES
from deploy.backends.lava.environment import (
    LAVA_DL,
    LAVA_NC,
    create_lava_environment,
    find_lava_python,
    import_failure,
    managed_folder,
    python_version,
    pythons_at_hand,
)
from deploy.cli.main import app
from toolchain.errors import LavaError

REAL_PYTHON = sys.executable
GOOD = ("3.11", "0.10.0")
PINS = "lava-nc==0.10.0 numpy==2.2.6 scipy==1.15.3 networkx==3.4.2 asteval==1.0.10"


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def answers(path: Path, version: str, lava: str = "", missing: str = "") -> str:
    """What a script says to ``find_lava_python`` when that asks what the interpreter has."""
    return (
        f'if [ "$2" = -c ]; then printf "%s\\n" "{version}" {path} "{lava}" "{missing}"; exit; fi\n'
    )


def interpreter(path: Path, version: str = "3.11", lava: str = "", missing: str = "") -> Path:
    """An interpreter that has lava-nc or not, and cannot make an environment."""
    return script(path, answers(path, version, lava, missing) + "echo no ensurepip >&2; exit 1")


@pytest.fixture(autouse=True)
def clean_machine(tmp_path, monkeypatch):
    """Nothing that this machine has counts: no variables, an empty PATH, Python 3.14 without Lava."""
    monkeypatch.delenv("QAC_DEPLOY_LAVA_PYTHON", raising=False)
    monkeypatch.setenv("QAC_DEPLOY_LAVA_ENV", str(tmp_path / "managed"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    system = [d for d in ("/usr/bin", "/bin") if Path(d, "sh").exists()]
    tools = {t: Path(d, t) for d in system for t in ("sh", "mkdir", "cp", "chmod", "touch")}
    for name, target in tools.items():
        (tmp_path / "bin" / name).symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "current", "3.14")))


@pytest.fixture
def managed(tmp_path):
    (tmp_path / "managed").mkdir()
    (tmp_path / "managed" / "qac-deploy-complete").touch()
    return interpreter(tmp_path / "managed" / "bin" / "python", *GOOD)


def test_the_order_of_choice(tmp_path, monkeypatch, managed):
    assert find_lava_python() == managed
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "current311", *GOOD)))
    assert find_lava_python() == tmp_path / "current311"
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", str(interpreter(tmp_path / "variable", *GOOD)))
    assert find_lava_python() == tmp_path / "variable"
    explicit = interpreter(tmp_path / "explicit", *GOOD)
    assert find_lava_python(explicit) == explicit


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_every_python_that_runs_lava_is_taken(tmp_path, version):
    python = interpreter(tmp_path / "python", version, "0.10.0")
    assert find_lava_python(python) == python


@pytest.mark.parametrize(
    ("version", "lava", "missing", "complaint"),
    [
        ("3.9", "0.10.0", "", "is Python 3.9, but lava-nc 0.10.0 needs 3.10 to 3.13"),
        ("3.14", "0.10.0", "", "is Python 3.14, but lava-nc 0.10.0 needs 3.10 to 3.13"),
        ("3.11", "", "asteval", "has lava-nc (none), not 0.10.0"),
        ("3.10", "0.9.0", "", "has lava-nc 0.9.0, not 0.10.0"),
        ("3.12", "0.10.0", "scipy, asteval", "has no scipy, asteval, which lava-nc 0.10.0 needs"),
    ],
)
def test_an_interpreter_that_was_asked_for_must_do(
    tmp_path, managed, version, lava, missing, complaint
):
    asked = interpreter(tmp_path / "asked", version, lava, missing)
    with pytest.raises(LavaError) as refusal:
        find_lava_python(asked)
    assert str(refusal.value) == (
        f"--lava-python {asked}: {complaint}; run `qac-deploy doctor --create-lava-env` and leave "
        "--lava-python out, or see `qac-deploy doctor --help` for an environment of your own"
    )


def test_a_real_interpreter_names_the_modules_that_it_lacks():
    """The question itself, asked of the Python that runs this test, which has one of the two modules."""
    environment = replace(
        LAVA_NC, package="numpy", version=np.__version__, modules=("no.such", "numpy", "none")
    )
    with pytest.raises(
        LavaError, match=rf"has no no\.such, none, which numpy {np.__version__} needs"
    ):
        find_lava_python(Path(REAL_PYTHON), environment)
    environment = replace(environment, modules=("numpy",))
    assert find_lava_python(Path(REAL_PYTHON), environment) == Path(REAL_PYTHON)


def test_a_relative_path_or_a_name_on_the_path_becomes_absolute(tmp_path, monkeypatch):
    """A run in Lava starts the interpreter in a folder of its own."""
    python = interpreter(tmp_path / "bin" / "python3.11", *GOOD)
    monkeypatch.chdir(tmp_path)
    assert find_lava_python(Path("bin/python3.11")) == python
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", "python3.11")
    assert find_lava_python() == python


def test_the_variable_must_do_as_well(tmp_path, monkeypatch, managed):
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", str(tmp_path / "nothing"))
    with pytest.raises(LavaError, match=r"QAC_DEPLOY_LAVA_PYTHON .*: is not a Python interpreter"):
        find_lava_python()


def test_none_found_says_what_to_run(tmp_path):
    with pytest.raises(LavaError) as refusal:
        find_lava_python()
    assert str(refusal.value) == (
        "no Python 3.10 to 3.13 with lava-nc 0.10.0 was found (tried the current interpreter and "
        f"{tmp_path / 'managed'}); run `qac-deploy doctor --create-lava-env`"
    )


def test_an_unfinished_environment_is_not_used(tmp_path, managed):
    (tmp_path / "managed" / "qac-deploy-complete").unlink()
    with pytest.raises(LavaError, match=r"no Python 3.10 to 3.13 with lava-nc"):
        find_lava_python()


def test_the_managed_folder_follows_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("QAC_DEPLOY_LAVA_ENV")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert managed_folder() == tmp_path / "qac-deploy" / "lava-env"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert managed_folder() == tmp_path / ".local" / "share" / "qac-deploy" / "lava-env"


def venv_maker(path: Path, made: Path, version: str = "3.11") -> Path:
    """A command that makes a virtual environment at its last argument from a ready interpreter."""
    return script(
        path,
        answers(path, version) + 'if [ "$1 $2" = "python find" ]; then exit 2; fi\n'
        'for folder in "$@"; do :; done\n'
        f'mkdir -p "$folder/bin"; touch "$folder/pyvenv.cfg"; cp {made} "$folder/bin/python"\n'
        f'echo "{path.name} $@" >> {made.parent}/maker-calls',
    )


def new_interpreter(tmp_path: Path, version: str = "3.11", trial: str = "exit 0") -> Path:
    """What a fresh environment holds; it writes its pip call where the test can read it."""
    path = tmp_path / "fresh"
    return script(
        path,
        answers(path, version, "0.10.0")
        + f'if [ "$3" = --help ]; then {trial}; fi\necho "$@" >> {tmp_path}/pip-calls',
    )


def test_the_environment_is_made_once_with_the_current_python(tmp_path, monkeypatch):
    fresh = new_interpreter(tmp_path)
    monkeypatch.setattr(sys, "executable", str(venv_maker(tmp_path / "mine", fresh)))
    venv_maker(tmp_path / "bin" / "python3.12", fresh, "3.12")
    folder, said = tmp_path / "managed", []
    python = create_lava_environment(say=said.append)
    assert python == folder / "bin" / "python"
    assert find_lava_python() == python
    assert create_lava_environment(say=said.append) == python
    assert said == []
    assert (tmp_path / "maker-calls").read_text() == f"mine -I -m venv {folder}\n"
    assert (tmp_path / "pip-calls").read_text() == (
        f"-I -m pip install --disable-pip-version-check --no-deps --ignore-requires-python {PINS}\n"
    )
    assert (folder / "qac-deploy-complete").read_text().split() == PINS.split()


def test_a_finished_environment_of_python_310_is_kept(tmp_path, monkeypatch):
    """Such as one that an older version made, with other versions of numpy and scipy."""
    folder = tmp_path / "managed"
    python = script(
        folder / "bin" / "python", answers(folder, "3.10", "0.10.0") + 'test "$3" = --help'
    )
    (folder / "qac-deploy-complete").write_text("lava-nc==0.10.0\n")
    assert create_lava_environment() == python
    assert find_lava_python() == python


def test_a_python_that_is_too_new_leaves_it_to_another_and_says_so(tmp_path):
    venv_maker(tmp_path / "bin" / "python3.12", new_interpreter(tmp_path, "3.12"), "3.12")
    said = []
    python = create_lava_environment(say=said.append)
    assert python_version(python) == "3.12"
    assert said == [
        "lava-nc 0.10.0 needs Python 3.10 to 3.13, and this is 3.14: another one makes the environment"
    ]


def test_a_python_without_its_venv_module_is_passed_over_and_uv_is_last(tmp_path, monkeypatch):
    current = interpreter(tmp_path / "current", "3.11")
    monkeypatch.setattr(sys, "executable", str(current))
    venv_maker(tmp_path / "bin" / "uv", new_interpreter(tmp_path))
    said = []
    create_lava_environment(say=said.append)
    assert said == [f"{current} cannot make an environment: no ensurepip"]
    assert (tmp_path / "maker-calls").read_text() == (
        f"uv venv --seed --python 3.11 {tmp_path / 'managed'}\n"
    )


def test_lava_dl_still_gets_python_310(tmp_path, monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_LAVA_DL_ENV", str(tmp_path / "managed"))
    fresh = tmp_path / "fresh"
    script(fresh, answers(fresh, "3.10", "0.6.0") + f'echo "$@" >> {tmp_path}/pip-calls')
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "current", "3.11")))
    venv_maker(tmp_path / "bin" / "python3.10", fresh, "3.10")
    create_lava_environment(LAVA_DL)
    assert (tmp_path / "pip-calls").read_text() == (
        "-I -m pip install --disable-pip-version-check lava-dl==0.6.0\n"
    )


def test_an_unfinished_environment_is_made_again(tmp_path):
    venv_maker(tmp_path / "bin" / "python3.11", new_interpreter(tmp_path))
    (tmp_path / "managed").mkdir()
    (tmp_path / "managed" / "pyvenv.cfg").touch()
    (tmp_path / "managed" / "left over").touch()
    create_lava_environment()
    assert not (tmp_path / "managed" / "left over").exists()


def test_a_finished_environment_that_cannot_import_lava_is_made_again(tmp_path, managed):
    """Such as one whose interpreter the system replaced; the simulated one refuses all but questions."""
    (tmp_path / "managed" / "pyvenv.cfg").touch()
    assert import_failure(managed) == "cannot import lava-nc (no ensurepip)"
    venv_maker(tmp_path / "bin" / "python3.11", new_interpreter(tmp_path))
    assert import_failure(create_lava_environment()) is None


def test_an_environment_that_cannot_import_lava_is_not_finished(tmp_path):
    fresh = new_interpreter(tmp_path, trial="echo ImportError: x >&2; exit 1")
    venv_maker(tmp_path / "bin" / "python3.11", fresh)
    with pytest.raises(LavaError, match=r"cannot import lava-nc \(ImportError: x\) although pip"):
        create_lava_environment()
    assert not (tmp_path / "managed" / "qac-deploy-complete").exists()


def test_pythons_at_hand_are_found_behind_shims_and_links_and_named_once(tmp_path, monkeypatch):
    """pyenv's shim refuses to run here, and uv and pyenv know one version each."""
    script(tmp_path / "bin" / "python3.12", "echo 'version not installed' >&2; exit 127")
    installed = interpreter(tmp_path / "root" / "versions" / "3.12.7" / "bin" / "python", "3.12")
    script(tmp_path / "bin" / "pyenv", f'test "$1" = root && echo {tmp_path / "root"}')
    of_uv = interpreter(tmp_path / "uv" / "python", "3.10")
    script(tmp_path / "bin" / "uv", f'test "$4" = 3.10 && echo {of_uv}')
    real = interpreter(tmp_path / "real", "3.11")
    for name in ("python3.11", "python3", "python"):
        (tmp_path / "bin" / name).symlink_to(real)
    assert list(pythons_at_hand()) == [installed, real, of_uv]
    assert list(pythons_at_hand(replace(LAVA_NC, pythons=("3.12",)))) == [installed]


def test_without_a_fitting_python_it_says_what_to_install(tmp_path):
    interpreter(tmp_path / "bin" / "python3", "3.9")
    with pytest.raises(LavaError) as refusal:
        create_lava_environment()
    assert str(refusal.value) == (
        "lava-nc 0.10.0 needs Python 3.10 to 3.13, and none was found that can make an environment; "
        "install one with its venv module, so that `python3.13` runs, or uv, which brings one"
    )


def test_a_failing_pip_is_shown_and_leaves_no_finished_environment(tmp_path):
    failing = script(
        tmp_path / "fresh", answers(tmp_path, "3.11") + "echo no such index >&2; exit 1"
    )
    venv_maker(tmp_path / "bin" / "python3.11", failing)
    with pytest.raises(LavaError) as refusal:
        create_lava_environment()
    assert str(refusal.value) == (
        f"{tmp_path / 'managed'}: pip cannot install lava-nc==0.10.0\nno such index"
    )
    assert not (tmp_path / "managed" / "qac-deploy-complete").exists()


def test_a_folder_that_is_something_else_is_not_removed(tmp_path):
    precious = tmp_path / "managed" / "precious"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(LavaError, match="exists and is not a virtual environment"):
        create_lava_environment()
    assert precious.exists()
    assert os.listdir(precious.parent) == ["precious"]


def test_the_commands_for_an_own_environment_name_the_versions_that_are_checked(tmp_path):
    said = " ".join(CliRunner().invoke(app, ["doctor", "--help"]).stdout.split())
    readme = (SOURCES.parent / "emit_bundle.py").read_text()
    for text in (said, readme):
        assert f"pip install {' '.join(LAVA_NC.pip_options)} {LAVA_NC.requirements[0]}" in text
        assert f"Python {LAVA_NC.python_range}" in text
        assert "pip install asteval networkx numpy scipy" in text
    assert f"pip install {LAVA_DL.requirements[0]}" in said
    assert all(environment.python_variable in said for environment in (LAVA_NC, LAVA_DL))


def doctor(*options):
    """Finished `qac-deploy doctor` in this process."""
    run = CliRunner().invoke(app, ["doctor", *map(str, options)])
    assert run.exit_code == 0, run.output
    return run


def test_doctor_makes_the_environment_and_says_which_python_runs_lava(tmp_path):
    venv_maker(tmp_path / "bin" / "python3.12", new_interpreter(tmp_path, "3.12"), "3.12")
    run = doctor("--create-lava-env", "--json")
    python = tmp_path / "managed" / "bin" / "python"
    assert {"name": "lava-nc", "found": str(python), "remedy": None, "python": "3.12"} in (
        json.loads(run.stdout)
    )
    assert run.stderr == (
        "making an environment with lava-nc\n"
        "lava-nc 0.10.0 needs Python 3.10 to 3.13, and this is 3.14: another one makes the environment\n"
    )
    assert f"found   lava-nc       {python} (Python 3.12)\n" in doctor().stdout


def test_doctor_names_what_is_missing(tmp_path, managed):
    assert (
        f"missing lava-nc       {managed}: cannot import lava-nc (no ensurepip); run `qac-deploy doctor "
        "--create-lava-env`\n" in doctor().stdout
    )
    asked = interpreter(tmp_path / "asked", "3.12", "0.10.0", "asteval")
    said = doctor("--lava-python", asked).stdout
    assert f"missing lava-nc       --lava-python {asked}: has no asteval, which lava-nc" in said


def test_two_runs_at_once_make_one_environment(tmp_path):
    """The second one waits, and takes what the first one has made."""
    slow = script(tmp_path / "fresh", answers(tmp_path / "fresh", "3.11", "0.10.0")
        + f'if [ "$3" = --help ]; then exit 0; fi\nsleep 1\necho "$@" >> {tmp_path}/pip-calls')  # fmt: skip
    venv_maker(tmp_path / "bin" / "python3.11", slow)
    said = []
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: create_lava_environment(say=said.append), range(2)))
    assert made == [tmp_path / "managed" / "bin" / "python"] * 2
    assert len((tmp_path / "pip-calls").read_text().splitlines()) == 1
    assert f"waiting for another run that makes {tmp_path / 'managed'}" in said
    assert not (tmp_path / "managed.lock").exists()
