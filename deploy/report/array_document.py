"""The PE array's part of ``report.json``, as plain data; ``compare --json`` prints it, too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy.design.array_comparison import ArrayComparison, ModeOnArray
from deploy.report.array_records import ArrayRecord, LayerRecord, ModeRecord
from deploy.report.records import plain
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.estimate import LayerEstimate
from hw_models.pe_array.roofline import Roofline

STALLS = ("weight", "input", "psum", "membrane", "output", "parameter", "node")
"""Causes of stalls, on and off chip together; ``node`` is the node unit itself."""


def array_document(comparison: ArrayComparison) -> ArrayRecord:
    """An array, and a network in each mode on it."""
    array = comparison.array
    return {
        "array": array.name,
        "elements": array.unrolling.num_elements,
        "unrolling": asdict(array.unrolling),
        "dataflow": plain(array.dataflow),
        "clock_mhz": array.clock_mhz,
        "off_chip_bytes_per_cycle": array.off_chip_bytes_per_cycle,
        "refusal": comparison.refusal,
        "skipping_samples": comparison.samples,
        "published_silicon_pj": published_silicon_pj(array),
        "estimates": [_mode(mode) for mode in comparison.modes.values()],
    }


def published_silicon_pj(array: PeArray) -> dict[str, float]:
    """Reported energy per synaptic operation of spiking chips, by chip."""
    prefix, suffix = "published_silicon.", "_pj_per_synaptic_operation"
    return {
        name.removeprefix(prefix).removesuffix(suffix): figure.value
        for name, figure in array.figures.items()
        if name.startswith(prefix)
    }


def _mode(mode: ModeOnArray) -> ModeRecord:
    estimate = mode.estimate
    num_elements = estimate.array.unrolling.num_elements
    layers = [
        _layer(layer, roof, num_elements)
        for layer, roof in zip(estimate.layers, mode.rooflines, strict=True)
    ]
    return {
        "mode": estimate.mode.name,
        "total_cycles": estimate.total_cycles,
        "cycles": sum(layer["cycles"] for layer in layers),
        "stalls": {name: sum(layer["stalls"][name] for layer in layers) for name in STALLS},
        "fill_and_drain_cycles": sum(layer["fill_and_drain_cycles"] for layer in layers),
        "utilisation": estimate.utilisation,
        "latency_us": estimate.latency_us,
        "throughput_per_s": 1e6 / estimate.latency_us,
        "accumulations": sum(layer["accumulations"] for layer in layers),
        "port_bytes": estimate.port_bytes,
        "off_chip_bytes": estimate.off_chip_bytes,
        "energy_pj": dict(estimate.energy_pj),
        "layers": layers,
        "skipping": {
            kind: {
                "total_cycles": sum(p.total_cycles for p in passes),
                "energy_pj": sum(p.energy_pj for p in passes),
                "layers": [plain(p) for p in passes],
            }
            for kind, passes in mode.skipping.items()
        },
    }


def _layer(layer: LayerEstimate, roof: Roofline, num_elements: int) -> LayerRecord:
    kernel, timing, counters = layer.kernel, layer.timing, asdict(layer.counters)
    total = timing.total_cycles
    stalls = {
        name: timing.on_chip_stalls.get(name, 0) + timing.off_chip_stalls.get(name, 0)
        for name in STALLS
    }
    record: Any = {
        "name": kernel.name,
        "target": kernel.target,
        "frames": kernel.nest.frames,
        "operand_bits": kernel.reads.bits,
        "total_cycles": total,
        "stalls": stalls,
        "fill_and_drain_cycles": timing.fill_cycles + timing.drain_cycles,
        "utilisation": layer.counters.accumulations / (total * num_elements),
        **counters,
        "port_bytes_read": dict(layer.ports.read),
        "port_bytes_written": dict(layer.ports.written),
        "off_chip_bytes_loaded": dict(timing.loaded_bytes),
        "off_chip_bytes_stored": dict(timing.stored_bytes),
        "energy_pj": dict(layer.energy_pj),
        "roofline": plain(roof),
    }
    return record
