"""The RTL, compiled once for each array and simulator."""

from __future__ import annotations

import pytest

from hw_models.pe_array.rtl.driver.simulator import compile_rtl


@pytest.fixture(scope="session")
def rtl_cache(tmp_path_factory, worker_id):
    """Folder that all test processes share: what one has compiled serves the others."""
    folder = tmp_path_factory.getbasetemp()
    return (folder if worker_id == "master" else folder.parent) / "rtl"


@pytest.fixture(scope="session")
def compiled(rtl_cache):
    """compile(array, simulator)."""
    return lambda array, simulator: compile_rtl(array, simulator, cache=rtl_cache)
