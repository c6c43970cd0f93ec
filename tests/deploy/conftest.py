"""A small build for tests of commands; tests of SANA-FE are skipped where it is not installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from builders import float_connect, float_dense, float_network_of, float_spiking
from installed_command import run_command

from toolchain.files.checkpoint import Checkpoint, save_checkpoint


def pytest_runtest_setup(item):
    if item.get_closest_marker("sanafe") and importlib.util.find_spec("sanafe") is None:
        pytest.skip("needs SANA-FE: pip install 'qac-deploy[sanafe]'")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """Eight neurons that read the digits, since data sets have names."""
    random = np.random.default_rng(0)
    network = float_network_of(
        float_spiking("hidden", (8, 1, 1), timesteps=4, threshold=2.0, bias=0.25),
        float_connect("input", "hidden", float_dense(random.normal(size=(8, 64)))),
        float_connect("hidden", "readout", float_dense(random.normal(size=(10, 8)))),
        image=(1, 8, 8), max_value=16, unit=1 / 16, readout="readout", classes=10, bias=np.zeros(10),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_checkpoint(path, Checkpoint(network, {"data": "digits"}))
    return path


@pytest.fixture(scope="session")
def small_build(small_model):
    """A build that takes little time to read, beside its model."""
    process = run_command("compile", small_model, "--samples", 2, cwd=small_model.parent)
    assert process.returncode == 0, process.stderr
    return small_model.parent / "build"
