"""Published simulators of the same loops count the same cycles; `make peers` sets up their interpreter."""

from __future__ import annotations

import json
import os
import random
import subprocess
from math import ceil
from pathlib import Path

import pytest

from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.loop_nest import Dataflow, Ending, LoopNest, Unrolling

INTERPRETER = os.environ.get("QAC_DEPLOY_PEERS_PYTHON")
FOLDER = Path(__file__).parent
NUM_LAYERS = 24
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(INTERPRETER is None, reason="peer not installed; `make peers` installs it"),
]


def run_peer(script: str, layers: list[dict[str, int]]) -> list[dict[str, float]]:
    process = subprocess.run(
        [INTERPRETER, "-I", FOLDER / script],
        input=json.dumps(layers),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def our_cycles(layer: dict[str, int]) -> int:
    padding, kernel, stride = layer["padding"], layer["kernel"], layer["stride"]
    rows, columns = (
        (layer[side] + 2 * padding - kernel) // stride + 1 for side in ("height", "width")
    )
    nest = LoopNest(
        groups=1, output_channels=layer["output_channels"], input_channels=layer["input_channels"],
        rows=rows, columns=columns, kernel_size=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 2,
        input_size=(layer["height"], layer["width"]), frames=1, sum_frames=False, node_steps=1,
        adds_sums=False, ending=Ending.FIRES, unit_weights=False,
    )  # fmt: skip
    array = Unrolling(
        output_channels=layer["M"],
        output_columns=layer["N"],
        timesteps=1,
        input_channels=layer["V"],
    )
    return count_loops(nest, array, Dataflow()).cycles


def random_layers(seed: int, fits) -> list[dict[str, int]]:
    """Layers of one timestep, odd sizes, strides and tails included."""
    rng, layers = random.Random(seed), []
    while len(layers) < NUM_LAYERS:
        kernel = rng.choice([1, 3, 3, 5])
        layer = {
            "M": rng.choice([2, 4, 8, 16]),
            "N": rng.choice([1, 2, 4, 7]),
            "V": rng.choice([1, 2, 4, 8]),
            "height": rng.randint(kernel, 14),
            "width": rng.randint(kernel, 14),
            "kernel": kernel,
            "stride": rng.choice([1, 1, 2]),
            "padding": rng.choice([0, kernel // 2]),
            "input_channels": rng.randint(1, 20),
            "output_channels": rng.randint(2, 40),
        }
        if fits(layer):
            layers.append(layer)
    return layers


def test_zigzag_takes_the_same_ideal_cycles():
    layers = random_layers(0, fits=lambda layer: True)
    found = [result["cycles"] for result in run_peer("run_zigzag.py", layers)]
    assert found == [our_cycles(layer) for layer in layers]


def suits_scalesim(layer: dict[str, int]) -> bool:
    """What its output-stationary array and ours have in common.

    It puts output positions of all rows one after another on its N rows: so N must divide a row. It has no
    input channels side by side, and rounds up where a stride does not divide.
    """
    steps = [layer[s] + 2 * layer["padding"] - layer["kernel"] for s in ("height", "width")]
    columns = steps[1] // layer["stride"] + 1
    return (
        columns % layer["N"] == 0
        and layer["V"] == 1
        and all(step % layer["stride"] == 0 for step in steps)
    )


def test_scalesim_takes_the_same_cycles_and_its_skew():
    """In each fold operands need N + M - 2 cycles to reach the last element; the very last one less."""
    layers = random_layers(1, fits=suits_scalesim)
    results = run_peer("run_scalesim.py", layers)
    assert all(result["stalls"] == 0 for result in results)
    for layer, result in zip(layers, results, strict=True):
        ours = our_cycles(layer)
        steps = layer["kernel"] ** 2 * layer["input_channels"]
        folds, skew = ours // steps, layer["N"] + layer["M"] - 2
        assert ours == folds * steps
        assert result["cycles"] == ours + folds * skew - 1, layer
        assert ceil(layer["output_channels"] / layer["M"]) <= folds
