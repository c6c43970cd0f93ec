"""Limits and costs of a multi-core target, read from a YAML file of figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from hw_models.core_limits import CORE_LIMITS, CoreAmounts
from hw_models.figures import BUILT_IN, Figure, FigureFile, load_figures
from toolchain.errors import TargetError
from toolchain.field_types import LARGEST_COUNT
from toolchain.networks.integer_network import IntegerWidths
from toolchain.schema import refusal


@dataclass(frozen=True, kw_only=True)
class SynapseMemory:
    """How synapses are stored: one list per axon, in blocks that are padded to whole words."""

    word_bits: int
    index_bits: int
    block_synapses: int
    block_header_bits: int

    def words(self, num_synapses: np.ndarray, weight_bits: int) -> np.ndarray:
        """Words that lists of these lengths take (after nengo-loihi's ``bits_per_axon``)."""
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
        convolution_event_pj, convolution_event_ns: a synaptic event of a list that source pixels share.
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
        """Duration of the barrier over ``num_tiles`` tiles, interpolated between the given points."""
        tiles, durations = zip(*self.barrier_ns, strict=True)
        return float(np.interp(num_tiles, tiles, durations))


@dataclass(frozen=True, kw_only=True)
class TargetDescription:
    """A multi-core target; ``describe_target`` makes it from a file of figures.

    Attributes:
        core: the limits of one core.
        atoms: source channels that one population axon can tell apart.
        slots_per_axon: output axon entries of one population axon.
        link_ticks: delay of a frame forward, and of a credit backward.
        default_buffer_slots: D of each alignment buffer, per replica of its target.
    """

    file: FigureFile
    widths: IntegerWidths
    core: CoreAmounts
    synapse_memory: SynapseMemory
    mesh: Mesh
    num_chips: int
    atoms: int
    slots_per_axon: int
    link_ticks: int
    default_buffer_slots: int
    cost_profiles: Mapping[str, CostProfile]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def description(self) -> str:
        return self.file.description

    @property
    def figures(self) -> Mapping[str, Figure]:
        return self.file.figures

    @property
    def num_cores(self) -> int:
        """Cores of all chips."""
        return self.num_chips * self.mesh.num_cores


def load_target(name_or_path: str) -> TargetDescription:
    """Read a target and check all of its figures.

    Raises:
        TargetError: the message names the file, the field, the values it may have and the remedy.
    """
    return describe_target(load_figures(name_or_path))


def built_in_targets() -> list[str]:
    """Names of the targets that come with the package."""
    names = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
    return [name for name in names if "mesh" in load_figures(name).document["figures"]]


MAX_MESH_SIDE = 256  # also of cores per tile
MAX_CORES = MAX_MESH_SIDE**3  # of all chips
MAX_SLOTS = 1_000_000  # of an alignment buffer: what `compile --slots` takes
MAX_LINK_TICKS = 1_000_000
MAX_WIDTHS = {
    "weight_bits": 8,  # weights are int8
    "max_exponent": 30,
    "state_bits": 62,  # integers are computed in 64 bits
    "threshold_mantissa_bits": 32,
    "threshold_shift": 30,
    "bias_mantissa_bits": 32,
    "bias_exponent_bits": 4,
}


def describe_target(file: FigureFile) -> TargetDescription:
    """The target that a file of figures describes.

    Raises:
        TargetError: the message names the file, the field, the values it may have and the remedy.
    """
    integer = file.integer
    least = {name: limit.least for name, limit in CORE_LIMITS.items()}
    core = CoreAmounts(**_integers(file, "core", CoreAmounts, **least))
    mesh = Mesh(**_integers(file, "mesh", Mesh, maximum=MAX_MESH_SIDE))
    names = dict.fromkeys(name.split(".")[0] for name in file.section("cost_profiles"))
    return TargetDescription(
        file=file,
        widths=_widths(file, core),
        core=core,
        synapse_memory=SynapseMemory(
            **_integers(file, "synapse_memory", SynapseMemory, block_header_bits=0)
        ),
        mesh=mesh,
        num_chips=integer("chips.count", maximum=MAX_CORES // mesh.num_cores),
        atoms=integer("population_axons.atoms"),
        slots_per_axon=integer("population_axons.slots_per_axon"),
        link_ticks=integer("pipeline.link_ticks", 0, MAX_LINK_TICKS),
        default_buffer_slots=integer("pipeline.default_buffer_slots", maximum=MAX_SLOTS),
        cost_profiles={name: _cost_profile(file, f"cost_profiles.{name}") for name in names},
    )


def _integers(
    file: FigureFile, section: str, record: type, maximum: int = LARGEST_COUNT, **least: int
) -> dict[str, int]:
    """Figures of a section for the fields of a record, each at least 1 or as given."""
    return {
        field.name: file.integer(f"{section}.{field.name}", least.get(field.name, 1), maximum)
        for field in fields(record)
    }


def _widths(file: FigureFile, core: CoreAmounts) -> IntegerWidths:
    def bits(name: str, minimum: int) -> int:
        return file.integer(f"integers.{name}", minimum, MAX_WIDTHS[name])

    return IntegerWidths(
        weight_bits=bits("weight_bits", 2),
        max_exponent=bits("max_exponent", 0),
        state_bits=bits("state_bits", 2),
        threshold_mantissa_bits=bits("threshold_mantissa_bits", 1),
        threshold_shift=bits("threshold_shift", 0),
        bias_mantissa_bits=bits("bias_mantissa_bits", 2),
        bias_exponent_bits=bits("bias_exponent_bits", 0),
        # one profile is for the compartments of alignment buffers, which must not spike
        distinct_thresholds=core.threshold_profiles - 1,
    )


def _cost_profile(file: FigureFile, section: str) -> CostProfile:
    scalars = [f for f in CostProfile.__dataclass_fields__ if f != "barrier_ns"]
    barrier = file.section(f"{section}.barrier_ns")
    points = []
    for name in barrier:
        tiles = re.fullmatch(r"tiles_([1-9][0-9]{0,8})", name)
        if tiles is None:
            raise refusal(
                file.path, f"the names in {section}.barrier_ns", "tiles_1, tiles_2 and so on", name,
                error=TargetError,
            )  # fmt: skip
        points.append((int(tiles[1]), file.number(f"{section}.barrier_ns.{name}")))
    if not points:
        raise TargetError(f"{file.path}: {section}.barrier_ns needs at least one point")
    values = {field: file.number(f"{section}.{field}") for field in scalars}
    return CostProfile(**values, barrier_ns=tuple(sorted(points)))
