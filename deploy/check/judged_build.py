"""A build with the judge's result on a few samples: what every check of it starts from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from deploy.build.load import Build
from sim.results import Simulation
from sim.stepped import run_stepped
from toolchain.datasets import load_recorded
from toolchain.errors import DataError
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedBuild(Build):
    """A build, samples to try, and what the stepped engine computes from them.

    Attributes:
        pixels: integers of shape ``(K, C, H, W)``.
    """

    pixels: np.ndarray
    reference: Simulation


def judge(build: Build, num_samples: int) -> JudgedBuild:
    """Run the stepped engine on test samples of the build's data set, or on random pixels without one."""
    pixels = samples_of(build, num_samples)
    return JudgedBuild(
        **{field.name: getattr(build, field.name) for field in fields(Build)},
        pixels=pixels,
        reference=run_stepped(build.network, pixels),
    )


def samples_of(build: Build, count: int) -> np.ndarray:
    """Test samples of the build's data set; random pixels where it has none."""
    if build.report["data"] is not None:
        try:
            return load_recorded(build.report, build.folder)[0].test_pixels[:count]
        except DataError:
            pass  # its files are elsewhere: any pixels will do for an equality
    return random_pixels(build.network, count)


def random_pixels(network: IntegerNetwork, count: int) -> np.ndarray:
    """Pixels of any value the input population holds, ``(count, C, H, W)``; always the same ones."""
    source = network.input
    return np.random.default_rng(0).integers(0, source.max_value + 1, (count, *source.shape))
