"""VGG-9/16 and ResNet-18/19/20/34 go through trace, conversion and compile, and run exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from deploy.compile.compile_model import compile_model
from deploy.design.compilation import CompileOptions
from sim.exact.engine import run_exact
from sim.results import first_divergence
from sim.stepped import run_stepped
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import ARCHITECTURES, build_model
from toolchain.networks.integer_network.serialize import load_integer_network

LARGE = sorted(set(ARCHITECTURES) - {"lenet", "resnet-8", "resnet-mini"})
SPIKING = {
    "resnet-18": 17, "resnet-19": 18, "resnet-20": 19, "resnet-34": 33, "vgg-9": 8, "vgg-16": 15,
}  # fmt: skip

CHIPS = {  # Loihi chips at 32x32 with two slots a buffer; the README quotes them
    "resnet-18": 29, "resnet-19": 78, "resnet-20": 7, "resnet-34": 56, "vgg-9": 10, "vgg-16": 20,
}  # fmt: skip


def compile_and_compare(architecture, width, folder):
    """Random weights, mixed timesteps, thresholds balanced on noise, so that neurons do spike."""
    torch.manual_seed(0)
    shape = (3, 32, 32)
    module = quantize_activations(
        build_model(architecture, shape, 10, width), TimestepQuantizer, max_pool="average"
    )
    for index, quantizer in enumerate(quantizers(module).values()):
        torch.nn.init.constant_(quantizer.t, 2 + index % 3)
    balance_thresholds(module, torch.rand(4, *shape))
    graph = convert(module, shape, max_value=255)
    assert len(graph.populations) == SPIKING[architecture] + 2
    save_checkpoint(folder / "model.pt", Checkpoint(graph, {}))
    compile_model(folder / "model.pt", folder / "build", CompileOptions(samples=4))
    network = load_integer_network(folder / "build")
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape))
    exact = run_exact(network, pixels, with_trains=True)
    assert first_divergence(run_stepped(network, pixels), exact) is None
    assert all(0 < counts.mean() < 4 for counts in exact.counts.values())
    report = json.loads((folder / "build" / "report.json").read_text())
    return report["mapping"]


@pytest.mark.parametrize("architecture", LARGE)
def test_a_quarter_as_wide(architecture, tmp_path):
    mapping = compile_and_compare(architecture, 0.25, tmp_path)
    assert 0 < mapping["num_cores"] <= mapping["available_cores"]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", LARGE)
def test_at_full_width(architecture, tmp_path):
    assert compile_and_compare(architecture, 1.0, tmp_path)["num_chips"] == CHIPS[architecture]
