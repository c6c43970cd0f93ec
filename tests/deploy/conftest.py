"""A trained model file and its build, made once through the installed command."""

from __future__ import annotations

import importlib.util

import pytest
from installed_command import run_command


def pytest_runtest_setup(item):
    if item.get_closest_marker("sanafe") and importlib.util.find_spec("sanafe") is None:
        pytest.skip("needs SANA-FE: pip install 'qac-deploy[sanafe]'")


@pytest.fixture
def qac_deploy(tmp_path):
    return lambda *arguments, **options: run_command(*arguments, **{"cwd": tmp_path, **options})


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(finished train command, model file)."""
    folder = tmp_path_factory.mktemp("trained")
    process = run_command("train", "--data", "digits", "--out", "model.pt", cwd=folder)
    return process, folder / "model.pt"


@pytest.fixture(scope="session")
def compiled(trained):
    """(finished compile command, build folder)."""
    _, model = trained
    return run_command("compile", "model.pt", cwd=model.parent), model.parent / "build"
