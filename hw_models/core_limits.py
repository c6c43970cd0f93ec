"""What a core has a limited amount of: one table, for targets, mappings, messages and reports.

A new limit is a field here, its use in ``hw_models.multicore.mapping.core_resources``, and a figure of each
target.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _limit(*, remedy: str, least: int = 1, in_report: bool = False) -> Any:
    return field(metadata={"remedy": remedy, "least": least, "in_report": in_report})


@dataclass(frozen=True, kw_only=True)
class CoreAmounts:
    """Amounts of what a core is limited in: all that it has, or what a tile uses.

    Attributes:
        compartments: one per neuron (none for the readout, which only accumulates), and one per neuron
            for each slot of each alignment buffer in front of it.
        synapse_words: memory of the synapse lists, shared where source pixels see the same taps.
        input_axons: one for each source pixel, block of atoms and source replica; a pixel of the image
            counts once per bit plane.
        output_axons: entries for each own pixel, block of atoms and core it sends to.
        compartment_bases: pixels of the tile, which shared lists are shifted by.
        threshold_profiles: different thresholds, and one for the slots of alignment buffers.
        compartment_profiles: kinds of compartment.
        synapse_formats: different widths and exponents of weights.
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
        remedy="give its neurons fewer different thresholds: one a channel at most, and "
        "`compile --thresholds` to share them between channels",
        least=2,
        in_report=True,
    )
    compartment_profiles: int = _limit(remedy="use a target with more of them", least=2)
    synapse_formats: int = _limit(remedy="use pixels of fewer bits, or fewer synapses into it")


@dataclass(frozen=True, kw_only=True)
class CoreLimit:
    """One of the amounts.

    Attributes:
        least: what any core must have.
        remedy: what to do where a tile uses more than a core has.
        in_report: its use is shown for each population.
    """

    name: str
    least: int
    remedy: str
    in_report: bool

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")


CORE_LIMITS: dict[str, CoreLimit] = {
    f.name: CoreLimit(name=f.name, **f.metadata) for f in fields(CoreAmounts)
}
