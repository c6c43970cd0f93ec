"""The engines that run an integer network on this machine: one table, the fastest first.

All code that chooses or offers an engine reads this table, so a new engine is a module and an entry here. An
engine imports its module when it is prepared: the command line reads the names without loading torch. (Lava
is not in the table: it runs a build's emitted processes, not the network; see ``sim.runners.lava``.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from sim.results import Simulation
    from toolchain.networks.integer_network import IntegerNetwork

OnCounts: TypeAlias = "Callable[[str, Tensor], None]"
"""Called for each batch with a spiking population's name and its counts ``(B, C, H, W)``, of any integer or
floating-point type, as soon as they are known: a caller can reduce counts instead of keeping them."""

STEPPED_BATCH_SAMPLES = 16
"""Samples that the stepped engine computes at once; it keeps every step of every population."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The results that are asked for, and the device.

    Attributes:
        with_counts, with_trains: keep the counts and the spike trains of every population.
        device: where torch computes, such as ``cpu`` or ``cuda``.
    """

    with_counts: bool = True
    with_trains: bool = False
    device: str = "cpu"


class PreparedEngine(Protocol):
    """A network prepared for any number of batches."""

    def __call__(self, pixels: np.ndarray, on_counts: OnCounts | None = None) -> Simulation:
        """Simulate integers of shape ``(B, C, H, W)``.

        Raises:
            DataError: type, shape or range of the pixels do not fit the input population.
        """


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to compute the integers.

    Attributes:
        name: as ``--engine`` takes it.
        can_run: whether it can run a network with these alignments.
        prepare: raises UnsupportedNetworkError if it cannot run the network, and DeviceError if it
            cannot use the device.
    """

    name: str
    can_run: Callable[[IntegerNetwork], bool]
    prepare: Callable[[IntegerNetwork, Request], PreparedEngine]


def _exact(network: IntegerNetwork, request: Request) -> PreparedEngine:
    from sim.exact.engine import ExactEngine

    engine = ExactEngine(
        network,
        with_counts=request.with_counts,
        with_trains=request.with_trains,
        device=request.device,
    )
    return lambda pixels, on_counts=None: engine.run(pixels, on_counts=on_counts)


def _frame_by_frame(network: IntegerNetwork, request: Request) -> PreparedEngine:
    from sim.frame_by_frame import run_frame_by_frame

    _check_processor("frame-by-frame", request)
    return lambda pixels, on_counts=None: run_frame_by_frame(
        network,
        pixels,
        with_counts=request.with_counts,
        with_trains=request.with_trains,
        on_counts=on_counts,
    )


def _stepped(network: IntegerNetwork, request: Request) -> PreparedEngine:
    import torch

    from sim.results import joined
    from sim.stepped import run_stepped

    _check_processor("stepped", request)

    def run(pixels: np.ndarray, on_counts: OnCounts | None = None) -> Simulation:
        parts = []
        for start in range(0, max(len(pixels), 1), STEPPED_BATCH_SAMPLES):
            part = run_stepped(network, pixels[start : start + STEPPED_BATCH_SAMPLES])
            if on_counts is not None:
                for name, counts in part.counts.items():
                    on_counts(name, torch.from_numpy(counts))
            parts.append(part.only(counts=request.with_counts, trains=request.with_trains))
        return joined(parts)

    return run


def _check_processor(name: str, request: Request) -> None:
    from toolchain.errors import DeviceError

    if request.device != "cpu":
        raise DeviceError(
            f"the {name} engine computes on the processor alone, not on '{request.device}'; use cpu, or "
            f"the exact engine"
        )


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(name="exact", can_run=lambda n: n.has_constant_current, prepare=_exact),
        Engine(name="frame-by-frame", can_run=lambda n: True, prepare=_frame_by_frame),
        Engine(name="stepped", can_run=lambda n: True, prepare=_stepped),
    )
}


def fastest_engine(network: IntegerNetwork) -> Engine:
    """The first engine of the table that can run a network."""
    return next(engine for engine in ENGINES.values() if engine.can_run(network))


def simulate(
    network: IntegerNetwork,
    pixels: np.ndarray,
    *,
    with_counts: bool = True,
    with_trains: bool = False,
) -> Simulation:
    """Simulate integers of shape ``(B, C, H, W)`` on the fastest engine that can run the network.

    Raises:
        DataError: type, shape or range of the pixels do not fit the input population.
        UnsupportedNetworkError: a bound exceeds the integers that doubles hold.
    """
    request = Request(with_counts=with_counts, with_trains=with_trains)
    return fastest_engine(network).prepare(network, request)(pixels)
