"""What docs/own-network.md shows works: its U-Net from module to chip, its commands, figures and messages."""

from __future__ import annotations

import io
import json
import re
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from installed_command import run_command
from rich.console import Console
from torch import nn

from deploy.compile.compile_model import compile_model
from deploy.design.compilation import CompileOptions
from deploy.report.terminal import print_summary
from toolchain.errors import UnsupportedNetworkError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.networks.layer_graph import verify_layer_graph
from toolchain.passes.pipeline import lowering_passes

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "own-network.md").read_text("utf-8")
DATA, TRAINING, METRICS, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
(COMMANDS,) = re.findall(r"```\n(qac-deploy .*?)```", PAGE, flags=re.S)
COMPILE, SIMULATE, LAVA, VERIFY = (line.split()[1:] for line in COMMANDS.splitlines())


def run(arguments, folder):
    process = run_command(*arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """(folder with the trained U-Net and its build, names that the examples define)."""
    folder = tmp_path_factory.mktemp("segmented")
    (folder / "metrics.py").write_text(METRICS)
    names = {"__name__": "example"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(DATA, names)
        exec(TRAINING, names)
    run([*COMPILE, "--samples", "2"], folder)
    return folder, names


def test_the_unet_comes_in_from_its_module_and_finds_the_discs(segmented):
    folder, _ = segmented
    report = json.loads((folder / "build" / "report.json").read_text())
    fidelity = report["fidelity"]
    assert fidelity["float_accuracy"] > 0.98
    assert fidelity["integer_accuracy"] == pytest.approx(fidelity["float_accuracy"], abs=0.002)
    graph = load_checkpoint(folder / "model.pt").graph
    assert graph.readout.shape == (2, 16, 16)


def test_the_report_says_what_exact_max_pooling_costs(segmented):
    """24 ticks without its four populations: each adds its T and a link, and they follow each other."""
    folder, _ = segmented
    report = json.loads((folder / "build" / "report.json").read_text())
    names = ["pool.columns2", "pool.rows2", "pool.columns2_1", "pool.rows2_1"]
    cost = report["max_pooling"]
    assert cost["populations"] == names
    own = [p for p in report["populations"] if p["name"] in names]
    assert cost["neurons"] == 4 * 3 * 64 + 8 * 3 * 16
    assert cost["cores"] == sum(p["cores"] for p in own)
    ticks = sum(p["timesteps"] + report["pipeline"]["link_ticks"] for p in own)
    latency = report["pipeline"]["first_latency_ticks"]
    assert cost["first_latency_ticks_without"] == latency - ticks
    assert cost["interval_ticks_without"] < report["pipeline"]["interval_ticks"]
    interval = report["pipeline"]["interval_ticks"]
    sentence = (
        f"exact max pooling: 4 populations, 1,152 neurons on {cost['cores']} of "
        f"{report['mapping']['num_cores']} cores, the first result after {latency} ticks instead of "
        f"{latency - ticks}, then one every {interval:g} instead of {cost['interval_ticks_without']:g} "
        f"(--optimize stalls adds slots); train --max-pool average does without, but is another network"
    )
    terminal = Console(file=io.StringIO(), width=300)
    print_summary(report, terminal)
    assert sentence in terminal.file.getvalue()
    page = (folder / "build" / "report.html").read_text()
    assert f"<p>E{sentence[1:]}" in page
    assert [row["method"] for row in report["alignment_trade"]] == ["average"]
    assert "Left out: replicate and truncate, since exact max pooling compares counts" in page
    shorter = [c["description"] for c in report["pipeline"]["changes"]]
    assert not any(
        "less in pool." in change for change in shorter
    )  # they have the T of their source


@pytest.mark.slow
@pytest.mark.lava
def test_the_unet_is_equal_in_lava_and_on_every_rung(segmented):
    folder, _ = segmented
    report = json.loads((folder / "build" / "report.json").read_text())
    simulated = json.loads(run([*SIMULATE, "--json"], folder))
    assert simulated["accuracy"] == report["fidelity"]["integer_accuracy"]
    assert run(LAVA, folder).count("  equal  ") == 3
    rungs = json.loads(run([*VERIFY, "--json"], folder))["rungs"]
    assert {rung["status"] for rung in rungs} == {"equal"}


def test_an_exported_program_is_the_same_network(segmented, monkeypatch):
    folder, names = segmented
    monkeypatch.chdir(folder)
    before = names["graph"]
    exec(PROGRAM, names)
    for one, two in zip(before.populations, names["graph"].populations, strict=True):
        assert one.shape == two.shape
    for one, two in zip(before.synapses, names["graph"].synapses, strict=True):
        for first, second in zip(one.maps, two.maps, strict=True):
            if hasattr(first, "weight"):
                np.testing.assert_allclose(first.weight, second.weight, rtol=1e-12)


@pytest.mark.parametrize(
    ("window", "stride", "num_populations", "neurons"),
    [
        tuple(map(int, row))
        for row in re.findall(r"\| (\d)x\1, stride (\d) \| (\d+) \| (\d+) \|", PAGE)
    ],
)
def test_the_cost_of_a_window_is_that_of_the_page(window, stride, num_populations, neurons):
    size, padding = 60, window // 2 if stride == 1 else 0
    network = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(window, stride, padding), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(1, 2),
    )  # fmt: skip
    graph = convert(quantize_activations(network, TimestepQuantizer), (1, size, size), 255)
    maxima = [p for p in graph.spiking if p.role == "maximum"]
    assert len(maxima) == num_populations
    windows = ((size + 2 * padding - window) // stride + 1) ** 2
    assert sum(prod(p.shape) for p in maxima) / windows == pytest.approx(neurons, rel=0.06)


class Network(nn.Module):
    """A convolution, a ReLU and a dense layer, in an order that ``compute`` gives."""

    def __init__(self, compute, **parts):
        super().__init__()
        self.conv, self.relu, self.dense = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.LazyLinear(2),
        )
        for name, part in parts.items():
            setattr(self, name, part)
        self.compute = compute
        self.eval()(torch.zeros(1, 1, 8, 8))

    def forward(self, x):
        return self.dense(self.compute(self, x).flatten(1))


def again():
    return nn.Conv2d(4, 4, 3, padding=1)


def negative_batch_norm():
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, -1)
    return norm


def activated(network, x):
    return network.relu(network.conv(x))


def bring(network):
    """All steps up to the network's integers."""
    graph = convert(quantize_activations(network, TimestepQuantizer), (1, 8, 8), 255)
    for lower in lowering_passes():
        graph = verify_layer_graph(lower(graph))


REFUSED = {
    "has no integrate-and-fire form; replace it by ReLU": lambda: Network(
        lambda n, x: F.silu(n.conv(x))
    ),
    "a product of two values of the network is not linear": lambda: Network(
        lambda n, x: activated(n, x) * activated(n, x).mean((2, 3), keepdim=True)
    ),
    "LayerNorm has no spiking form": lambda: Network(
        lambda n, x: n.norm(activated(n, x)), norm=nn.LayerNorm((4, 8, 8))
    ),
    "have no place in one map; put a quantizer between them": lambda: Network(
        lambda n, x: n.relu(n.second(n.first(activated(n, x)))), first=again(), second=again()
    ),
    "put the quantizer before the pool": lambda: Network(
        lambda n, x: n.relu(n.first(F.max_pool2d(n.conv(x), 2))), first=again()
    ),
    "a max pool in front of a batch norm with negative weights is a min pool": lambda: Network(
        lambda n, x: n.relu(F.pad(n.norm(F.max_pool2d(n.conv(x), 2)), (1, 1))),
        norm=negative_batch_norm(),
    ),
    "cannot be traced": lambda: Network(lambda n, x: activated(n, x) if x.sum() > 0 else n.conv(x)),
    "computes something else in training than in evaluation": lambda: Network(
        lambda n, x: activated(n, x) * (2 if n.training else 1)
    ),
    "compute everything with modules and functions that return new tensors": lambda: Network(
        lambda n, x: activated(n, x) + torch.rand(1)
    ),
    "the network is wrapped in DataParallel": lambda: nn.DataParallel(Network(activated)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_network_is_refused_with_the_message_of_the_page(message):
    assert f"| `{message}` |" in PAGE
    network = REFUSED[message]()
    with pytest.raises(UnsupportedNetworkError, match=re.escape(message)):
        bring(network)


def test_a_network_without_quantizers_is_refused_with_the_message_of_the_page():
    message = "replace it by a quantizer before training"
    assert f"| `{message}` |" in PAGE
    with pytest.raises(UnsupportedNetworkError, match=message):
        convert(Network(activated), (1, 8, 8), 255)


def test_exact_max_pooling_under_another_alignment_is_refused_as_the_page_says(segmented):
    folder, _ = segmented
    message = "train with --max-pool average"
    assert f"| `{message}` |" in PAGE
    with pytest.raises(UnsupportedNetworkError, match=message):
        compile_model(folder / "model.pt", folder / "other", CompileOptions(alignment="truncate"))


def test_every_message_of_the_page_is_tested():
    table = PAGE.partition("## If it is refused")[2].partition("## Data sets")[0]
    tested = {
        *REFUSED, "replace it by a quantizer before training", "train with --max-pool average",
    }  # fmt: skip
    assert set(re.findall(r"^\| `(.*?)` \|", table, flags=re.M)) == tested
