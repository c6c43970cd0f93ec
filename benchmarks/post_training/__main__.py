"""Compare post-training conversion with SpikingJelly's converter, and write ``docs/post-training.md``.

    python benchmarks/post_training                       # everything: about an hour on 2 cores
    python benchmarks/post_training --network cnn --only ours
    python benchmarks/post_training --only page

Trains the float networks first. Each part writes a JSON file to ``docs/post-training/``, and is not measured
again while that file is there. The tables and the plot of the page are made from these files.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

if not __package__:  # run as `python benchmarks/post_training`
    sys.path[0] = str(Path(__file__).parents[2])

from benchmarks.post_training.conversions import convert_and_measure
from benchmarks.post_training.float_networks import NETWORKS, trained
from benchmarks.post_training.page import TIMESTEPS, write_page
from benchmarks.post_training.spikingjelly_converter import accuracies
from toolchain.datasets import Dataset, load_dataset
from toolchain.post_training import PostTrainingPlan
from toolchain.training.evaluate import as_input

PARTS = ("ours", "uniform", "fine-tuned", "spikingjelly", "page")
CONVERSIONS = {
    "ours": (True, 0, TIMESTEPS),
    "uniform": (False, 0, TIMESTEPS),
    "fine-tuned": (True, 1, (4,)),
}
"""Whether T is mixed, epochs of fine-tuning, and the budgets, of each part that converts."""

TEST_SAMPLES = {"cnn": 10_000, "resnet-20": 2_000}  # for our mixed T
COMPARED_SAMPLES = 2_000  # for everything: the other simulator runs step by step
DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, help="only this network")
    parser.add_argument("--only", choices=PARTS, help="only this part")
    parser.add_argument("--weights", type=Path, default=Path("post-training-weights"),
                        help="folder for the trained float networks")  # fmt: skip
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    dataset = load_dataset("fashion-mnist")
    parts = PARTS if arguments.only is None else (arguments.only,)
    keys = tuple(NETWORKS) if arguments.network is None else (arguments.network,)
    if parts != ("page",):
        for key in keys:
            _measure(key, parts, dataset, arguments.weights, arguments.docs / "post-training")
    if "page" in parts:
        write_page(arguments.docs)


def _measure(
    key: str, parts: tuple[str, ...], dataset: Dataset, weights: Path, results: Path
) -> None:
    """All parts of one network."""
    module = trained(key, dataset, weights, _say)
    for part, (mixed, epochs, budgets) in CONVERSIONS.items():
        for steps in budgets if part in parts else ():
            convert = partial(
                convert_and_measure, module, dataset, steps, mixed=mixed,
                samples=TEST_SAMPLES[key] if part == "ours" else COMPARED_SAMPLES,
                compared_samples=COMPARED_SAMPLES, finetune_epochs=epochs, say=_say,
            )  # fmt: skip
            _once(results / f"{key}-{part}-{steps}.json", convert)
    if "spikingjelly" in parts:
        num_images = PostTrainingPlan(mean_timesteps=1).samples
        chosen = np.random.default_rng(0).permutation(len(dataset.train_labels))[:num_images]
        calibration = as_input(np.asarray(dataset.train_pixels[chosen]), dataset.max_value)
        images = as_input(np.asarray(dataset.test_pixels[:COMPARED_SAMPLES]), dataset.max_value)
        labels = dataset.test_labels[:COMPARED_SAMPLES]

        def simulate() -> dict[str, Any]:
            found = accuracies(module, calibration, images, labels, TIMESTEPS, _say)
            return {"samples": COMPARED_SAMPLES, "accuracy": found}

        _once(results / f"{key}-spikingjelly.json", simulate)


def _once(file: Path, measure: Callable[[], Any]) -> None:
    """Write a measurement, unless it is there."""
    if file.exists():
        return
    found = measure()
    versions = {"qac-deploy": version("qac-deploy"), "torch": torch.__version__}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**versions, **found}, indent=1) + "\n", "utf-8")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
