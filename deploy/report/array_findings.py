"""What the numbers of the PE array say, in sentences: for terminal and page alike."""

from __future__ import annotations

from deploy.report.markup import number, per_cent
from deploy.report.records import ArrayRecord, LayerRecord
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
        f"{on_array['off_chip_bytes_per_cycle']} bytes a cycle from off chip"
    )


def findings(on_array: ArrayRecord) -> list[str]:
    """When the SNN pays on this array and when it does not."""
    modes = {mode["mode"]: mode for mode in on_array["estimates"]}
    if "snn_bit_planes" not in modes:
        return [
            "Replicate and truncate need the timesteps one by one: neither bit planes nor an ANN compute "
            "these integers."
        ]
    cycles = {name: mode["total_cycles"] for name, mode in modes.items()}
    energy = {name: sum(mode["energy_pj"].values()) for name, mode in modes.items()}
    fastest = min(cycles, key=cycles.__getitem__)
    leanest = min(energy, key=energy.__getitem__)
    planes = cycles["snn_bit_planes"]
    return [
        f"Averaging makes a layer's partial sums the same in every timestep: one pass over the bit planes of "
        f"the counts takes {_times(planes, cycles['snn_temporal'])} the cycles of T passes.",
        f"The quantized ANN computes the same counts. Bit-serial it makes the same iterations of the loop as "
        f"the bit planes ({_times(cycles['ann_bit_serial'], planes)} their cycles); with multipliers it "
        f"takes {_times(cycles['ann_multiplier'], planes)} their cycles. The modes have as many elements, "
        f"not the same area: a multiplier is larger than an AND gate.",
        f"Fewest cycles: {fastest}. Least energy, by these figures: {leanest}, "
        f"{_times(energy[leanest], energy['snn_bit_planes'])} that of snn_bit_planes.",
    ]


def silicon(on_array: ArrayRecord) -> str:
    """Energy of an accumulation beside what published spiking chips are reported to need."""
    ours = ", ".join(
        f"{mode['mode']} {number(sum(mode['energy_pj'].values()) / mode['accumulations'])}"
        for mode in on_array["estimates"]
        if MODES[mode["mode"]].is_spiking
    )
    chips = ", ".join(
        f"{chip} {number(pj)}" for chip, pj in on_array["published_silicon_pj"].items()
    )
    text = f"pJ an accumulation, zeros and memory included: {ours}."
    return f"{text} Reported of spiking chips, per synaptic operation: {chips}." if chips else text


def skipping_rows(on_array: ArrayRecord) -> list[list[str]]:
    """Each mode with no zero skipped and under each kind of skipping: cycles, share of cycles, of energy."""
    rows = []
    for mode in on_array["estimates"]:
        energy_pj = sum(mode["energy_pj"].values())
        cells = [
            f"{left['total_cycles']:,.0f} ({per_cent(left['total_cycles'] / mode['total_cycles'])}, "
            f"{per_cent(left['energy_pj'] / energy_pj)})"
            for left in mode["skipping"].values()
        ]
        rows.append([mode["mode"], f"{mode['total_cycles']:,}", *cells])
    return rows


def _times(part: float, whole: float) -> str:
    return f"{part / whole:.2f} times"


def port_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer reads and writes at the ports of its buffers."""
    return sum(layer["port_bytes_read"].values()) + sum(layer["port_bytes_written"].values())


def off_chip_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer loads from and stores to memory outside the chip."""
    loaded, stored = layer["off_chip_bytes_loaded"], layer["off_chip_bytes_stored"]
    return sum(loaded.values()) + sum(stored.values())
