"""Size, buffers, clock and energies of a PE array, read from a YAML file of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil
from typing import Literal, TypeAlias

from hw_models.figures import BUILT_IN, Figure, FigureFile, load_figures
from hw_models.pe_array.loop_nest import TIME_LOOPS, Dataflow, Unrolling
from toolchain.errors import TargetError

BufferName: TypeAlias = Literal["weight", "input", "psum", "membrane", "output"]
BUFFERS: tuple[BufferName, ...] = ("weight", "input", "psum", "membrane", "output")


MAX_UNROLLING = 4096  # along each of the four loops
MAX_WORD_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """One on-chip memory.

    Attributes:
        port_bytes: bytes that its port moves per cycle; an iteration that needs more takes several cycles.
        copies: 2 if it is double-buffered (one tile is filled while the array uses the other), else 1.
    """

    size_bytes: int
    port_bytes: int
    copies: int
    read_pj_per_byte: float
    write_pj_per_byte: float


@dataclass(frozen=True, kw_only=True)
class PeArray:
    """A PE array.

    Attributes:
        file: the description that the figures are from.
        sum_bits: width of a stored partial sum.
        potential_bits: width of a stored membrane potential, bias, threshold or initial potential.
        off_chip_bytes_per_cycle: bandwidth of the off-chip memory, in one direction at a time.
    """

    file: FigureFile
    unrolling: Unrolling
    dataflow: Dataflow
    clock_mhz: float
    weight_bits: int
    sum_bits: int
    potential_bits: int
    buffers: Mapping[BufferName, Buffer]
    off_chip_bytes_per_cycle: int
    off_chip_pj_per_byte: float
    add_pj: float
    multiply_pj: float
    fire_pj: float
    requantize_pj: float

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def figures(self) -> Mapping[str, Figure]:
        return self.file.figures


def load_array(name_or_path: str) -> PeArray:
    """Read an array description.

    Raises:
        TargetError: naming the file, the field, what it must be and the remedy.
    """
    return describe_array(load_figures(name_or_path))


def built_in_arrays() -> list[str]:
    """Names of the arrays that come with the package."""
    names = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
    return [name for name in names if "unrolling" in load_figures(name).document["figures"]]


def describe_array(file: FigureFile) -> PeArray:
    """The array that a file of figures describes.

    Raises:
        TargetError: naming the file, the field, what it must be and the remedy.
    """
    array = PeArray(
        file=file,
        unrolling=Unrolling(
            **{
                size.name: file.integer(f"unrolling.{size.name}", maximum=MAX_UNROLLING)
                for size in fields(Unrolling)
            }
        ),
        dataflow=Dataflow(
            time_loop=file.choice("dataflow.time_loop", TIME_LOOPS, "innermost"),
            fold=file.choice("dataflow.fold", (False, True), False),
        ),
        clock_mhz=file.number("clock_mhz", minimum=1e-3),
        weight_bits=file.integer("words.weight_bits", maximum=MAX_WORD_BITS),
        sum_bits=file.integer("words.sum_bits", maximum=MAX_WORD_BITS),
        potential_bits=file.integer("words.potential_bits", maximum=MAX_WORD_BITS),
        buffers={name: _buffer(file, f"buffers.{name}") for name in BUFFERS},
        off_chip_bytes_per_cycle=file.integer("off_chip.bytes_per_cycle"),
        off_chip_pj_per_byte=file.number("off_chip.pj_per_byte"),
        add_pj=file.number("energy.add_pj"),
        multiply_pj=file.number("energy.multiply_pj"),
        fire_pj=file.number("energy.fire_pj"),
        requantize_pj=file.number("energy.requantize_pj"),
    )
    _check_least_sizes(array)
    return array


def _buffer(file: FigureFile, name: str) -> Buffer:
    return Buffer(
        copies=file.integer(f"{name}.copies", maximum=2),
        size_bytes=file.integer(f"{name}.size_bytes"),
        port_bytes=file.integer(f"{name}.port_bytes"),
        read_pj_per_byte=file.number(f"{name}.read_pj_per_byte"),
        write_pj_per_byte=file.number(f"{name}.write_pj_per_byte"),
    )


def _check_least_sizes(array: PeArray) -> None:
    """Refuse a buffer that cannot hold what the array takes in one cycle: it could run no network."""
    m, n, s, v = array.unrolling.sizes
    least: dict[BufferName, tuple[str, int]] = {
        "weight": (f"M x V = {m} x {v} weights of {array.weight_bits} bits", m * v * array.weight_bits),
        "input": (f"N x S x V = {n} x {s} x {v} operands of one bit", n * s * v),
        "psum": (f"M x N = {m} x {n} sums of {array.sum_bits} bits", m * n * array.sum_bits),
        "membrane": (
            f"M x N = {m} x {n} potentials of {array.potential_bits} bits",
            m * n * array.potential_bits,
        ),
        "output": (f"M x N x S = {m} x {n} x {s} spikes", m * n * s),
    }  # fmt: skip
    for name, (contents, bits) in least.items():
        require_room(array, name, ceil(bits / 8), contents, "the unrolling")


def require_room(
    array: PeArray, name: BufferName, tile_bytes: int, contents: str, who: str
) -> None:
    """Check that a buffer holds a tile, or two tiles if it is double-buffered.

    Args:
        contents: what the tile holds, for the message.
        who: what needs the tile, for the message.

    Raises:
        TargetError: the tiles do not fit.
    """
    buffer = array.buffers[name]
    if buffer.copies * tile_bytes > buffer.size_bytes:
        twice = ", twice" if buffer.copies == 2 else ""
        raise TargetError(
            f"{array.file.path}: buffers.{name}.size_bytes.value must be at least "
            f"{buffer.copies * tile_bytes:,} for {who} ({contents}{twice}), not {buffer.size_bytes:,}"
        )
