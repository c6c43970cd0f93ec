"""Which interpreter runs Lava, and how the managed environment is made; interpreters are scripts here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy.backends.lava.environment import (
    create_lava_environment,
    find_lava_python,
    managed_folder,
)
from toolchain.errors import LavaError

GOOD = ("3.10", "0.10.0")


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def interpreter(path: Path, version: str = "3.10", lava: str = "") -> Path:
    """Answers what ``find_lava_python`` asks, and records other arguments in the file ``calls``."""
    return script(
        path,
        f'if [ "$2" = -c ]; then printf "%s\\n" {version} {path} "{lava}"; exit; fi\n'
        f'echo "$@" >> {path.parent}/calls',
    )


@pytest.fixture(autouse=True)
def clean_machine(tmp_path, monkeypatch):
    """Nothing that this machine has counts: no variables, an empty PATH, Python 3.12 without Lava."""
    monkeypatch.delenv("QAC_DEPLOY_LAVA_PYTHON", raising=False)
    monkeypatch.setenv("QAC_DEPLOY_LAVA_ENV", str(tmp_path / "managed"))
    (tmp_path / "bin").mkdir()
    system = [d for d in ("/usr/bin", "/bin") if Path(d, "sh").exists()]
    tools = {t: Path(d, t) for d in system for t in ("sh", "mkdir", "cp", "chmod", "touch")}
    for name, target in tools.items():
        (tmp_path / "bin" / name).symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "current", "3.12")))


@pytest.fixture
def managed(tmp_path):
    (tmp_path / "managed").mkdir()
    (tmp_path / "managed" / "qac-deploy-complete").touch()
    return interpreter(tmp_path / "managed" / "bin" / "python", *GOOD)


def test_the_order_of_choice(tmp_path, monkeypatch, managed):
    assert find_lava_python() == managed
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "current310", *GOOD)))
    assert find_lava_python() == tmp_path / "current310"
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", str(interpreter(tmp_path / "variable", *GOOD)))
    assert find_lava_python() == tmp_path / "variable"
    explicit = interpreter(tmp_path / "explicit", *GOOD)
    assert find_lava_python(explicit) == explicit


@pytest.mark.parametrize(
    ("version", "lava", "complaint"),
    [
        ("3.11", "0.10.0", "is Python 3.11, but lava-nc 0.10.0 needs 3.10"),
        ("3.10", "", "has lava-nc (none), not 0.10.0"),
        ("3.10", "0.9.0", "has lava-nc 0.9.0, not 0.10.0"),
    ],
)
def test_an_interpreter_that_was_asked_for_must_do(tmp_path, managed, version, lava, complaint):
    asked = interpreter(tmp_path / "asked", version, lava)
    with pytest.raises(LavaError) as refusal:
        find_lava_python(asked)
    assert str(refusal.value) == (
        f"--lava-python {asked}: {complaint}; run `qac-deploy doctor --create-lava-env` and leave "
        "--lava-python out"
    )


def test_the_variable_must_do_as_well(tmp_path, monkeypatch, managed):
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", str(tmp_path / "nothing"))
    with pytest.raises(LavaError, match=r"QAC_DEPLOY_LAVA_PYTHON .*: is not a Python interpreter"):
        find_lava_python()


def test_none_found_says_what_to_run(tmp_path):
    with pytest.raises(LavaError) as refusal:
        find_lava_python()
    assert str(refusal.value) == (
        "no Python 3.10 with lava-nc 0.10.0 was found (tried the current interpreter and "
        f"{tmp_path / 'managed'}); run `qac-deploy doctor --create-lava-env`"
    )


def test_an_unfinished_environment_is_not_used(tmp_path, managed):
    (tmp_path / "managed" / "qac-deploy-complete").unlink()
    with pytest.raises(LavaError, match=r"no Python 3.10 with lava-nc"):
        find_lava_python()


def test_the_managed_folder_follows_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("QAC_DEPLOY_LAVA_ENV")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert managed_folder() == tmp_path / "qac-deploy" / "lava-env"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert managed_folder() == tmp_path / ".local" / "share" / "qac-deploy" / "lava-env"


def venv_maker(path: Path, made: Path) -> Path:
    """A command that makes a virtual environment at its last argument from a ready interpreter."""
    return script(
        path,
        f'if [ "$2" = -c ]; then printf "%s\\n" 3.10 {path} ""; exit; fi\n'
        'for folder in "$@"; do :; done\n'
        f'mkdir -p "$folder/bin"; touch "$folder/pyvenv.cfg"; cp {made} "$folder/bin/python"\n'
        f'echo "$@" >> {path.parent.parent}/maker-calls',
    )


def new_interpreter(tmp_path: Path) -> Path:
    """What a fresh environment holds; it writes its pip call where the test can read it."""
    return script(
        tmp_path / "fresh",
        f'if [ "$2" = -c ]; then printf "%s\\n" 3.10 x 0.10.0; exit; fi\n'
        f'echo "$@" >> {tmp_path}/pip-calls',
    )


@pytest.mark.parametrize("maker", ["uv", "python3.10"])
def test_the_environment_is_made_once(tmp_path, maker):
    venv_maker(tmp_path / "bin" / maker, new_interpreter(tmp_path))
    folder = tmp_path / "managed"
    python = create_lava_environment()
    assert python == folder / "bin" / "python"
    assert find_lava_python() == python
    assert create_lava_environment() == python
    assert (tmp_path / "maker-calls").read_text() == {
        "uv": f"venv --seed --python 3.10 {folder}\n",
        "python3.10": f"-I -m venv {folder}\n",
    }[maker]
    assert (tmp_path / "pip-calls").read_text() == (
        "-I -m pip install --disable-pip-version-check lava-nc==0.10.0\n"
    )


def test_an_unfinished_environment_is_made_again(tmp_path):
    venv_maker(tmp_path / "bin" / "uv", new_interpreter(tmp_path))
    (tmp_path / "managed").mkdir()
    (tmp_path / "managed" / "pyvenv.cfg").touch()
    (tmp_path / "managed" / "left over").touch()
    create_lava_environment()
    assert not (tmp_path / "managed" / "left over").exists()


def test_a_shim_that_refuses_to_run_is_passed_over(tmp_path):
    script(tmp_path / "bin" / "python3.10", "echo 'version not installed' >&2; exit 127")
    venv_maker(tmp_path / "bin" / "python3", new_interpreter(tmp_path))
    create_lava_environment()
    assert find_lava_python() == tmp_path / "managed" / "bin" / "python"


def test_without_python_310_it_says_what_to_install(tmp_path):
    with pytest.raises(LavaError) as refusal:
        create_lava_environment()
    assert str(refusal.value) == (
        "no Python 3.10 to make an environment with; install uv (it brings Python 3.10), or Python "
        "3.10 with its venv module so that `python3.10` runs"
    )


def test_a_failing_pip_is_shown_and_leaves_no_finished_environment(tmp_path):
    failing = script(
        tmp_path / "fresh",
        'if [ "$2" = -c ]; then printf "%s\\n" 3.10 x ""; exit; fi\necho no such index >&2; exit 1',
    )
    venv_maker(tmp_path / "bin" / "uv", failing)
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
