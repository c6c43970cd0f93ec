"""Run this network in SANA-FE, with the samples of ``run.npz`` and the windows of ``run.json``.

    python run.py
    python run.py --timing simple detailed --out result.npz

``architecture.yaml`` and ``network.yaml`` are in SANA-FE's own formats: tiles and cores; neurons, synapses
and the core of each neuron. SANA-FE has no firing windows, so this script opens and closes neurons
between timesteps: a closed neuron integrates its input current and stays at potential 0; an open one fires.
SANA-FE computes all spikes except those of the pixels.

The result holds, with ticks counted from 0: for each population NAME ``NAME/spike_ticks``, rows (tick, copy,
neuron); ``pixel_spikes`` in each tick; ``logits`` (samples, classes); ``messages``, rows (tick, source
tile, core in it, target tile, core in it, synapses, hops east-west, hops north-south); and as
``TIMING/NAME`` the counts and estimates of SANA-FE for each tick. Needs the packages sanafe 2.2.9 and numpy.
"""

import argparse
import contextlib
import io
import json
from collections import defaultdict
from operator import itemgetter
from pathlib import Path

import numpy as np
import sanafe

FOLDER = Path(__file__).resolve().parent
NEVER = 2**30  # beyond any potential of the network

CLOSED = {"threshold": NEVER, "reverse_threshold": NEVER, "reverse_reset_mode": "hard"}
"""Never fires, and falls back to potential 0 in every step, whatever the current."""

SETTLE, CLOSE, OPEN = range(3)  # in this order within a tick


def main():
    arguments = parse_arguments()
    plan = json.loads((FOLDER / "run.json").read_text())
    with np.load(FOLDER / "run.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    architecture = sanafe.load_arch(FOLDER / "architecture.yaml")
    network = sanafe.load_net(FOLDER / "network.yaml", architecture)
    result = {}
    for timing in arguments.timing:
        chip = sanafe.SpikingChip(architecture)
        chip.load(network)
        result |= run(chip, plan, arrays, timing)
    report(plan, arguments.timing, result)
    if arguments.out is not None:
        np.savez(arguments.out, **result)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--timing",
        nargs="+",
        choices=("simple", "detailed"),
        default=["detailed"],
        help="timing models of SANA-FE, with one run for each (default: detailed)",
    )
    parser.add_argument("--out", type=Path, help="result to write, .npz")
    return parser.parse_args()


def run(chip, plan, arrays, timing):
    """All samples through the chip under one timing model; returns the arrays of the result."""
    control = tick_control(plan, arrays)
    spikes, potentials, messages = [], [], []
    performance = defaultdict(list)
    for tick in range(plan["num_ticks"]):
        for _, group, neurons, attributes in sorted(control[tick], key=itemgetter(0)):
            mapped = chip.mapped_neuron_groups[group]
            for neuron, values in zip(neurons, attributes, strict=True):
                mapped[neuron].set_attributes(model_attributes=values)
        with contextlib.redirect_stdout(io.StringIO()):  # SANA-FE reports each call
            traces = chip.sim(
                1,
                timing_model=timing,
                processing_threads=1,
                spike_trace=True,
                potential_trace=True,
                perf_trace=True,
                message_trace=True,
            )
        spikes += [(tick, n.group_name, n.neuron_offset) for n in traces["spike_trace"][0]]
        potentials.append(traces["potential_trace"][0])
        messages += [message_row(tick, m) for m in traces["message_trace"][0] if m["mid"] >= 0]
        for name, values in traces["perf_trace"].items():
            performance[name].append(values[0])
    result = {f"{timing}/{name}": np.array(values) for name, values in performance.items()}
    result |= spikes_by_population(plan, spikes)
    ticks = [tick for tick, group, _ in spikes if group.startswith("pixels/")]
    result["pixel_spikes"] = np.bincount(ticks, minlength=plan["num_ticks"])
    result["logits"] = logits(plan, potentials)
    result["messages"] = np.array(messages, np.int64).reshape(-1, 8)
    return result


def tick_control(plan, arrays):
    """Changes before each tick: (phase, group, neurons, attributes of each neuron)."""
    control = defaultdict(list)
    for population in plan["populations"]:
        name, steps = population["name"], population["timesteps"]
        opened = [
            {
                "potential": potential + 0.5,  # SANA-FE fires above the threshold, this at equality
                "threshold": threshold,
                "bias": bias,
                "reverse_reset_mode": "none",
            }
            for potential, threshold, bias in zip(
                *(arrays[f"{name}/{field}"].tolist() for field in ("initial", "threshold", "bias")),
                strict=True,
            )
        ]
        everyone = range(len(opened))
        closed = [{**CLOSED, "potential": 0, "bias": 0, "input_decay": 0}] * len(opened)
        integrating = [{"input_decay": 1}] * len(opened)
        for sample, first in enumerate(population["first_ticks"]):
            group = population["groups"][sample % plan["copies"]]
            control[first].append((OPEN, group, everyone, opened))
            control[first + steps].append((CLOSE, group, everyone, closed))
            control[first + steps + 1].append((SETTLE, group, everyone, integrating))
    for sample, tick in enumerate(plan["input"]["ticks"]):
        pixels = arrays["pixels"][sample].reshape(-1)
        for group in plan["input"]["groups"][sample % plan["copies"]]:
            set_bits = (pixels[arrays[f"{group}/pixel"]] >> arrays[f"{group}/bit"]) & 1
            neurons = np.flatnonzero(set_bits).tolist()
            control[tick].append((OPEN, group, neurons, [{"bias": 1}] * len(neurons)))
            control[tick + 1].append((CLOSE, group, neurons, [{"bias": 0}] * len(neurons)))
    return control


def message_row(tick, message):
    return (
        tick,
        message["src_tile_id"],
        message["src_core_offset"],
        message["dest_tile_id"],
        message["dest_core_offset"],
        message["spikes"],
        abs(message["src_x"] - message["dest_x"]),
        abs(message["src_y"] - message["dest_y"]),
    )


def spikes_by_population(plan, spikes):
    """Rows (tick, copy, neuron) of each population's spikes, as named arrays."""
    rows = {f"{p['name']}/spike_ticks": [] for p in plan["populations"]}
    where = {
        group: (rows[f"{p['name']}/spike_ticks"], copy)
        for p in plan["populations"]
        for copy, group in enumerate(p["groups"])
    }
    for tick, group, neuron in spikes:
        if group in where:
            found, copy = where[group]
            found.append((tick, copy, neuron))
    return {name: np.array(found, np.int64).reshape(-1, 3) for name, found in rows.items()}


def logits(plan, potentials):
    """Potentials of the readout after its last step of each sample; without the 1/2 it started with."""
    readout = next(p for p in plan["populations"] if p["readout"])
    in_trace = sorted(readout["groups"])  # the only groups whose potentials are logged
    found = []
    for sample, first in enumerate(readout["first_ticks"]):
        group = in_trace.index(readout["groups"][sample % plan["copies"]])
        trace = np.array(potentials[first + readout["timesteps"] - 1]).reshape(len(in_trace), -1)
        found.append(np.floor(trace[group]))
    return np.array(found, np.int64)


def report(plan, timings, result):
    samples = len(result["logits"])
    print(
        f"{samples} samples in {plan['num_ticks']} ticks; classes {result['logits'].argmax(axis=1)}"
    )
    for timing in timings:
        seconds, joules = (result[f"{timing}/{n}"].sum() for n in ("sim_time", "total_energy"))
        print(f"{timing}: {seconds * 1e6:.1f} us, {joules / samples * 1e9:.1f} nJ per sample")


if __name__ == "__main__":
    main()
