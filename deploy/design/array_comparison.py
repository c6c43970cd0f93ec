"""A network on the PE array in every mode that computes its integers, with and without data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.design.limits import MOST_POPULATIONS_VARIED
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.estimate import ArrayEstimate, estimate_kernels
from hw_models.pe_array.modes import Mode, array_modes
from hw_models.pe_array.operands import Activity
from hw_models.pe_array.roofline import Roofline, rooflines
from hw_models.pe_array.skipping_estimate import SkippedKernel, estimate_skipping
from hw_models.pe_array.zero_skipping import Skipping
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.errors import TargetError, UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork

SKIPPING_SAMPLES = 4
"""Test samples on which zero skipping is counted; one for a deep network."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModeOnArray:
    """A network in one mode.

    Attributes:
        skipping: each kernel under each kind of zero skipping; empty without data.
    """

    estimate: ArrayEstimate
    rooflines: tuple[Roofline, ...]
    skipping: Mapping[Skipping, tuple[SkippedKernel, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayComparison:
    """A network on one array.

    Attributes:
        modes: empty if the array cannot run the network.
        samples: number of samples on which zero skipping was counted; 0 without data.
        refusal: why the array cannot run the network, or None if it can.
    """

    array: PeArray
    modes: Mapping[Mode, ModeOnArray]
    samples: int
    refusal: str | None = None


def compare_on_array(
    network: IntegerNetwork, array: PeArray, dataset: Dataset | None
) -> ArrayComparison:
    """The network in every mode, or the reason why the array cannot run it.

    Args:
        dataset: zero skipping is counted on its first test samples; None leaves it out.
    """
    activity = None if dataset is None else _activity(network, dataset)
    try:
        modes = {mode: _in_mode(network, array, mode, activity) for mode in array_modes(network)}
    except (TargetError, UnsupportedNetworkError) as error:
        return ArrayComparison(array=array, modes={}, samples=0, refusal=str(error))
    samples = 0 if activity is None else len(activity.pixels)
    return ArrayComparison(array=array, modes=modes, samples=samples)


def _activity(network: IntegerNetwork, dataset: Dataset) -> Activity:
    is_deep = len(network.populations) > MOST_POPULATIONS_VARIED
    pixels = dataset.test_pixels[: 1 if is_deep else SKIPPING_SAMPLES]
    run = simulate(network, pixels, with_trains=not network.has_constant_current)
    return Activity(pixels=pixels, counts=run.counts, trains=run.trains)


def _in_mode(
    network: IntegerNetwork, array: PeArray, mode: Mode, activity: Activity | None
) -> ModeOnArray:
    kernels = array_kernels(network, mode)
    skipping: Mapping[Skipping, tuple[SkippedKernel, ...]] = {}
    if activity is not None:
        skipping = estimate_skipping(network, array, mode, activity)
    return ModeOnArray(
        estimate=estimate_kernels(kernels, array, mode),
        rooflines=rooflines(kernels, array),
        skipping=skipping,
    )
