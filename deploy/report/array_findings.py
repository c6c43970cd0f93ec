"""Sentences on the PE array, for terminal and page alike."""

from __future__ import annotations

from deploy.report.array_records import ArrayRecord
from deploy.report.markup import number
from hw_models.pe_array.modes import MODES


def refusal_line(on_array: ArrayRecord) -> str | None:
    """One line if the array cannot run the network, else None."""
    if on_array["refusal"] is None:
        return None
    return f"{on_array['array']} cannot run this network: {on_array['refusal']}"


def headline(on_array: ArrayRecord) -> str:
    """The array in a line."""
    sizes = " x ".join(
        f"{symbol} {on_array['unrolling'][name]}"
        for symbol, name in (
            ("M", "output_channels"),
            ("N", "output_columns"),
            ("S", "timesteps"),
            ("V", "input_channels"),
        )
    )
    fold = ", lanes folded" if on_array["dataflow"]["fold"] else ""
    return (
        f"{on_array['array']}: {sizes} = {on_array['elements']:,} elements at "
        f"{on_array['clock_mhz']:g} MHz, time {on_array['dataflow']['time_loop']}{fold}, "
        f"{on_array['off_chip_bytes_per_cycle']} bytes per cycle from off chip"
    )


def findings(on_array: ArrayRecord) -> list[str]:
    """Compare the modes in cycles and energy."""
    modes = {mode["mode"]: mode for mode in on_array["estimates"]}
    if "snn_bit_planes" not in modes:
        return [
            "With replicate or truncate every timestep is computed: neither bit planes nor an ANN give these "
            "integers."
        ]
    cycles = {name: mode["total_cycles"] for name, mode in modes.items()}
    energy = {name: sum(mode["energy_pj"].values()) for name, mode in modes.items()}
    fastest = min(cycles, key=cycles.__getitem__)
    leanest = min(energy, key=energy.__getitem__)
    planes = cycles["snn_bit_planes"]
    return [
        f"With averaging, a layer's partial sums are the same in every timestep: one pass over the bit "
        f"planes of the counts takes {_times(planes, cycles['snn_temporal'])} the cycles of T passes.",
        f"The quantized ANN computes the same counts. The bit-serial ANN loops as often as the bit planes "
        f"({_times(cycles['ann_bit_serial'], planes)} their cycles); with multipliers the ANN takes "
        f"{_times(cycles['ann_multiplier'], planes)} their cycles. All modes have the same number of "
        f"elements, but not the same area: a multiplier is larger than an AND gate.",
        f"Fewest cycles: {fastest}. Least estimated energy: {leanest}, "
        f"{_times(energy[leanest], energy['snn_bit_planes'])} that of snn_bit_planes.",
    ]


def silicon(on_array: ArrayRecord) -> str:
    """Energy per accumulation, and the reported energy per synaptic operation of spiking chips."""
    ours = ", ".join(
        f"{mode['mode']} {number(sum(mode['energy_pj'].values()) / mode['accumulations'])}"
        for mode in on_array["estimates"]
        if MODES[mode["mode"]].is_spiking
    )
    chips = ", ".join(
        f"{chip} {number(pj)}" for chip, pj in on_array["published_silicon_pj"].items()
    )
    text = f"pJ per accumulation, zeros and memory included: {ours}."
    return (
        f"{text} Reported for spiking chips, pJ per synaptic operation: {chips}." if chips else text
    )


def _times(part: float, whole: float) -> str:
    return f"{part / whole:.2f} times"
