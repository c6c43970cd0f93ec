"""VGG-16 at ImageNet size on the PE array: dataflows, and the speed of the model compared with SCALE-Sim.

    python benchmarks/pe_array_speed.py
    QAC_DEPLOY_PEERS_PYTHON=.venv-peers/bin/python python benchmarks/pe_array_speed.py

The sample is a photograph from scikit-learn. The weights are random, and the thresholds make about a third
of the neurons spike, so the times are meaningful but the sparsity is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from imagenet_vgg import imagenet_vgg16, random_weights, run_with_thresholds
from sklearn.datasets import load_sample_image

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.estimate import estimate_array
from hw_models.pe_array.kernel_timing import time_kernel
from hw_models.pe_array.loop_nest import Dataflow, Unrolling
from hw_models.pe_array.modes import ANN_MULTIPLIER, MODES, SNN_BIT_PLANES, SNN_TEMPORAL
from hw_models.pe_array.operands import Activity, kernel_values
from hw_models.pe_array.zero_skipping import SKIPPINGS, skip_zeros
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.linear_maps import Convolution, Dense

SCALESIM = Path(__file__).parent.parent / "tests" / "peers" / "run_scalesim.py"
REPEATS = 5


def main() -> None:
    array, network = load_array("pe-array"), imagenet_vgg16()
    print("VGG-16, 224x224, closed form without data, whole network:")
    for mode in MODES.values():
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            estimate = estimate_array(network, array, mode)
            seconds.append(time.perf_counter() - start)
        print(f"  {mode.name:15} {estimate.total_cycles:12,} cycles in {min(seconds):.3f} s")
    _dataflows(network)
    _skipping()
    _compare_with_scalesim()


def _dataflows(network: IntegerNetwork) -> None:
    array = load_array("pe-array")
    print("the network under each dataflow:")
    for mode in MODES.values():
        for dataflow in (Dataflow(), Dataflow(time_loop="outermost"), Dataflow(fold=True)):
            estimate = estimate_array(network, replace(array, dataflow=dataflow), mode)
            carried = sum(
                moved[operand]
                for layer in estimate.layers
                for moved in (layer.timing.loaded_bytes, layer.timing.stored_bytes)
                for operand in ("membrane", "psum")
            )
            fold = ", folded" if dataflow.fold else ""
            print(
                f"  {mode.name:15} time {dataflow.time_loop + fold:18} {estimate.total_cycles:12,} cycles, "
                f"{estimate.off_chip_bytes / 1e6:6.1f} MB off chip ({carried / 1e6:5.1f} MB of it potentials "
                f"and sums), {sum(estimate.energy_pj.values()) / 1e9:6.1f} mJ"
            )


def _skipping() -> None:
    array = load_array("pe-array")
    pixels = load_sample_image("china.jpg")[100:324, 200:424].transpose(2, 0, 1)[None]
    start = time.perf_counter()
    network, counts = run_with_thresholds(imagenet_vgg16(random_weights(0)), pixels)
    activity = Activity(pixels=pixels, counts=counts, trains={})
    print(
        f"the network with weights, run on one photograph: {time.perf_counter() - start:.1f} s to set up"
    )
    for mode in (SNN_TEMPORAL, SNN_BIT_PLANES):
        for skipping in SKIPPINGS:
            start, cycles = time.perf_counter(), 0
            for layer, values in kernel_values(network, mode, activity):
                work = skip_zeros(layer, array, values, skipping)
                cycles += time_kernel(layer, array, work.iterations).total_cycles
            seconds = time.perf_counter() - start
            print(f"  {mode.name:15} {skipping:10} {cycles:12,} cycles in {seconds:.2f} s")


def _compare_with_scalesim() -> None:
    interpreter = os.environ.get("QAC_DEPLOY_PEERS_PYTHON")
    if interpreter is None:
        print("SCALE-Sim: skipped (set QAC_DEPLOY_PEERS_PYTHON; `make peers` installs it)")
        return
    sizes = {"M": 32, "N": 28, "V": 1, "height": 56, "width": 56, "kernel": 3, "stride": 1}
    layer = sizes | {"padding": 1, "input_channels": 64, "output_channels": 64}
    process = subprocess.run(
        [interpreter, "-I", SCALESIM],
        input=json.dumps([layer]),
        capture_output=True,
        text=True,
        check=True,
    )
    (theirs,) = json.loads(process.stdout)
    ours = _one_layer()
    unrolling = Unrolling(output_channels=32, output_columns=28, timesteps=1, input_channels=1)
    array = replace(load_array("pe-array"), unrolling=unrolling)
    start = time.perf_counter()
    for _ in range(REPEATS):
        timing = time_kernel(ours, array)
    seconds = (time.perf_counter() - start) / REPEATS
    print(
        f"64 -> 64, 56x56, 3x3 on 28 x 32 elements: SCALE-Sim {theirs['cycles']:,} cycles in "
        f"{theirs['seconds']:.1f} s; this model {timing.cycles:,} iterations, with memory, in "
        f"{1000 * seconds:.2f} ms: {theirs['seconds'] / seconds:,.0f} times faster"
    )


def _one_layer() -> ArrayKernel:
    """The 3x3 convolution 64 -> 64 in mode ``ann_multiplier``."""
    ones = np.ones((64, 1, 1), np.int64)
    weight = np.broadcast_to(np.int8(1), (64, 64, 3, 3))
    head = np.broadcast_to(np.int8(1), (1, 64 * 56 * 56))
    network = IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=(64, 56, 56), max_value=255, unit=1.0),
            IntegerSpiking(
                name="layer", shape=(64, 56, 56), timesteps=1, threshold=ones,
                initial_potential=0 * ones, bias=0 * ones,
            ),
            IntegerReadout(name="logits", shape=(1, 1, 1), bias=np.zeros((1, 1, 1), np.int64), unit=1.0),
        ],
        [
            IntegerSynapse.of_maps(
                source="input", target="layer", maps=(Convolution(weight=weight, padding=(1, 1)),),
                exponent=0,
            ),
            IntegerSynapse.of_maps(source="layer", target="logits", maps=(Dense(weight=head),), exponent=0),
        ],
    )  # fmt: skip
    return array_kernels(network, ANN_MULTIPLIER)[0]


if __name__ == "__main__":
    main()
