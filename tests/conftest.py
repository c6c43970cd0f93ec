"""Settings of every test, and a trained model with its build, made once through the installed command."""

import fcntl
import os
import pickle
import shutil
import signal

import pytest
from hypothesis import HealthCheck, Phase, settings
from installed_command import run_command

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; commands inherit it

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "unshrunk", settings.get_profile("tests"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("tests")


@pytest.fixture
def qac_deploy(tmp_path):
    return lambda *arguments, **options: run_command(*arguments, **{"cwd": tmp_path, **options})


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """made_once(name, make): what ``make(folder)`` returns, and a copy of the folder that it fills.

    One of the test processes calls it, and the others wait.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def once(name, make):
        result, original = (shared / f"{name}-original{suffix}" for suffix in (".pickle", ""))
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                original.mkdir()
                result.write_bytes(pickle.dumps(make(original)))
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(original, folder, dirs_exist_ok=True)
        return pickle.loads(result.read_bytes()), folder

    return once


@pytest.fixture(scope="session")
def trained(made_once):
    """(finished train command, model file)."""

    def train(folder):
        return run_command("train", "--data", "digits", "--out", "model.pt", cwd=folder)

    process, folder = made_once("trained", train)
    return process, folder / "model.pt"


@pytest.fixture(scope="session")
def compiled(trained, made_once):
    """(finished compile command, build folder beside its model)."""

    def compile_it(folder):
        shutil.copy(trained[1], folder)
        return run_command("compile", "model.pt", cwd=folder)

    process, folder = made_once("compiled", compile_it)
    return process, folder / "build"
