"""Run this network in Lava on the CPU.

    python -I run.py --samples samples.npz --ticks 200 --out result.npz

``samples.npz`` holds ``pixels``: integers of shape (samples, channels, height, width). The result holds
``logits`` (samples, classes), or the readout's feature maps flattened, channels first. For each population
NAME it holds ``NAME/step_ticks`` (samples, T) and ``NAME/stalls`` (replicas; ticks busy, starved, blocked,
drained); for spiking ones also ``NAME/counts`` (samples, channels, height, width) and ``NAME/trains``
(samples, T, channels, height, width).

With ``--probe=POPULATION:0,2,5`` it also holds, for these neurons of a spiking population or of the readout,
numbered in the order of its feature map, ``POPULATION/currents`` (samples, T, neurons), the input of each
step with the bias, and ``POPULATION/potentials``, the membrane potential after each step.

Needs Python 3.10 to 3.13 with lava-nc 0.10.0; README.md says how to install it.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from math import prod
from multiprocessing import connection
from pathlib import Path
from zipfile import BadZipFile

BUNDLE = Path(__file__).resolve().parent
if __name__ == "__main__":  # Lava imports every file of this folder again to find models
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(BUNDLE))  # python -I leaves it out
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is one process per population already

import lava_dataclasses  # noqa: F401  before Lava
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi1SimCfg
from network import build_network, load_bundle, process_names
from placement import share_processes
from processes import unpack_spikes
from progress import Progress

NUM_PROGRESS_LINES = 20
LAVA_CONFIG = {"pypy_channel_size": 16}  # messages per channel; more than 2 help get() only


class RunError(Exception):
    """The run cannot start or did not finish; the message says why."""


def main():
    arguments = parse_arguments()
    try:
        document, arrays = load_bundle(arguments.network)
        pixels = load_pixels(arguments.samples, document)
        probes = find_probes(arguments.probe, document)
        share_processes(arguments.processes, arguments.memory_name)
        result = run(document, arrays, pixels, probes, arguments.ticks, arguments.patience)
        save_whole(arguments.out, result)
    except (OSError, RunError) as error:
        sys.exit(f"error: {error}")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, required=True, help="pixels, .npz")
    parser.add_argument("--ticks", type=int, required=True, help="length of the run")
    parser.add_argument("--out", type=Path, required=True, help="result to write, .npz")
    parser.add_argument(
        "--network",
        type=Path,
        default=BUNDLE,
        help="folder of network.json and weights.npz (default: this file's)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count(),
        help="processes of the operating system that the network shares (default: one per CPU core)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=120,
        help="seconds without any tick after which the run counts as hung (default: %(default)g)",
    )
    parser.add_argument(
        "--probe",
        action="append",
        default=[],
        metavar="POPULATION:NEURONS",
        help="record the potential of some neurons in every step, such as --probe=conv1:0,2,5",
    )
    parser.add_argument(
        "--memory-name",
        help="start of the names of shared memory, by which the program that starts this one can find and "
        "remove what is left if all processes are killed at once",
    )
    arguments = parser.parse_args()
    if arguments.processes < 1 or arguments.patience <= 0:
        parser.error("--processes and --patience must be positive")
    if arguments.ticks < 1:
        parser.error(f"--ticks must be at least 1, not {arguments.ticks}")
    return arguments


def load_pixels(path, document):
    """Pixels of the samples, checked against the input population."""
    source = next(p for p in document["populations"] if p["kind"] == "input")
    try:
        with np.load(path, allow_pickle=False) as archive:
            pixels = archive["pixels"]
    except (AttributeError, BadZipFile, KeyError, ValueError) as error:
        raise RunError(f"{path}: must be an .npz file with an array 'pixels' ({error})") from error
    if pixels.ndim != 4 or pixels.shape[1:] != tuple(source["shape"]) or not len(pixels):
        shape = ", ".join(str(size) for size in source["shape"])
        raise RunError(f"{path}: pixels must have shape (samples, {shape}), not {pixels.shape}")
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > source["max_value"]:
        raise RunError(f"{path}: pixels must be integers 0..{source['max_value']}")
    return pixels.astype(np.int32)


def find_probes(requests, document):
    """Neurons to record, by name of their population, checked against the network."""
    neurons_of = {
        p["name"]: prod(p["shape"]) for p in document["populations"] if p["kind"] != "input"
    }
    probes = {}
    for request in requests:
        name, _, text = request.rpartition(":")
        if name not in neurons_of:
            raise RunError(
                f"--probe {request}: must be POPULATION:0,2,5 with one of {', '.join(neurons_of)}"
            )
        try:
            probes[name] = [int(number) for number in text.split(",")]
        except ValueError as error:
            raise RunError(
                f"--probe {request}: the neurons must be numbers such as 0,2,5"
            ) from error
        if not all(0 <= number < neurons_of[name] for number in probes[name]):
            raise RunError(f"--probe {request}: the neurons must be 0 to {neurons_of[name] - 1}")
    return probes


def run(document, arrays, pixels, probes, num_ticks, patience_s):
    """Run all samples through the network for a number of ticks; returns the arrays of the result."""
    progress = Progress(process_names(document))
    populations, synapses = build_network(document, arrays, pixels, progress, probes)
    process = next(iter(populations.values()))  # Lava finds the others through their connections
    finished, all_ticks_done = threading.Event(), threading.Event()
    with no_survivors():
        process.create_runtime(run_cfg=Loihi1SimCfg(), compile_config=LAVA_CONFIG)
        threading.Thread(target=watch_children, args=(finished,), daemon=True).start()
        progress.watch(
            patience_s,
            finished,
            lambda state: end_at_once(f"no tick for {patience_s:g} s; {state}"),
        )
        chunk = -(-num_ticks // NUM_PROGRESS_LINES)
        for tick in range(0, num_ticks, chunk):
            process.run(RunSteps(num_steps=min(chunk, num_ticks - tick)))
            print(f"tick {min(tick + chunk, num_ticks)} of {num_ticks}", flush=True)
        all_ticks_done.set()
        shortage = find_shortage(populations, synapses)
        result = None if shortage else collect(document, populations, probes)
        finished.set()
        process.stop()
    if shortage:
        raise RunError(f"{num_ticks} ticks are not enough; {shortage}")
    return result


@contextmanager
def no_survivors():
    """At Ctrl-C, SIGTERM or an error inside Lava, end all of its processes and this one at once.

    Lava's own stop() waits for processes that may no longer answer. Python's resource tracker frees shared
    memory when the last process has ended; its warning about that is turned off.
    """
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    main_pid = os.getpid()

    def end(number, frame):
        if os.getpid() == main_pid:
            end_at_once(f"the run was ended by {signal.Signals(number).name}")
        os._exit(1)  # Lava's processes inherit this handler

    handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException:
        end_at_once(traceback.format_exc())
    for number, handler in handlers.items():
        signal.signal(number, handler)


def end_at_once(reason):
    with suppress(OSError):  # its reader may have ended
        os.write(2, f"error: {reason}\n".encode())
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    os._exit(1)


def watch_children(finished):
    """End the run when one of Lava's processes ends early; Lava itself would wait for ever."""
    connection.wait([child.sentinel for child in multiprocessing.active_children()])
    if not finished.is_set():
        end_at_once("a Lava process ended early")


def find_shortage(populations, synapses):
    """Unfinished populations and the state of every buffer, or None if all samples are finished."""
    unfinished = []
    for name, population in populations.items():
        done = fetch(population.step_ticks)[:, -1] >= 0
        if not done.all():
            unfinished.append(f"{name} {done.sum()} of {len(done)} samples")
    if not unfinished:
        return None
    taken = [
        f"{source} -> {target}: {fetch(synapse.slots_taken)[0]} of {synapse.proc_params['slots']}"
        for (source, target), synapse in synapses.items()
    ]
    return f"finished: {', '.join(unfinished)}; slots taken: {', '.join(taken)}"


def collect(document, populations, probes):
    """The records of all populations, as named arrays."""
    result = {}
    for record in document["populations"]:
        name, population = record["name"], populations[record["name"]]
        result[f"{name}/step_ticks"] = fetch(population.step_ticks)
        result[f"{name}/stalls"] = fetch(population.activity_ticks)
        if record["kind"] == "readout":
            result["logits"] = fetch(population.logits)
        elif record["kind"] == "spiking":
            trains = unpack_spikes(fetch(population.spike_words), population.num_neurons)
            trains = trains.reshape(*trains.shape[:2], *record["shape"])
            result[f"{name}/trains"] = trains
            result[f"{name}/counts"] = trains.sum(axis=1, dtype=np.int64)
        if name in probes:
            result[f"{name}/currents"] = fetch(population.probed_currents)
            result[f"{name}/potentials"] = fetch(population.probed_potentials)
    return result


def fetch(var):
    """The value of a Var. Lava returns float64, which is exact for the integers here."""
    return var.get().astype(np.int64)


def save_whole(path, arrays):
    """Write an .npz file whole or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


if __name__ == "__main__":
    main()
