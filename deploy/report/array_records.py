"""The types of the PE array's part of ``report.json``, and of what ``compare`` prints."""

from __future__ import annotations

from typing import TypedDict

from hw_models.pe_array.modes import ModeName


class RooflineRecord(TypedDict):
    name: str
    accumulations_per_byte: float
    compute_roof: float
    bandwidth_roof: float
    attained: float
    stall_free_bytes_per_cycle: int | None


class LayerRecord(TypedDict):
    name: str
    target: str
    frames: int
    operand_bits: int
    total_cycles: int
    stalls: dict[str, int]
    fill_and_drain_cycles: int
    utilisation: float
    cycles: int
    node_stall_cycles: int
    accumulations: int
    weight_reads: int
    input_reads: int
    psum_reads: int
    psum_writes: int
    membrane_reads: int
    membrane_writes: int
    node_updates: int
    output_writes: int
    port_bytes_read: dict[str, float]
    port_bytes_written: dict[str, float]
    off_chip_bytes_loaded: dict[str, float]
    off_chip_bytes_stored: dict[str, float]
    energy_pj: dict[str, float]
    roofline: RooflineRecord


class SkippedPassRecord(TypedDict):
    cycles: float
    total_cycles: float
    accumulations: float
    energy_pj: float


class SkippingRecord(TypedDict):
    total_cycles: float
    energy_pj: float
    layers: list[SkippedPassRecord]


class ModeRecord(TypedDict):
    mode: ModeName
    total_cycles: int
    cycles: int
    stalls: dict[str, int]
    fill_and_drain_cycles: int
    utilisation: float
    latency_us: float
    throughput_per_s: float
    accumulations: int
    port_bytes: float
    off_chip_bytes: float
    energy_pj: dict[str, float]
    layers: list[LayerRecord]
    skipping: dict[str, SkippingRecord]


class DataflowRecord(TypedDict):
    time_loop: str
    fold: bool


class ArrayRecord(TypedDict):
    array: str
    elements: int
    unrolling: dict[str, int]
    dataflow: DataflowRecord
    clock_mhz: float
    off_chip_bytes_per_cycle: float
    refusal: str | None
    skipping_samples: int
    published_silicon_pj: dict[str, float]
    estimates: list[ModeRecord]


class UnrollingRecord(TypedDict):
    unrolling: dict[str, int]
    mode: ModeName
    total_cycles: int
    utilisation: float
    port_bytes: float
    off_chip_bytes: int
    energy_pj: float
    on_front: bool
    is_own: bool


class SweepRecord(TypedDict):
    """Every unrolling of an array's elements in one mode; ``left_out`` of them need larger buffers."""

    mode: ModeName
    elements: int
    left_out: int
    designs: list[UnrollingRecord]
