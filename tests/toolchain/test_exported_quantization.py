"""Networks of PyTorch's export quantization, judged by PyTorch's own execution of them."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from pt2e_networks import SHAPE, Chain, Residual, exported, quantized
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format import import_exported, read_exported
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantizers import quantizers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None,
    reason="needs torchao: pip install 'qac-deploy[torchao]'",
)

PIXELS = np.random.default_rng(0).integers(0, 256, (1000, *SHAPE))
INPUTS = torch.from_numpy(PIXELS / 255).float()
RESIDUAL = ["relu", "block1.relu1", "block1.relu2", "block2.relu1", "block2.relu2"]


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return exported(quantized(Residual(), "x86"))


@pytest.fixture(scope="module")
def read(residual):
    return read_exported(residual)


@pytest.fixture(scope="module")
def chain():
    torch.manual_seed(0)
    return quantized(Chain(), "xnnpack", size=1)


def activations(graph):
    return {p.name: p.timesteps for p in graph.spiking if p.role == "activation"}


def test_a_residual_network_has_the_counts_of_torch(read):
    assert sorted(quantizers(read.module)) == sorted(RESIDUAL)
    agreement = compare_with_runtime(read, INPUTS)
    assert agreement.num_samples == 1000
    assert agreement.num_counts == 1000 * 5 * 4 * 64
    assert agreement.num_ties < 50
    imported = import_network(read, SHAPE, 255, samples=PIXELS)
    assert activations(imported.graph) == dict.fromkeys(RESIDUAL, 255)
    assert imported.source == "PyTorch exported program with quantize and dequantize operations"
    assert imported.runtime == f"torch {torch.__version__}"
    theirs = read.execute(INPUTS[:100].numpy()).logits
    ours = run_float_snn(imported.graph, PIXELS[:100]).logits
    assert np.abs(ours - theirs).max() < 2e-3 * np.abs(theirs).max()  # ties at their worst


class Averages(nn.Module):
    """Two convolutions, and an average over each feature map at the end."""

    def __init__(self, activation):
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 4, 3), nn.ReLU()
        self.conv2, self.activation = nn.Conv2d(4, 4, 3), activation
        self.classes = nn.Linear(4, 3)

    def forward(self, x):
        x = self.activation(self.conv2(self.relu1(self.conv1(x))))
        return self.classes(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def test_a_network_that_ends_in_an_average_needs_activation_modules():
    """As the message says: a function is not fused, so that the average reads it without a quantizer."""
    torch.manual_seed(0)
    function, module = (
        exported(quantized(Averages(relu), "x86")) for relu in (nn.functional.relu, nn.ReLU())
    )
    with pytest.raises(
        UnsupportedNetworkError,
        match=r": this activation, 'relu_1', is read by 'adaptive_avg_pool2d' .* is a module, such as",
    ):
        read_exported(function)
    assert {"relu1", "activation"} <= quantizers(read_exported(module).module).keys()


def test_a_signed_quantizer_in_front_of_a_clip_starts_at_0():
    torch.manual_seed(0)
    network = read_exported(exported(quantized(Averages(nn.Hardtanh(0, 0.2)), "xnnpack")))
    found = activations(import_network(network, SHAPE, 255).graph)
    (signed,) = (name for name in found if name.startswith("conv2.quantize"))
    assert 1 < found[signed] < 127


@pytest.mark.slow
@pytest.mark.parametrize(("quantizer", "is_qat"), [("arm", False), ("x86", True)])
def test_other_recipes_have_the_counts_of_torch(quantizer, is_qat):
    torch.manual_seed(1)
    program = exported(quantized(Residual(), quantizer, is_qat=is_qat))
    read = read_exported(program)
    imported = import_network(read, SHAPE, 255)
    assert set(RESIDUAL) <= activations(imported.graph).keys()
    agreement = compare_with_runtime(read, INPUTS)
    assert agreement.num_counts >= 1000 * (4 * 4 * 64 + 64)
    assert agreement.num_ties < 50


@pytest.mark.slow
def test_a_recipe_with_signed_quantizers_is_refused_by_name():
    torch.manual_seed(0)
    program = exported(quantized(Residual(), "xnnpack"))
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^block1\.conv2\.quantize_per_tensor_\d: this quantizer is signed: its values go from",
    ):
        read_exported(program)


def test_a_program_of_one_sample_with_shared_steps_and_quantized_logits(chain):
    network = read_exported(exported(chain, size=1))
    imported = import_network(network, SHAPE, 255)
    hidden = {n: t for n, t in activations(imported.graph).items() if n != "input_quantizer"}
    assert hidden == {"relu": 255, "clip": 255}
    left_out, of_pixels = imported.notes
    assert left_out.startswith("classes.quantize_per_tensor")
    assert "the quantizer of the logits was left out" in left_out
    assert of_pixels.startswith("input_quantizer: the quantizer of the input")
    assert network.execute(INPUTS[:5].numpy()).logits.shape == (5, 3)
    assert compare_with_runtime(network, INPUTS[:50]).num_ties < 5


def test_a_converted_module_is_exported_here(chain):
    network = read_exported(chain, SHAPE)
    assert {"relu", "clip"} <= quantizers(network.module).keys()
    with pytest.raises(UnsupportedNetworkError, match="is not exported yet; pass the input_shape"):
        import_exported(chain)


@pytest.mark.parametrize("planted", ["threshold", "weight", "logits"])
def test_a_planted_difference_is_reported(read, planted):
    module = copy.deepcopy(read.module)
    if planted == "threshold":
        module.get_submodule("block1.relu2").alpha.data *= 1.02
        message = r"^block1\.relu2: torch .* gives"
    else:
        operation, message = {
            "weight": ("conv2d_3", r"^block2\.relu1: torch .* gives"),
            "logits": ("linear", "^the logits differ from those of torch"),
        }[planted]
        node = next(n for n in module.graph.nodes if n.name == operation)
        getattr(module, node.args[1].target).data *= 1.02
    with pytest.raises(UnsupportedNetworkError, match=message):
        compare_with_runtime(replace(read, module=module), INPUTS[:20])


def test_pixels_that_the_grid_of_the_input_does_not_hold(read):
    imported = import_network(read, SHAPE, 1023)
    assert activations(imported.graph) == {"input_quantizer": 255, **dict.fromkeys(RESIDUAL, 255)}
    (note,) = imported.notes
    assert "became a population with T = 255; calibrate it on the whole range" in note


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_packed_kernels_of_eager_mode_are_refused():
    module = nn.Sequential(torch.ao.nn.quantized.Linear(4, 2))
    with pytest.raises(UnsupportedNetworkError, match=r"^0: Linear of .* packed integer kernel of"):
        read_exported(module, SHAPE)


def test_quantized_weights_alone_are_a_plain_network():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    float_logits = module(INPUTS[:9])
    quantize_(module, Int8WeightOnlyConfig())
    network = read_exported(module, SHAPE)
    assert not network.is_quantized
    theirs = network.execute(INPUTS[:9].numpy()).logits
    ours = network.module(INPUTS[:9].double()).detach().numpy()
    assert np.allclose(ours, theirs, atol=1e-6)
    assert not np.allclose(ours, float_logits.detach().numpy(), atol=1e-6)
