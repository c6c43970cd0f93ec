"""The limits of a core: one table for targets, mappings, messages and reports.

A new limit needs a field here, a count in ``hw_models.multicore.mapping.core_resources`` and a figure in each
target.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _limit(*, remedy: str, least: int = 1, in_report: bool = False, is_filled: bool = False) -> Any:
    return field(
        metadata={
            "remedy": remedy,
            "least": least,
            "in_report": in_report,
            "is_filled": is_filled,
        }
    )


@dataclass(frozen=True, kw_only=True)
class CoreAmounts:
    """One amount for each limit of a core: how much the core has, or how much a tile uses.

    Attributes:
        compartments: one per neuron (none for the readout, which only accumulates), and one per neuron
            for each frame that each slot of each alignment buffer in front of it holds at once: one if it
            averages, often more with ``replicate`` and ``truncate``.
        synapse_words: memory of the synapse lists; source pixels that see the same taps share one.
        input_axons: one for each source pixel, block of atoms and source replica; a pixel of the image
            counts once per bit plane.
        output_axons: entries for each own pixel, block of atoms and core it sends to.
        compartment_bases: pixels of the tile, by which shared lists are shifted.
        threshold_profiles: different thresholds, and one for the slots of alignment buffers.
        compartment_profiles: kinds of compartment.
        synapse_formats: different pairs of weight width and exponent.
    """

    compartments: int = _limit(remedy="use fewer buffer slots", in_report=True)
    synapse_words: int = _limit(
        remedy="use a smaller kernel, fewer input channels, groups, or pool before this layer",
        in_report=True,
    )
    input_axons: int = _limit(
        remedy="use groups, fewer input channels, or pool before this layer", in_report=True
    )
    output_axons: int = _limit(remedy="use fewer or smaller layers after this one", in_report=True)
    compartment_bases: int = _limit(remedy="use a smaller feature map")
    threshold_profiles: int = _limit(
        remedy="give its neurons fewer different thresholds: at most one per channel, and "
        "`compile --thresholds` to share them between channels",
        least=2,
        in_report=True,
        is_filled=True,
    )
    compartment_profiles: int = _limit(remedy="use a target with more of them", least=2)
    synapse_formats: int = _limit(remedy="use pixels of fewer bits, or fewer synapses into it")


@dataclass(frozen=True, kw_only=True)
class CoreLimit:
    """A limit, apart from its amount on a core.

    Attributes:
        least: smallest amount that a core must have.
        remedy: what to do if a tile uses more than a core has.
        in_report: whether the report shows its use for each population.
        is_filled: lowering uses all of it on purpose, so full is not tight.
    """

    name: str
    least: int
    remedy: str
    in_report: bool
    is_filled: bool

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")


CORE_LIMITS: dict[str, CoreLimit] = {
    f.name: CoreLimit(name=f.name, **f.metadata) for f in fields(CoreAmounts)
}
