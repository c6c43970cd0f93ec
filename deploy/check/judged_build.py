"""A build with the result of the stepped engine on a few samples, as the reference of every check."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from deploy.build.load import Build
from deploy.design.random_pixels import random_pixels
from sim.results import Simulation
from sim.stepped import run_stepped
from toolchain.datasets import load_recorded
from toolchain.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Samples on which a build is checked.

    Attributes:
        pixels: integers of shape ``(K, C, H, W)``.
        name: how many samples of which kind, for messages.
        note: why the pixels are random, or that the data set has changed; None if there is nothing to say.
    """

    pixels: np.ndarray
    name: str
    note: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedBuild(Build):
    """A build, samples, and what the stepped engine computes from them."""

    samples: Samples
    reference: Simulation

    @property
    def pixels(self) -> np.ndarray:
        """Integers of shape ``(K, C, H, W)``."""
        return self.samples.pixels


def judge(build: Build, num_samples: int) -> JudgedBuild:
    """Run the stepped engine on test samples of the build's data set, or on random pixels without one."""
    samples = samples_of(build, num_samples)
    return JudgedBuild(
        **{field.name: getattr(build, field.name) for field in fields(Build)},
        samples=samples,
        reference=run_stepped(build.network, samples.pixels),
    )


def probes_of(build: Build, count: int) -> Samples:
    """Test samples of the build's data set if there is one, with extremes and random pixels."""
    from toolchain.method.graph_comparison import probe_pixels

    own, source = samples_of(build, count), build.network.input
    probes = probe_pixels(source.shape, source.max_value), random_pixels(build.network, count // 2)
    pixels = np.concatenate([own.pixels, *probes])
    return Samples(
        pixels=pixels,
        name=f"{own.name} and {len(pixels) - len(own.pixels)} extreme and random ones",
        note=own.note,
    )


def samples_of(build: Build, count: int) -> Samples:
    """Test samples of the build's data set, or random pixels if there is none: an equality holds for any."""
    if build.report["data"] is None:
        note = "the build names no data set"
    else:
        try:
            dataset, changed = load_recorded(build.report, build.folder)
        except DataError as error:
            note = str(error)
        else:
            pixels = dataset.test_pixels[:count]
            return Samples(pixels=pixels, name=f"{len(pixels)} test samples", note=changed)
    return Samples(
        pixels=random_pixels(build.network, count),
        name=f"{count} samples of random pixels",
        note=f"random pixels take the place of test samples: {note}",
    )
