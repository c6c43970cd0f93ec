"""Settings of every test, and a trained model with its build, made once through the installed command."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from installed_command import run_command

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; commands inherit it

settings.register_profile("tests", deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "unshrunk", settings.get_profile("tests"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("tests")


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
