"""Measure the speed of the exact engine and its peers, and write ``docs/performance.md``.

    python benchmarks/performance --model rn20.pt        # everything, a quarter of an hour on 2 cores
    python benchmarks/performance --only engines --device cuda

Each part writes a JSON file to ``docs/performance/``; the page and its plots are made from these files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if not __package__:  # run as `python benchmarks/performance`
    sys.path[0] = str(Path(__file__).parents[2])

from benchmarks.performance.dataset import time_dataset
from benchmarks.performance.engines import time_engines
from benchmarks.performance.machine import PACKAGES
from benchmarks.performance.page import write_page
from benchmarks.performance.start_up import time_start_up

PARTS = ("engines", "dataset", "start-up", "page")
DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="run only this part")
    parser.add_argument("--model", type=Path, help="a trained model, for the part 'dataset'")
    parser.add_argument("--device", default="cpu", help="device of torch, such as cuda")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    arguments = parser.parse_args()
    parts = PARTS if arguments.only is None else (arguments.only,)
    if "dataset" in parts and arguments.model is None:
        parser.error("--model is missing: the part 'dataset' runs a trained network")
    if "dataset" in parts and not arguments.model.is_file():
        parser.error(f"--model {arguments.model}: no such file; `make resnet-20.pt` trains one")
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing and parts != ("page",):
        parser.error(f"{', '.join(missing)} missing: pip install -e '.[benchmark]'")
    measure: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
        "engines": (f"engines-{arguments.device}", partial(time_engines, arguments.device)),
        "dataset": ("dataset", partial(time_dataset, arguments.model)),
        "start-up": ("start-up", time_start_up),
    }
    folder = arguments.docs / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if part in measure:
            name, run = measure[part]
            document = run(on_progress=lambda said: print(said, flush=True))
            (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(write_page(folder))


if __name__ == "__main__":
    main()
