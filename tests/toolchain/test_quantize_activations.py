"""Algorithm 1 on networks as people write them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import (
    average_pooled,
    balance_thresholds,
    quantize_activations,
)
from toolchain.method.quantizers import TimestepQuantizer, quantizers


class AsPeopleWriteIt(nn.Module):
    """A shared ReLU, functional activations and pools, ``view`` with the batch size, dropout."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(4 * 2 * 2, 6)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.relu(self.first(x))
        y = self.relu(self.second(x)) + x
        y = F.relu(y)
        y = F.max_pool2d(self.pool(y), kernel_size=2, stride=2)
        y = torch.relu(self.hidden(y.view(y.size(0), -1)))
        return self.head(self.dropout(y))


def test_every_use_of_an_activation_becomes_a_population():
    torch.manual_seed(0)
    module = quantize_activations(AsPeopleWriteIt(), TimestepQuantizer, max_pool="average")
    assert list(quantizers(module)) == ["relu", "relu_1", "relu_2", "relu_3"]
    assert not any(isinstance(m, nn.MaxPool2d | nn.ReLU) for m in module.modules())
    graph = convert(module, (1, 8, 8), max_value=16)
    assert [str(s) for s in graph.synapses] == [
        "input -> relu (conv 3x3, average)",
        "relu -> relu_1 (conv 3x3, average)",
        "relu_1 -> relu_2 (identity, average)",
        "relu -> relu_2 (identity, average)",
        "relu_2 -> relu_3 (pool 2x2 > pool 2x2 > dense, average)",
        "relu_3 -> readout (dense, average)",
    ]


def test_the_original_network_is_untouched_and_shares_no_weights():
    original = AsPeopleWriteIt()
    before = {n: p.clone() for n, p in original.state_dict().items()}
    module = quantize_activations(original, TimestepQuantizer)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert isinstance(original.relu, nn.ReLU)
    assert all(torch.equal(before[n], p) for n, p in original.state_dict().items())


def test_with_many_levels_quantization_is_the_averaging_ann():
    torch.manual_seed(0)
    original = AsPeopleWriteIt().eval()
    ann = average_pooled(original).eval()
    fine = quantize_activations(
        original,
        lambda: TimestepQuantizer(100_000, max_timesteps=100_000, threshold=20.0),
        max_pool="average",
    ).eval()
    x = torch.rand(5, 1, 8, 8)
    assert torch.allclose(ann(x), fine(x), atol=1e-3)
    assert not torch.allclose(ann(x), original(x), atol=1e-3)  # it had max pooling


def test_thresholds_are_balanced_on_the_unquantized_activations():
    torch.manual_seed(0)
    module = quantize_activations(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), TimestepQuantizer)
    x = torch.randn(1_000, 3)
    balance_thresholds(module, x, quantile=1.0)
    (quantizer,) = quantizers(module).values()
    assert float(quantizer.threshold.detach()) == float(module.get_submodule("0")(x).detach().max())
    balance_thresholds(module, x, quantile=0.5)
    assert (
        float(quantizer.threshold.detach()) < float(module.get_submodule("0")(x).detach().max()) / 2
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GELU(), "1: GELU has no integrate-and-fire form; replace it by ReLU and train again"),
        (
            nn.MaxPool2d(2, dilation=2),
            "1: max pooling with dilation cannot become average pooling; keep it (max_pool='exact'), or use "
            "nn.AvgPool2d",
        ),
        (
            nn.MaxPool2d(2, return_indices=True),
            "1: max pooling with indices has no spiking form; use return_indices=False",
        ),
    ],
)
def test_what_has_no_spiking_form_is_refused(layer, message):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), layer)
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(network, TimestepQuantizer, max_pool="average")
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "reshape", [lambda x: x.view(-1), lambda x: x.reshape(2, -1), lambda x: x.flatten()]
)
def test_a_reshape_that_joins_samples_is_refused(reshape):
    class Joining(nn.Module):
        def forward(self, x):
            return reshape(x)

    with pytest.raises(
        UnsupportedNetworkError, match=r"keep the batch first|results for a batch of"
    ):
        convert(Joining(), (1, 8, 8), max_value=16)
