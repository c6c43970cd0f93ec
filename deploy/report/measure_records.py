"""Records of a design's measures and of suggested changes; this module imports no more than their types."""

from __future__ import annotations

from typing import TypedDict

from toolchain.field_types import Finite, NotNegative, Total


class MeasuresRecord(TypedDict):
    """Measures of a design, which those of other designs are compared with.

    Accuracy is on the test samples of ``fidelity``; None without a data set, or if none is defined.
    Times and energies are by cost profile: empty without a data set, or where they were not computed.
    """

    interval_ticks: NotNegative
    first_latency_ticks: Total
    stall_share: NotNegative
    num_cores: Total
    num_chips: Total
    num_slots: Total
    accuracy: Finite | None
    interval_us: dict[str, NotNegative]
    first_latency_us: dict[str, NotNegative]
    energy_nj: dict[str, NotNegative]


class SuggestionRecord(TypedDict):
    """A change to the design, the command that compiles it, and the measures of the result."""

    change: str
    command: str
    keeps_integers: bool
    gives: MeasuresRecord
