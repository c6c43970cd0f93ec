"""What a multi-core target can hold and what it costs, read from a YAML file of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw_models.core_limits import CORE_LIMITS, CoreAmounts
from hw_models.figures import Figure, FigureFile, load_figures
from toolchain.errors import TargetError
from toolchain.integer_network import IntegerWidths


@dataclass(frozen=True, kw_only=True)
class SynapseMemory:
    """How synapses are stored: a list an axon, in blocks, each padded to whole words."""

    word_bits: int
    index_bits: int
    block_synapses: int
    block_header_bits: int

    def words(self, num_synapses: np.ndarray, weight_bits: int) -> np.ndarray:
        """Words of axons with so many synapses each (after nengo-loihi's ``bits_per_axon``)."""
        full, rest = np.divmod(num_synapses, self.block_synapses)
        return full * self._block_words(self.block_synapses, weight_bits) + np.where(
            rest > 0, self._block_words(rest, weight_bits), 0
        )

    def _block_words(self, num_synapses: np.ndarray | int, weight_bits: int) -> np.ndarray:
        bits = num_synapses * (weight_bits + self.index_bits) + self.block_header_bits
        return np.asarray(-(-bits // self.word_bits))


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Tiles on a grid, each with a few cores."""

    width: int
    height: int
    cores_per_tile: int

    @property
    def num_cores(self) -> int:
        return self.width * self.height * self.cores_per_tile


@dataclass(frozen=True, kw_only=True)
class CostProfile:
    """Energy and time of each event, from one source; profiles are never mixed.

    Attributes:
        convolution_event_pj, convolution_event_ns: of a synaptic event where pixels share synapse lists.
        barrier_ns: (number of tiles, duration of the barrier), ascending.
    """

    synaptic_event_pj: float
    synaptic_event_ns: float
    convolution_event_pj: float
    convolution_event_ns: float
    active_update_pj: float
    active_update_ns: float
    inactive_update_pj: float
    inactive_update_ns: float
    spike_pj: float
    spike_ns: float
    message_out_pj: float
    message_out_ns: float
    message_in_ns: float
    hop_east_west_pj: float
    hop_north_south_pj: float
    chip_crossing_pj: float
    barrier_ns: tuple[tuple[int, float], ...]

    def barrier_duration_ns(self, num_tiles: int) -> float:
        """Duration of the barrier over so many tiles, interpolated between the given points."""
        tiles, durations = zip(*self.barrier_ns, strict=True)
        return float(np.interp(num_tiles, tiles, durations))


@dataclass(frozen=True)
class TargetDescription:
    """A multi-core target."""

    file: FigureFile

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def description(self) -> str:
        return self.file.description

    @property
    def figures(self) -> Mapping[str, Figure]:
        return self.file.figures

    @cached_property
    def widths(self) -> IntegerWidths:
        integer = self.file.integer
        return IntegerWidths(
            weight_bits=integer("integers.weight_bits", 2),
            max_exponent=integer("integers.max_exponent", 0),
            state_bits=integer("integers.state_bits", 2),
            threshold_mantissa_bits=integer("integers.threshold_mantissa_bits"),
            threshold_shift=integer("integers.threshold_shift", 0),
            bias_mantissa_bits=integer("integers.bias_mantissa_bits", 2),
            bias_exponent_bits=integer("integers.bias_exponent_bits", 0),
            # one profile is for the compartments of alignment buffers, which must not spike
            distinct_thresholds=self.core.threshold_profiles - 1,
        )

    @cached_property
    def core(self) -> CoreAmounts:
        """What one core has."""
        figure = self.file.integer
        return CoreAmounts(
            **{name: figure(f"core.{name}", limit.least) for name, limit in CORE_LIMITS.items()}
        )

    @cached_property
    def synapse_memory(self) -> SynapseMemory:
        return SynapseMemory(
            word_bits=self.file.integer("synapse_memory.word_bits"),
            index_bits=self.file.integer("synapse_memory.index_bits"),
            block_synapses=self.file.integer("synapse_memory.block_synapses"),
            block_header_bits=self.file.integer("synapse_memory.block_header_bits", 0),
        )

    @cached_property
    def mesh(self) -> Mesh:
        return Mesh(
            width=self.file.integer("mesh.width"),
            height=self.file.integer("mesh.height"),
            cores_per_tile=self.file.integer("mesh.cores_per_tile"),
        )

    @cached_property
    def num_chips(self) -> int:
        return self.file.integer("chips.count")

    @property
    def num_cores(self) -> int:
        """Cores of all chips."""
        return self.num_chips * self.mesh.num_cores

    @cached_property
    def atoms(self) -> int:
        """Source channels that one population axon can tell apart."""
        return self.file.integer("population_axons.atoms")

    @cached_property
    def slots_per_axon(self) -> int:
        """Output axon entries of one population axon."""
        return self.file.integer("population_axons.slots_per_axon")

    @cached_property
    def link_ticks(self) -> int:
        return self.file.integer("pipeline.link_ticks", 0)

    @cached_property
    def default_buffer_slots(self) -> int:
        return self.file.integer("pipeline.default_buffer_slots")

    @cached_property
    def cost_profiles(self) -> dict[str, CostProfile]:
        names = dict.fromkeys(name.split(".")[0] for name in self.file.section("cost_profiles"))
        return {name: self._cost_profile(f"cost_profiles.{name}") for name in names}

    def _cost_profile(self, section: str) -> CostProfile:
        scalars = [f for f in CostProfile.__dataclass_fields__ if f != "barrier_ns"]
        barrier = self.file.section(f"{section}.barrier_ns")
        points = sorted(
            (int(name.removeprefix("tiles_")), float(figure.value))
            for name, figure in barrier.items()
        )
        if not points:
            raise TargetError(f"{self.file.path}: {section}.barrier_ns needs at least one point")
        values = {field: self.file.number(f"{section}.{field}") for field in scalars}
        return CostProfile(**values, barrier_ns=tuple(points))


def load_target(name_or_path: str) -> TargetDescription:
    """Read a target, and check all of it at once.

    Raises:
        TargetError: naming the file, the field, what it must be and the remedy.
    """
    target = TargetDescription(load_figures(name_or_path))
    for part in (
        "widths", "core", "synapse_memory", "mesh", "num_chips", "atoms", "slots_per_axon",
        "link_ticks", "default_buffer_slots",
    ):  # fmt: skip
        getattr(target, part)
    assert target.cost_profiles is not None
    return target
