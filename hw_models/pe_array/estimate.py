"""A network on the array in each mode: as an SNN, and as the quantized ANN it was trained as."""

from __future__ import annotations

from dataclasses import dataclass

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.layer_passes import LayerPass, Mode, layer_passes
from toolchain.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One pass in one mode."""

    name: str
    frames: int
    operand_bits: int
    cycles: int
    utilisation: float
    accumulations: int
    weight_read_bytes: float
    input_read_bytes: float
    node_updates: int
    energy_pj: float


@dataclass(frozen=True, kw_only=True)
class ArrayEstimate:
    """A whole network in one mode; layers run one after another, so throughput is 1 / latency."""

    mode: Mode
    layers: tuple[LayerEstimate, ...]
    cycles: int
    utilisation: float
    latency_us: float
    throughput_per_s: float
    energy_pj: float


def estimate_array(network: IntegerNetwork, array: PeArray, mode: Mode) -> ArrayEstimate:
    """Cycles (exact for this array) and energy (an estimate) of one sample.

    Raises:
        UnsupportedNetworkError: the mode needs averaging, and a synapse does not average.
    """
    layers = tuple(_estimate_pass(layer, array) for layer in layer_passes(network, mode))
    cycles = sum(layer.cycles for layer in layers)
    latency_us = cycles / array.clock_mhz
    work = sum(layer.accumulations for layer in layers)
    return ArrayEstimate(
        mode=mode,
        layers=layers,
        cycles=cycles,
        utilisation=work / (cycles * array.unrolling.num_elements),
        latency_us=latency_us,
        throughput_per_s=1e6 / latency_us,
        energy_pj=sum(layer.energy_pj for layer in layers),
    )


def _estimate_pass(layer: LayerPass, array: PeArray) -> LayerEstimate:
    counters = count_loops(layer.nest, array.unrolling, array.dataflow)
    cycles = counters.cycles + counters.node_stall_cycles
    weight_bytes = counters.weight_reads * array.weight_bits / 8
    input_bytes = counters.input_reads * layer.operand_bits / 8
    multiply_pj = array.multiply_pj * layer.operand_bits / 8 if layer.operand_bits > 1 else 0
    if layer.nest.unit_weights:
        multiply_pj = 0
    energy_pj = (
        counters.accumulations * (array.add_pj + multiply_pj)
        + weight_bytes * array.buffers["weight"].read_pj_per_byte
        + input_bytes * array.buffers["input"].read_pj_per_byte
        + counters.node_updates * array.add_pj
    )
    return LayerEstimate(
        name=layer.name,
        frames=layer.nest.frames,
        operand_bits=layer.operand_bits,
        cycles=cycles,
        utilisation=counters.accumulations / (cycles * array.unrolling.num_elements),
        accumulations=counters.accumulations,
        weight_read_bytes=weight_bytes,
        input_read_bytes=input_bytes,
        node_updates=counters.node_updates,
        energy_pj=energy_pj,
    )
