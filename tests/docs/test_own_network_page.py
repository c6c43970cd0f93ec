"""What docs/own-network.md says of refusals and of the cost of max pooling is so."""

from __future__ import annotations

import re
from math import prod

import pytest
import torch
import torch.nn.functional as F
from markdown_pages import DOCS
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.networks.layer_graph import verify_layer_graph
from toolchain.passes.pipeline import PassOptions, chosen_graph, lowering_passes

PAGE = (DOCS / "own-network.md").read_text("utf-8")


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


def test_exact_max_pooling_under_another_alignment_is_refused_as_the_page_says():
    message = "train with --max-pool average"
    assert f"| `{message}` |" in PAGE
    network = Network(lambda n, x: n.pool(activated(n, x)), pool=nn.MaxPool2d(2))
    graph = convert(quantize_activations(network, TimestepQuantizer), (1, 8, 8), 255)
    with pytest.raises(UnsupportedNetworkError, match=message):
        chosen_graph(graph, PassOptions(alignment="truncate"))


def test_every_message_of_the_page_is_tested():
    table = PAGE.partition("## If it is refused")[2].partition("## Data sets")[0]
    tested = {
        *REFUSED, "replace it by a quantizer before training", "train with --max-pool average",
    }  # fmt: skip
    assert set(re.findall(r"^\| `(.*?)` \|", table, flags=re.M)) == tested
