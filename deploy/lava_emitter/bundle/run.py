"""Run this network in Lava on the CPU.

    python -I run.py --samples samples.npz --ticks 200 --out result.npz

``samples.npz`` holds ``pixels``: integers of shape (samples, channels, height, width). The result holds
``logits`` (samples, classes), and for each population NAME its ``step_ticks/NAME`` (samples, T) and
``stalls/NAME`` (ticks busy, starved, blocked, drained); for spiking ones also ``counts/NAME``
(samples, channels, height, width) and ``trains/NAME`` (samples, T, channels, height, width).
Needs Python 3.10 with lava-nc 0.10.0.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
if __name__ == "__main__":  # Lava imports every file of this folder again when it looks for models
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(BUNDLE))  # python -I leaves it out
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a population is parallel enough

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi1SimCfg
from lava.magma.runtime.message_infrastructure.multiprocessing import SystemProcess
from network import build_network, load_bundle
from processes import unpack_spikes

NUM_PROGRESS_LINES = 20
LAVA_CONFIG = {
    "pypy_channel_size": 16
}  # messages a channel has memory for; more only speeds up get()


class RunError(Exception):
    """The run cannot start or did not finish; the message says why."""


def main():
    arguments = parse_arguments()
    try:
        document, arrays = load_bundle(BUNDLE)
        pixels = load_pixels(arguments.samples, document)
        result = run(document, arrays, pixels, arguments.ticks)
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
    arguments = parser.parse_args()
    if arguments.ticks < 1:
        parser.error(f"--ticks must be at least 1, not {arguments.ticks}")
    return arguments


def load_pixels(path, document):
    """Pixels of the samples, checked against the input population."""
    source = next(p for p in document["populations"] if p["kind"] == "input")
    try:
        with np.load(path, allow_pickle=False) as archive:
            pixels = archive["pixels"]
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: must be an .npz file with an array 'pixels' ({error})") from error
    if pixels.ndim != 4 or pixels.shape[1:] != tuple(source["shape"]) or not len(pixels):
        shape = ", ".join(str(size) for size in source["shape"])
        raise RunError(f"{path}: pixels must have shape (samples, {shape}), not {pixels.shape}")
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > source["max_value"]:
        raise RunError(f"{path}: pixels must be integers 0..{source['max_value']}")
    return pixels.astype(np.int32)


def run(document, arrays, pixels, num_ticks):
    """Run all samples through the network for a number of ticks; returns the arrays of the result."""
    populations, synapses = build_network(document, arrays, pixels)
    process = next(iter(populations.values()))  # Lava finds the others through their connections
    finished = threading.Event()
    end_on_signals(process)
    try:
        process.create_runtime(run_cfg=Loihi1SimCfg(), compile_config=LAVA_CONFIG)
        threading.Thread(target=watch, args=(lava_children(), finished), daemon=True).start()
        chunk = -(-num_ticks // NUM_PROGRESS_LINES)
        for tick in range(0, num_ticks, chunk):
            process.run(RunSteps(num_steps=min(chunk, num_ticks - tick)))
            print(f"tick {min(tick + chunk, num_ticks)} of {num_ticks}", flush=True)
        check_finished(populations, synapses, num_ticks)
        result = collect(document, populations)
        finished.set()
        process.stop()
        return result
    except BaseException as error:
        finished.set()
        exit_now(error, process.runtime)


def end_on_signals(process):
    """End the run at Ctrl-C and SIGTERM; Lava's processes inherit this and end without a word."""
    main_pid = os.getpid()

    def end(number, frame):
        if os.getpid() != main_pid:
            os._exit(1)
        name = signal.Signals(number).name
        exit_now(RunError(f"the run was ended by {name}"), process.runtime)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def lava_children():
    return [c for c in multiprocessing.active_children() if isinstance(c, SystemProcess)]


def watch(children, finished):
    """End the run when one of Lava's processes ends before it: Lava itself would wait for ever."""
    connection.wait([child.sentinel for child in children])
    if not finished.is_set():
        print("error: a Lava process ended early", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)


def exit_now(error, runtime):
    """Exit in any state of the run, leaving no process and no shared memory behind.

    Lava's own stop(), which also runs when its objects are deleted, waits for processes that may no
    longer answer.
    """
    if isinstance(error, RunError):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    with suppress(Exception):
        for child in lava_children():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
    with suppress(Exception):
        runtime._messaging_infrastructure.smm.shutdown()
    os._exit(1)


def check_finished(populations, synapses, num_ticks):
    """Refuse a run in which a sample was left over, with the state of every buffer."""
    unfinished = {}
    for name, population in populations.items():
        ticks = population.step_ticks.get()
        if (ticks < 0).any():
            unfinished[name] = f"{(ticks[:, -1] >= 0).sum()} of {len(ticks)} samples"
    if unfinished:
        buffers = (
            f"{source} -> {target}: {int(synapse.slots_taken.get()[0])} of "
            f"{synapse.proc_params['slots']} slots taken"
            for (source, target), synapse in synapses.items()
        )
        done = ", ".join(f"{name} {state}" for name, state in unfinished.items())
        raise RunError(f"{num_ticks} ticks are not enough; finished: {done}; " + "; ".join(buffers))


def collect(document, populations):
    """Everything the populations recorded, as named arrays."""
    result = {}
    for record in document["populations"]:
        name, population = record["name"], populations[record["name"]]
        result[f"step_ticks/{name}"] = fetch(population.step_ticks)
        result[f"stalls/{name}"] = fetch(population.activity_ticks)
        if record["kind"] == "readout":
            result["logits"] = fetch(population.logits)
        elif record["kind"] == "spiking":
            trains = unpack_spikes(fetch(population.spike_words), population.num_neurons)
            trains = trains.reshape(*trains.shape[:2], *record["shape"])
            result[f"trains/{name}"] = trains
            result[f"counts/{name}"] = trains.sum(axis=1, dtype=np.int64)
    return result


def fetch(var):
    """Lava brings a Var out as float64, which is exact for the integers here."""
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
