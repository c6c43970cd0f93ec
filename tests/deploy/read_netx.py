"""Run by lava-dl's interpreter: reads NetX files with lava-dl's own ``Network`` and runs them.

    python -I read_netx.py FOLDER

For each ``NAME.net`` with ``NAME.inputs.npz`` (``pixels``, int ``(K, C, H, W)``; ``message_bits``) writes
``NAME.read.npz``: of layer i its effective ``weight_i``, ``threshold_i``, ``bias_i``, ``spikes_i`` in every
tick, and of the last one its potential ``v``. One sample enters a tick; a layer works one tick later than
the one before it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from lava.lib.dl.netx import hdf5
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc import io
from lava.proc.monitor.process import Monitor


def read(path: Path) -> None:
    given = np.load(path.with_suffix(".inputs.npz"))
    network = hdf5.Network(net_config=str(path), input_message_bits=int(given["message_bits"]))
    pixels = given["pixels"]
    samples, ticks = len(pixels), len(pixels) + len(network)
    # (columns, rows, channels), lava-dl's order, unless the first layer is dense
    frames = (
        pixels.transpose(3, 2, 1, 0)
        if len(network.inp.shape) == 3
        else pixels.reshape(samples, -1).T
    )
    quiet = np.zeros((*frames.shape[:-1], ticks - samples), int)
    source = io.source.RingBuffer(data=np.concatenate([frames, quiet], axis=-1))
    source.s_out.connect(network.inp)
    sink = io.sink.RingBuffer(shape=network.out.shape, buffer=ticks)
    network.out.connect(sink.a_in)
    found, monitors = {}, {}
    for index, layer in enumerate(network.layers):
        found[f"threshold_{index}"] = layer.neuron.vth.init
        found[f"bias_{index}"] = np.asarray(layer.neuron.bias_mant.init)
        found[f"decays_{index}"] = np.array([layer.neuron.du.init, layer.neuron.dv.init])
        if hasattr(layer.synapse, "weights"):
            exponent = layer.synapse.proc_params.get("weight_exp")
            found[f"weight_{index}"] = layer.synapse.weights.init * 2.0**exponent
        else:
            found[f"weight_{index}"] = layer.synapse.weight.init
        monitors[index] = Monitor()
        monitors[index].probe(layer.neuron.s_out, ticks)
    potential = Monitor()
    potential.probe(network.layers[-1].neuron.v, ticks)
    network.run(condition=RunSteps(ticks), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    for index, monitor in monitors.items():
        found[f"spikes_{index}"] = probed(monitor)
    found["v"] = probed(potential)
    network.stop()
    np.savez(path.with_suffix(".read.npz"), **found)


def probed(monitor: Monitor) -> np.ndarray:
    """Shape (ticks, neurons...)."""
    ((values,),) = (record.values() for record in monitor.get_data().values())
    return values


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).glob("*.net")):
        read(file)
