"""One browser for all tests of the folder, and the pages that it opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from installed_command import run_command
from page_checks import started_browser
from small_targets import write_target

from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model


@dataclass(frozen=True)
class ReportPage:
    """A page, and the document that it shows; None for that of a network that does not fit."""

    name: str
    path: Path
    document: Any


@pytest.fixture(scope="package")
def browser():
    with started_browser() as started:
        yield started


@pytest.fixture(scope="package")
def digits_page(compiled):
    return ReportPage("digits", *_files(compiled[1]))


@pytest.fixture(scope="package")
def misfit_page(trained, tmp_path_factory):
    """The page of a network that needs more cores than its target has."""
    folder = tmp_path_factory.mktemp("misfit")
    write_target(folder / "tiny.yaml", chips={"count": 1}, mesh={"width": 1, "height": 1})
    process = run_command("compile", trained[1], "--target", "tiny.yaml", cwd=folder)
    assert process.returncode == 2, process.stderr
    return ReportPage("misfit", folder / "build-refusal.html", None)


@pytest.fixture(scope="package")
def resnet_20_page(tmp_path_factory):
    return _untrained("resnet-20", 32, 10, tmp_path_factory.mktemp("resnet-20"))


@pytest.fixture(scope="package")
def resnet_18_page(tmp_path_factory):
    return _untrained("resnet-18", 64, 1000, tmp_path_factory.mktemp("resnet-18"))


def _untrained(architecture, size, classes, folder):
    """Random weights and mixed timesteps, with thresholds and spikes measured on noise."""
    torch.manual_seed(0)
    shape = (3, size, size)
    module = quantize_activations(
        build_model(architecture, shape, classes, 1.0), TimestepQuantizer, max_pool="average"
    )
    for index, quantizer in enumerate(quantizers(module).values()):
        torch.nn.init.constant_(quantizer.t, 2 + index % 3)
    balance_thresholds(module, torch.rand(4, *shape))
    model = folder / f"{architecture}.pt"
    save_checkpoint(model, Checkpoint(convert(module, shape, max_value=255), {}))
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (2, *shape), np.uint8) for part in ("train", "test")}
    np.savez(
        folder / "noise.npz",
        num_classes=np.array(classes),
        **{f"{part}_images": pixels for part, pixels in images.items()},
        **{f"{part}_labels": np.array([0, classes - 1]) for part in images},
    )
    process = run_command(
        "compile", model.name, "--data", "noise.npz", "--out", "build", cwd=folder, timeout=900
    )
    assert process.returncode == 0, process.stderr
    return ReportPage(f"{architecture}-{size}", *_files(folder / "build"))


def _files(build):
    return build / "report.html", json.loads((build / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(
    scope="package",
    params=[
        "digits",
        "misfit",
        pytest.param("resnet_20", marks=pytest.mark.slow),
        pytest.param("resnet_18", marks=pytest.mark.slow),
    ],
)
def report_page(request):
    return request.getfixturevalue(f"{request.param}_page")
