"""Size, clock and energies of a PE array, read from a YAML file of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw_models.figures import Figure, load_figures


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """What the array computes in one cycle (Algorithm 2): M x N x S x V accumulations."""

    output_channels: int  # M
    output_columns: int  # N
    timesteps: int  # S
    input_channels: int  # V

    @property
    def num_elements(self) -> int:
        return self.output_channels * self.output_columns * self.timesteps * self.input_channels


@dataclass(frozen=True, kw_only=True)
class PeArray:
    """A PE array."""

    name: str
    unrolling: Unrolling
    clock_mhz: float
    add_pj: float
    multiply_pj: float
    buffer_read_pj_per_byte: float
    figures: Mapping[str, Figure]


def load_array(name_or_path: str) -> PeArray:
    """Read an array description.

    Raises:
        TargetError: naming the file, the field, what it must be and the remedy.
    """
    file = load_figures(name_or_path)
    return PeArray(
        name=file.name,
        unrolling=Unrolling(
            output_channels=file.integer("unrolling.output_channels"),
            output_columns=file.integer("unrolling.output_columns"),
            timesteps=file.integer("unrolling.timesteps"),
            input_channels=file.integer("unrolling.input_channels"),
        ),
        clock_mhz=file.number("clock_mhz", minimum=1e-3),
        add_pj=file.number("energy.add_pj"),
        multiply_pj=file.number("energy.multiply_pj"),
        buffer_read_pj_per_byte=file.number("energy.buffer_read_pj_per_byte"),
        figures=file.figures,
    )
