"""Networks that were refused or crashed without need, brought in with ``qac-deploy convert``, and compiled.

The command line reads exported programs of PyTorch. One program holds many operations, each on a path of its
own from the same spike counts to the logits: the conversion executes the program, and compares the logits.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operations of Quantizer
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

SHAPE = (2, 6, 6)


class Quantizer(nn.Module):
    """A ReLU of T + 1 values."""

    def __init__(self, timesteps=3):
        super().__init__()
        self.grid = (0.25, 0, 0, timesteps, torch.uint8)

    def forward(self, x):
        quantized = torch.ops.quantized_decomposed
        spikes = quantized.quantize_per_tensor(F.relu(x), *self.grid)
        return quantized.dequantize_per_tensor(spikes, *self.grid)


class Paths(nn.Module):
    """Spike counts ``x`` of a convolution, functions of them, and a layer that reads all their values."""

    def __init__(self, paths):
        super().__init__()
        self.conv, self.fire = nn.Conv2d(SHAPE[0], 4, 3, padding=1), Quantizer()
        self.functions = [path[0] if isinstance(path, tuple) else path for path in paths]
        parts = (path[1:] if isinstance(path, tuple) else () for path in paths)
        self.parts = nn.ModuleList(nn.ModuleList(modules) for modules in parts)
        self.classes = nn.LazyLinear(3)

    def forward(self, image):
        x = self.fire(self.conv(image))
        paths = zip(self.functions, self.parts, strict=True)
        return self.classes(torch.cat([f(x, *parts).flatten(1) for f, parts in paths], 1))


def write_program(path, network, *, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        network.eval()(torch.zeros(2, *SHAPE))
    for parameter in network.parameters():  # a path that is left out changes the logits
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.5)
    batch = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=batch)
        torch.export.save(program, path)


def converted(qac_deploy, folder, network, *options):
    """The record of a conversion that succeeds."""
    write_program(folder / "network.pt2", network)
    process = qac_deploy("convert", "network.pt2", *options, "--json")
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def refused(qac_deploy, *arguments):
    process = qac_deploy(*arguments)
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr


def average_of_all(x):
    b, c, h, w = x.shape
    return F.avg_pool2d(x, (h, w)).view(b, c)


def view_of_sizes(x):
    b, c, h, w = x.shape
    return x.view(b, c * h * w)


def shuffled(x):
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", amount=0.5)


def layer(module):
    return lambda x, part: part(x), module


def constants(*values):
    """Modules whose weights hold one value per channel."""
    for value in values:
        norm = nn.GroupNorm(1, 4)
        norm.weight = nn.Parameter(torch.full((1, 4, 1, 1), value), requires_grad=False)
        yield norm


OPERATIONS = {
    "sizes and views": [
        lambda x: F.avg_pool2d(x, x.size()[3]),
        average_of_all,
        lambda x: x[:, :2],
        lambda x: x[:, :, ::2, ::2],
        lambda x: x.view(-1, 144),
        view_of_sizes,
        lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
        lambda x: x.permute(0, 2, 3, 1).contiguous(),
        lambda x: torch.cat([x[:, 1:3], x], dim=1),
        shuffled,
    ],
    "layers": [
        layer(nn.Linear(6, 3)),  # of each row of a map
        layer(pruned(nn.Conv2d(4, 3, 1))),
        layer(nn.AdaptiveAvgPool2d((6, 6))),
        (lambda x, m, norm: norm(m(x.flatten(1))), nn.Linear(144, 3), nn.BatchNorm1d(3)),
        (lambda x, m: m(x[:, :, 0]), nn.Conv1d(4, 2, 3, padding=1)),
        layer(nn.Conv2d(4, 2, 2, dilation=(1, 2))),
        layer(nn.Conv2d(4, 2, 3, padding="same")),
        layer(nn.ZeroPad2d(1)),
        layer(nn.Upsample(scale_factor=2)),
        (lambda x, m, n: n(m(x)), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)),  # linear in a row
    ],
    "functions": [
        lambda x: torch.add(x, other=x[:, :1]),
        lambda x: x * 0.25,
        lambda x: x[:, :2] - x[:, 2:],
        lambda x: x + 0.3,
        (lambda x, mean, std: (x - mean.weight) / std.weight, *constants(0.3, 0.5)),
        lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: F.dropout(x, 0.5, training=False),
    ],
}


@pytest.mark.parametrize("group", OPERATIONS)
def test_linear_operations_convert_and_compile(qac_deploy, tmp_path, group):
    record = converted(qac_deploy, tmp_path, Paths(OPERATIONS[group]))
    assert record["timesteps"] == {"fire.relu": 3}
    assert record["agreement"]["num_counts"] > 0
    process = qac_deploy("compile", "model.pt", "--json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["populations"]


class Residual(nn.Module):
    """An activation of a convolution plus what the convolution read."""

    def __init__(self):
        super().__init__()
        self.conv, self.second = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.fire, self.join = Quantizer(), Quantizer(40)
        self.classes = nn.Linear(72, 3)

    def forward(self, x):
        x = self.fire(self.conv(x))
        return self.classes(self.join(self.second(x) + x).flatten(1))


def test_a_residual_in_front_of_its_activation_keeps_its_long_window(qac_deploy, tmp_path):
    """T = 40 of a quantizer is what the network was trained with, so no cap applies."""
    record = converted(qac_deploy, tmp_path, Residual())
    assert record["timesteps"] == {"fire.relu": 3, "join.relu": 40}
    assert qac_deploy("compile", "model.pt").returncode == 0


class Clipped(nn.Module):
    """Three activations that are quantizers but for the number of their values."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.clips = nn.ModuleList([nn.ReLU6(), nn.Hardtanh(0, 4.0)])
        self.classes = nn.Linear(72, 3)

    def forward(self, x):
        for conv, clip in zip(self.convs, [*self.clips, lambda y: y.clamp(0, 2.0)], strict=True):
            x = clip(conv(x))
        return self.classes(x.flatten(1))


def write_images(path):
    images = np.random.default_rng(0).integers(0, 256, (80, *SHAPE), np.uint8)
    parts = {"train": slice(64), "test": slice(64, None)}
    arrays = {"images": images, "labels": np.arange(80) % 3}
    np.savez(path, **{f"{p}_{a}": arrays[a][s] for p, s in parts.items() for a in arrays})


FROM_IMAGES = ("--data", "own.npz", "--mean-timesteps", 4, "--samples", 32)


def test_activations_that_clip_are_spiking_populations(qac_deploy, tmp_path):
    write_images(tmp_path / "own.npz")
    record = converted(qac_deploy, tmp_path, Clipped(), *FROM_IMAGES)
    assert len(record["timesteps"]) == 3
    assert max(record["timesteps"].values()) > 1


@pytest.mark.parametrize(
    "function", [nn.LogSoftmax(1), nn.Softmax(1)], ids=lambda m: type(m).__name__
)
def test_the_function_of_the_logits_is_left_out_and_said(qac_deploy, tmp_path, function):
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), Quantizer(), nn.Linear(4, 3), function)
    write_program(tmp_path / "network.pt2", network)
    process = qac_deploy("convert", "network.pt2", COLUMNS="400")
    assert process.returncode == 0, process.stderr
    assert "softmax, which was left out: it does not change" in process.stdout + process.stderr


class RandomAtTest(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.Linear(72, 3)

    def forward(self, x):
        return self.classes(F.dropout(x.flatten(1)))  # training by default, also in evaluation


def test_dropout_that_stays_random_is_named(qac_deploy, tmp_path):
    write_program(tmp_path / "network.pt2", RandomAtTest())
    assert "dropout" in refused(qac_deploy, "convert", "network.pt2")


def test_a_network_without_activation_is_said_to_have_none(qac_deploy, tmp_path):
    write_images(tmp_path / "own.npz")
    write_program(tmp_path / "network.pt2", nn.Sequential(nn.Flatten(), nn.Linear(72, 3)))
    assert "activation" in refused(qac_deploy, "convert", "network.pt2", *FROM_IMAGES)


def test_a_batch_norm_of_nearly_no_weight_makes_neurons_that_always_or_never_fire(
    qac_deploy, tmp_path
):
    norm = nn.BatchNorm2d(4)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norm, Quantizer(), nn.Flatten(), nn.Linear(144, 3)
    )
    write_program(tmp_path / "network.pt2", network)
    with torch.no_grad():
        norm.weight.fill_(1e-5)
        norm.bias.copy_(torch.tensor([1.0, -1.0, 0.4, -0.1]))
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network.eval(), (torch.zeros(2, *SHAPE),), dynamic_shapes=batch)
    torch.export.save(program, tmp_path / "network.pt2")
    process = qac_deploy("convert", "network.pt2")
    assert process.returncode == 0, process.stderr
    process = qac_deploy("compile", "model.pt")
    assert process.returncode == 0, process.stderr


class Rearranged(nn.Module):
    """A batch norm whose channels are not those of a feature map."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fire, self.classes = Quantizer(), nn.Linear(144, 3)

    def forward(self, x):
        mixed = self.conv(x).permute(0, 2, 3, 1).reshape(-1, 4, 6, 6)
        return self.classes(self.fire(self.norm(mixed)).flatten(1))


def test_a_batch_norm_of_rearranged_elements_converts(qac_deploy, tmp_path):
    assert converted(qac_deploy, tmp_path, Rearranged())["timesteps"] == {"fire.relu": 3}


@pytest.mark.parametrize("shape", ["3x6x6", "13", "2x-6x6"])
def test_a_wrong_shape_of_the_image_is_refused(qac_deploy, tmp_path, shape):
    write_program(
        tmp_path / "network.pt2", nn.Sequential(nn.Flatten(), nn.Linear(72, 3), Quantizer())
    )
    message = refused(qac_deploy, "convert", "network.pt2", f"--input-shape={shape}")
    assert "shape" in message
    assert "3, 6, 6" in message or shape != "3x6x6"


def test_a_scripted_network_is_refused_with_what_to_do(qac_deploy, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Flatten())), tmp_path / "network.pt")
    assert "is a TorchScript archive" in refused(qac_deploy, "convert", "network.pt")


def public_vgg(module="", size=1):
    """A state_dict of QCFS's VGG-11 without batch norm, under the first names of its clipping levels."""
    state, inputs = {}, 3

    def add(name, outputs, inputs, *kernel):
        state[f"{module}{name}.weight"] = torch.randn(outputs, inputs, *kernel) / inputs
        state[f"{module}{name}.bias"] = torch.zeros(outputs)

    for stage, (depth, width) in enumerate(
        zip((1, 1, 2, 2, 2), (64, 128, 256, 512, 512), strict=True)
    ):
        for index in range(depth):
            add(f"layer{stage + 1}.{3 * index}", width, inputs, 3, 3)
            state[f"{module}layer{stage + 1}.{3 * index + 1}.up"] = torch.tensor([1.5])
            inputs = width
    for index, width in ((1, 4096), (4, 4096), (7, 10)):
        add(f"classifier.{index}", width, inputs)
        if index < 7:
            state[f"{module}classifier.{index + 1}.up"] = torch.tensor([2.0])
        inputs = width
    return state


@pytest.mark.slow
def test_a_qcfs_vgg_without_batch_norm_under_older_names_in_a_record_of_a_training(
    qac_deploy, tmp_path
):
    torch.manual_seed(0)
    torch.save({"epoch": 3, "state_dict": public_vgg("module.")}, tmp_path / "vgg.pth")
    process = qac_deploy("convert", "vgg.pth", "--arch", "vgg-11-wobn", "--levels", 3)
    assert process.returncode == 0, process.stderr
    assert "10 spiking populations, T = 3" in process.stdout


@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
def test_a_qcfs_checkpoint_is_known_under_older_names_and_in_wrappers(
    qac_deploy, tmp_path, wrapper
):
    """Of DataParallel and of torch.compile; another architecture is named."""
    state = public_vgg(wrapper)
    for name in [name for name in state if "classifier" in name]:
        state[name] = torch.zeros(1).expand(state[name].shape).clone()
    del state[f"{wrapper}layer1.1.up"]
    torch.save({"state_dict": state}, tmp_path / "vgg.pth")
    message = refused(qac_deploy, "convert", "vgg.pth", "--arch", "vgg-11-wobn")
    assert "has no tensor 'layer1.1.thresh' of vgg-11-wobn" in message
