"""A model of nine neurons and what commands make of it, small enough to be read thousands of times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

COMMAND = Path(sys.executable).with_name("qac-deploy")


def write_small_files(folder: Path) -> None:
    """Write model.pt, its data own.npz, its build, network.onnx, and a target chip.yaml."""
    from builders import float_connect, float_dense, float_network_of, float_spiking

    import hw_models
    from toolchain.files.checkpoint import Checkpoint, save_checkpoint

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 1, 8, 8), np.uint8)
    labels = np.arange(40) % 3
    np.savez(
        folder / "own.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    network = float_network_of(
        float_spiking("hidden", (9, 1, 1), timesteps=4, threshold=2.0, bias=0.25),
        float_connect("input", "hidden", float_dense(random.normal(size=(9, 64)))),
        float_connect("hidden", "readout", float_dense(random.normal(size=(3, 9)))),
        image=(1, 8, 8), max_value=255, unit=1 / 255, readout="readout", classes=3, bias=np.zeros(3),
    )  # fmt: skip
    save_checkpoint(folder / "model.pt", Checkpoint(network, {"data": "own.npz"}))
    targets = Path(hw_models.__file__).parent / "targets"
    (folder / "chip.yaml").write_bytes((targets / "loihi-sim.yaml").read_bytes())
    for arguments in (
        ("compile", "model.pt", "--samples", "2"),
        ("export", "build", "--format", "onnx", "--out", "network.onnx"),
    ):
        subprocess.run(
            [COMMAND, *arguments], cwd=folder, check=True, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
