"""torchvision's networks: the page of the benchmark, and the engines on small copies of the networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torchvision_networks import EXAMPLES, compare_engines, write_page

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "torchvision_networks.py"
CONVERTED = [name for name, example in EXAMPLES.items() if example.refused_for is None]


def test_the_page_says_what_was_measured_refused_failed_and_not_run(tmp_path):
    folder = tmp_path / "torchvision"
    folder.mkdir()
    measured = {
        "parameters": 11_689_512, "convert_s": 4.2, "convert_peak_mb": 1866, "lower_s": 0.8, "map_s": 2.0,
        "map_peak_mb": 1901, "populations": 21, "maximum_populations": 4, "cores": 21_407, "chips": 168,
        "same_counts": 71_680, "versions": "torch 2",
    }  # fmt: skip
    records = {
        "resnet18": measured,
        "vgg16": {"failed": "did not end within 5 s"},
        "efficientnet_b0": {"refused": "features.0.2: SiLU has no integrate-and-fire form"},
    }
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    page = write_page(tmp_path).read_text().splitlines()
    assert (
        "| ResNet-18 | 224x224 | 11.7 | 4.2 | 0.8 | 2.0 | 1.9 / 1.9 | 21 | 4 | 21,407 | 168 | 71,680 |"
        in page
    )
    assert any(line.startswith("| VGG-16 |") and "did not end within 5 s" in line for line in page)
    assert "| EfficientNet-B0 | features.0.2: SiLU has no integrate-and-fire form |" in page
    assert any(line.startswith("Not run: ") and "DenseNet-121" in line for line in page)
    assert not any(line.startswith("Not run: ") and "ResNet-18" in line for line in page)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERTED)
def test_the_exact_engine_equals_the_stepped_simulator(name):
    pytest.importorskip("torchvision")
    assert compare_engines(name) > 10_000


@pytest.mark.slow
def test_a_network_that_takes_too_long_is_said_to(tmp_path):
    pytest.importorskip("torchvision")
    command = [sys.executable, SCRIPT, "--only", "vgg16", "--timeout", "1", "--docs", tmp_path]
    subprocess.run(command, check=True)
    record = json.loads((tmp_path / "torchvision" / "vgg16.json").read_text())
    assert record == {"failed": "did not end within 1 s"}
