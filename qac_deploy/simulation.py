"""Simulate a batch in chunks, so that memory is bounded by its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from deploy.build.load import Build
from qac_deploy.run import Run
from sim.engines import ENGINES, Request
from sim.results import CompactIntegers, Simulation, check_pixels
from toolchain.datasets import PixelSource
from toolchain.datasets.size_limit import VARIABLE, size_limit
from toolchain.errors import DataError, EngineError, OptionError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.shell_words import shell_command

CHUNK_SAMPLES = 64
"""Images that an engine computes at once; the last chunk may be smaller."""

LAVA = "lava"


def simulate(
    build: Build,
    pixels: Any,
    engine: str,
    device: str,
    lava_python: Path | None,
    show: Callable[[str], None],
) -> Run:
    """See ``qac_deploy.Build.simulate``."""
    if engine not in (*ENGINES, LAVA):
        raise OptionError(f"--engine must be one of {', '.join((*ENGINES, LAVA))}, not '{engine}'")
    network = build.network
    if lava_python is not None and engine != LAVA:
        raise OptionError(
            f"--lava-python belongs to engine '{LAVA}', not to '{engine}'; leave it out"
        )
    if device != "cpu" and engine == LAVA:
        raise OptionError(f"--device belongs to engine 'exact', not to '{LAVA}'; leave it out")
    source = as_pixels(network, pixels)
    trains: Callable[[], Mapping[str, np.ndarray]]
    notes: tuple[str, ...] = ()
    if engine == LAVA:
        _require_memory(network, len(source), with_trains=True)
        run = _in_lava(build, source[:], lava_python, show)
        trains = partial(_trains_of, run)
        notes = (
            "counts, trains and logits equal the stepped engine's; ticks and stall counters equal the tick "
            "model's",
        )
    else:
        _require_memory(network, len(source), with_trains=False)
        run = _in_engine(network, source, engine, device, show, with_trains=False)
        trains = partial(_trains_again, network, source, engine, device)

    return Run(
        engine=engine,
        logits=run.logits,
        counts=run.counts,
        readout=network.readout,
        timesteps={p.name: p.timesteps for p in network.spiking},
        notes=notes,
        compute_trains=trains,
    )


def _trains_of(run: Simulation) -> Mapping[str, np.ndarray]:
    return run.trains


def _trains_again(
    network: IntegerNetwork, pixels: PixelSource, engine: str, device: str
) -> Mapping[str, np.ndarray]:
    """The trains of a run that kept counts alone."""
    _require_memory(network, len(pixels), with_trains=True)
    return _in_engine(network, pixels, engine, device, with_trains=True).trains


def as_pixels(network: IntegerNetwork, pixels: Any) -> PixelSource:
    """Pixels that fit a network's input population, or a message that says what to change.

    Args:
        pixels: an array, a tensor or what an array can be made of; or a source that reads files.
    """
    shape = network.input.shape
    if hasattr(pixels, "detach"):  # a tensor
        pixels = pixels.detach().cpu().numpy()
    elif hasattr(pixels, "test_pixels"):
        raise DataError("simulate takes pixels, not a data set; pass its test_pixels")
    elif not hasattr(pixels, "shape"):
        try:
            pixels = np.asarray(pixels)
        except ValueError as error:  # rows of different lengths
            raise DataError(f"pixels are no array ({error}); stack images of equal shape") from None
    if getattr(pixels, "dtype", np.dtype(int)).kind not in "biuf":
        raise DataError(
            f"pixels must be an array of integers, not {pixels!r:.60}; pass load_data(...).test_pixels"
        )
    found = tuple(pixels.shape)
    if found[1:] != shape or len(found) != 4:
        raise DataError(
            f"pixels have shape {found}, but the network takes (B, {', '.join(map(str, shape))})"
            f"{_remedy_of_shape(found, shape)}"
        )
    if not len(pixels):
        raise DataError("pixels hold no image; pass at least one")
    _check_type(network, pixels[:1])
    if isinstance(
        pixels, np.ndarray
    ):  # a caller may use the array again before it reads the trains
        pixels = pixels.copy()
    return cast("PixelSource", pixels)


def _remedy_of_shape(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    channels, *size = shape
    if found == shape:
        return "; add an axis in front of a single image: pixels[None]"
    if channels == 1 and list(found[1:]) == size:
        return "; add the axis of the channels: pixels[:, None]"
    if found[1:] == (*size, channels):
        return "; channels come first: pixels.transpose(0, 3, 1, 2)"
    return "; choose images of the data set it was trained on"


def _check_type(network: IntegerNetwork, pixels: np.ndarray) -> None:
    most = network.input.max_value
    if np.issubdtype(pixels.dtype, np.floating):
        raise DataError(
            f"pixels must be integers 0..{most}, not {pixels.dtype}; pass them as they are in the data set. "
            f"If they were divided by {most}: (pixels * {most}).round().astype(int)"
        )
    check_pixels(network, pixels)


def _require_memory(network: IntegerNetwork, num_samples: int, *, with_trains: bool) -> None:
    """Require that the results fit below the limit of memory.

    Raises:
        DataError: they do not; the message says how many images do.
    """
    each = 8 * prod(network.readout.shape)
    for population in network.spiking:
        steps = population.timesteps
        width = steps if with_trains else 0
        each += prod(population.shape) * (width + _count_type(steps).itemsize)
    limit = size_limit(None)
    if each * num_samples > limit:
        what = "spike trains" if with_trains else "spike counts"
        raise DataError(
            f"{num_samples:,} images: their {what} take {each * num_samples:,} bytes of memory, above the "
            f"limit of {limit:,}; simulate at most {limit // each:,} images at once, or set {VARIABLE} in "
            f"the environment"
        )


def _count_type(timesteps: int) -> np.dtype[Any]:
    """The narrowest integers that hold counts ``0..T``."""
    return np.min_scalar_type(timesteps)


def _in_engine(
    network: IntegerNetwork,
    pixels: PixelSource,
    engine: str,
    device: str,
    show: Callable[[str], None] = lambda words: None,
    *,
    with_trains: bool,
) -> Simulation:
    """Logits and counts, or trains alone, of all images."""
    request = Request(with_counts=not with_trains, with_trains=with_trains, device=device)
    prepared = ENGINES[engine].prepare(network, request)
    parts = []
    for start in range(0, len(pixels), CHUNK_SAMPLES):
        part = prepared(np.asarray(pixels[start : start + CHUNK_SAMPLES]))
        counts = {n: c.astype(_count_type(network[n].timesteps)) for n, c in part.counts.items()}
        parts.append((part.logits, counts, part.trains))
        show(f"simulating: {min(start + CHUNK_SAMPLES, len(pixels)):,} of {len(pixels):,} images")
    logits, counts_of, trains_of = zip(*parts, strict=True)
    return Simulation(
        logits=np.concatenate(logits),
        counts=CompactIntegers(_joined(counts_of)),
        trains=_joined(trains_of),
    )


def _joined(parts: tuple[Mapping[str, np.ndarray], ...]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _in_lava(
    build: Build, pixels: np.ndarray, python: Path | None, show: Callable[[str], None]
) -> Simulation:
    from deploy.check.engines import run_and_compare_in_lava

    check_pixels(build.network, pixels)
    run = run_and_compare_in_lava(build, pixels, python, show)
    if run.comparison.first_difference is not None:
        command = shell_command("qac-deploy", "verify", build.folder)
        raise EngineError(
            f"Lava differs from the stepped engine or the tick model: {run.comparison.first_difference}; "
            f"compile the model again, and run `{command}`"
        )
    return run.run.simulation
