"""A network on the array: as an SNN, and as the multi-bit ANN it was trained as.

``snn`` runs Algorithm 2 with T_l steps a layer; its elements add a weight once for each bit of the input
count. ``ann_multiplier`` needs one step and a full multiplier in every element. ``ann_bit_serial`` takes
the bits of the input one after another in place of the timesteps, with adders only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.layer_passes import LayerPass, layer_passes
from hw_models.pe_array.loop_counters import count_loops
from toolchain.integer_network import IntegerNetwork

MODES = ("snn", "ann_multiplier", "ann_bit_serial")
WEIGHT_BYTES = 1


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One pass in one mode."""

    name: str
    timesteps: int
    operand_bits: int
    cycles: int
    utilisation: float
    accumulations: int
    weight_read_bytes: int
    input_read_bytes: float
    node_updates: int
    energy_pj: float


@dataclass(frozen=True, kw_only=True)
class ArrayEstimate:
    """A whole network in one mode; layers run one after another, so throughput is 1 / latency."""

    mode: str
    layers: tuple[LayerEstimate, ...]
    cycles: int
    utilisation: float
    latency_us: float
    throughput_per_s: float
    energy_pj: float


def estimate_array(network: IntegerNetwork, array: PeArray, mode: str) -> ArrayEstimate:
    """Cycles (exact for this array) and energy (an estimate) of one sample.

    Raises:
        UnsupportedNetworkError: a synapse does not average.
    """
    assert mode in MODES
    layers = tuple(_estimate_pass(layer, array, mode) for layer in layer_passes(network))
    cycles = sum(layer.cycles for layer in layers)
    latency_us = cycles / array.clock_mhz
    work = sum(layer.utilisation * layer.cycles for layer in layers)
    return ArrayEstimate(
        mode=mode,
        layers=layers,
        cycles=cycles,
        utilisation=work / cycles,
        latency_us=latency_us,
        throughput_per_s=1e6 / latency_us,
        energy_pj=sum(layer.energy_pj for layer in layers),
    )


def _estimate_pass(layer: LayerPass, array: PeArray, mode: str) -> LayerEstimate:
    steps = {
        "snn": layer.bounds.timesteps,
        "ann_multiplier": 1,
        "ann_bit_serial": layer.operand_bits,
    }[mode]
    bounds = replace(layer.bounds, timesteps=steps)
    counters = count_loops(bounds, array.unrolling)
    bits_a_read = 1 if mode == "ann_bit_serial" else layer.operand_bits
    input_bytes = counters.input_reads * bits_a_read / 8
    weight_bytes = 0 if layer.is_pool else counters.weight_reads * WEIGHT_BYTES
    outputs = counters.node_updates // steps
    node_updates = outputs * (layer.bounds.timesteps if mode == "snn" else 1) if layer.fires else 0
    energy_pj = (
        counters.accumulations * _accumulation_pj(layer, array, mode)
        + (weight_bytes + input_bytes) * array.buffer_read_pj_per_byte
        + node_updates * array.add_pj
    )
    return LayerEstimate(
        name=layer.name,
        timesteps=steps,
        operand_bits=layer.operand_bits,
        cycles=counters.cycles,
        utilisation=counters.accumulations / (counters.cycles * array.unrolling.num_elements),
        accumulations=counters.accumulations,
        weight_read_bytes=weight_bytes,
        input_read_bytes=input_bytes,
        node_updates=node_updates,
        energy_pj=energy_pj,
    )


def _accumulation_pj(layer: LayerPass, array: PeArray, mode: str) -> float:
    if layer.is_pool or mode == "ann_bit_serial":
        return array.add_pj
    if mode == "ann_multiplier":
        return array.multiply_pj + array.add_pj
    return layer.operand_bits * array.add_pj
