"""Estimate a network on the PE array in every mode that computes its integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.estimate import ArrayEstimate, estimate_array
from hw_models.pe_array.modes import Mode, array_modes
from hw_models.pe_array.roofline import Roofline, roofline
from hw_models.pe_array.skipping_estimate import SkippedKernel, estimate_skipping
from hw_models.pe_array.zero_skipping import Skipping
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork

SKIPPING_SAMPLES = 4
"""Test samples on which zero skipping is counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModeOnArray:
    """A network in one mode.

    Attributes:
        skipping: each kernel with each kind of zero skipping; empty without a data set.
    """

    estimate: ArrayEstimate
    rooflines: tuple[Roofline, ...]
    skipping: Mapping[Skipping, tuple[SkippedKernel, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayComparison:
    """A network on one array.

    Attributes:
        modes: empty if the array cannot run the network.
        samples: on which zero skipping was counted; 0 without a data set.
        refusal: why the array cannot run the network, or None.
    """

    array: PeArray
    modes: Mapping[Mode, ModeOnArray]
    samples: int
    refusal: str | None = None


def compare_on_array(
    network: IntegerNetwork, array: PeArray, dataset: Dataset | None
) -> ArrayComparison:
    """Estimate every mode; count zero skipping on test samples of a data set, if there is one.

    Raises:
        TargetError: a buffer of the array cannot hold a row of a kernel.
    """
    pixels, run = None, None
    if dataset is not None:
        pixels = dataset.test_pixels[:SKIPPING_SAMPLES]
        run = simulate(network, pixels, with_trains=not network.has_constant_current)

    def in_mode(mode: Mode) -> ModeOnArray:
        skipping: Mapping[Skipping, tuple[SkippedKernel, ...]] = {}
        if pixels is not None and run is not None:
            skipping = estimate_skipping(network, array, mode, pixels, run.counts, run.trains)
        return ModeOnArray(
            estimate=estimate_array(network, array, mode),
            rooflines=tuple(roofline(kernel, array) for kernel in array_kernels(network, mode)),
            skipping=skipping,
        )

    return ArrayComparison(
        array=array,
        modes={mode: in_mode(mode) for mode in array_modes(network)},
        samples=0 if pixels is None else len(pixels),
    )
