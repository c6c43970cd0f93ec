"""A small network of a user's own, taken through the whole flow once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from own_network import OwnNetwork

import qac_deploy as qd


@dataclass(frozen=True)
class Flow:
    """What each call of the flow returned."""

    data: Any
    module: Any
    history: Any
    model: Any
    build: Any


@pytest.fixture(scope="session")
def digits():
    return qd.load_data("digits")


@pytest.fixture(scope="session")
def flow(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("flow")
    module = qd.quantize(OwnNetwork(), max_pool="exact")
    history = qd.train(module, digits, epochs=3, mean_timesteps=3)
    model = qd.convert(module, digits, out=folder / "model.pt")
    build = qd.compile(model, out=folder / "build")
    return Flow(digits, module, history, model, build)
