"""Checkpoints of the public QCFS implementation: key names, values, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.qcfs_format.importing import NORMALIZATIONS, load_qcfs_network
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn


class IF(nn.Module):
    """The quantizer of QCFS, with the name and shape of its parameter."""

    def __init__(self, levels=4):
        super().__init__()
        self.thresh = nn.Parameter(torch.tensor([1.5]))
        self.levels = levels

    def forward(self, x):
        x = torch.clamp(x / self.thresh, 0, 1)
        return torch.floor(x * self.levels + 0.5) / self.levels * self.thresh


class Block(nn.Module):
    """Basic, or with ``inner`` a bottleneck with four times as many outputs."""

    def __init__(self, inputs, outputs, stride, bottleneck):
        super().__init__()
        if bottleneck:
            inner, outputs = outputs, 4 * outputs
            layers = [
                nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), IF(),
                nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), IF(),
                nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
            ]  # fmt: skip
        else:
            layers = [
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), IF(),
                nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
            ]  # fmt: skip
        self.residual_function = nn.Sequential(*layers)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.act = IF()

    def forward(self, x):
        return self.act(self.residual_function(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, widths, depths, bottleneck=False):
        super().__init__()
        current = widths[0]
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, current, 3, 1, 1, bias=False), nn.BatchNorm2d(current), IF()
        )
        self.stages = [f"conv{stage}_x" for stage in range(2, 2 + len(widths))]
        for name, width, depth in zip(self.stages, widths, depths, strict=True):
            blocks = []
            for index in range(depth):
                stride = 2 if index == 0 and name != "conv2_x" else 1
                blocks.append(Block(current, width, stride, bottleneck))
                current = 4 * width if bottleneck else width
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(current, 10)

    def forward(self, x):
        x = self.conv1(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean(dim=(2, 3)))


class Vgg(nn.Module):
    def __init__(self, depths, width, norm=True, side=1):
        super().__init__()
        current = 3
        for stage, depth in enumerate(depths):
            channels = round((64, 128, 256, 512, 512)[stage] * width)
            layers = []
            for _ in range(depth):
                layers.append(nn.Conv2d(current, channels, 3, padding=1))
                if norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers += [IF(), nn.Dropout(0.1)]
                current = channels
            pool = nn.AvgPool2d(2) if norm else nn.MaxPool2d(2)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers, pool))
        dense = round(4096 * width)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(current * side * side, dense), IF(), nn.Dropout(0.1),
            nn.Linear(dense, dense), IF(), nn.Dropout(0.1), nn.Linear(dense, 10),
        )  # fmt: skip

    def forward(self, x):
        for stage in range(1, 6):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.classifier(x)


THIN = 1 / 16
PUBLIC = {
    "resnet-18": lambda: ResNet((4, 8, 16, 32), (2, 2, 2, 2)),
    "resnet-20": lambda: ResNet((1, 2, 4), (3, 3, 3)),
    "resnet34": lambda: ResNet((4, 8, 16, 32), (3, 4, 6, 3)),
    "resnet-50": lambda: ResNet((4, 8, 16, 32), (3, 4, 6, 3), bottleneck=True),
    "resnet-152": lambda: ResNet((4, 8, 16, 32), (3, 8, 36, 3), bottleneck=True),
    "vgg-11": lambda: Vgg((1, 1, 2, 2, 2), THIN),
    "vgg-13-wobn": lambda: Vgg((2, 2, 2, 2, 2), THIN, norm=False),
    "VGG16": lambda: Vgg((2, 2, 3, 3, 3), THIN),
    "vgg16_wobn": lambda: Vgg((2, 2, 3, 3, 3), THIN, norm=False),
    "vgg-19": lambda: Vgg((2, 2, 4, 4, 4), THIN),
}


def randomized(module):
    """Weights, statistics and clipping levels that keep signals alive through many layers."""
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight)
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.running_mean, 0, 0.1)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
        if isinstance(child, IF):
            nn.init.uniform_(child.thresh, 0.5, 3)
    return module.eval()


def older(state):
    """Names of the first version of the public code."""
    return {
        name.replace("act.thresh", "relu.up").replace("thresh", "up"): tensor
        for name, tensor in state.items()
    }


def saved(tmp_path, document):
    torch.save(document, tmp_path / "qcfs.pth")
    return tmp_path / "qcfs.pth"


@pytest.mark.parametrize("names", [dict, older], ids=["names", "older names"])
@pytest.mark.parametrize("architecture", PUBLIC)
def test_an_imported_network_computes_what_the_public_one_does(tmp_path, architecture, names):
    public = randomized(PUBLIC[architecture]())
    path = saved(tmp_path, names(public.state_dict()))
    module = load_qcfs_network(path, architecture, (3, 32, 32), 10, levels=4, width=THIN)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, found = public.double()(images), module.double()(images)
    assert expected.std() > 1e-3
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_vgg_for_large_images_has_more_features(tmp_path):
    public = randomized(Vgg((1, 1, 2, 2, 2), THIN, side=2))
    path = saved(tmp_path, public.state_dict())
    module = load_qcfs_network(path, "vgg-11", (3, 64, 64), 10, levels=4, width=THIN)
    images = torch.randn(1, 3, 64, 64)
    assert torch.allclose(module(images), public(images), atol=1e-5)


@pytest.mark.parametrize("architecture", ["resnet-20", "VGG16"])
def test_the_converted_network_computes_it_too(tmp_path, architecture):
    public = randomized(PUBLIC[architecture]())
    path = saved(tmp_path, public.state_dict())
    module = load_qcfs_network(path, architecture, (3, 32, 32), 10, levels=4, width=THIN)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32))
    normalization = NORMALIZATIONS["cifar-10"]
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (normalization.mean, normalization.std))
    images = (torch.from_numpy(pixels).double() / 255 - mean) / std
    with torch.no_grad():
        expected = public.double()(images).numpy()
    snn = run_float_snn(convert(module, (3, 32, 32), 255, normalization), pixels)
    assert np.allclose(snn.logits, expected, rtol=0, atol=1e-6)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


OPTIMIZER = {
    "state": {0: {"momentum_buffer": torch.ones(3)}},
    "param_groups": [{"lr": 0.1, "params": [0]}],
}


WRAPPED = {
    "alone": lambda s: s,
    "DataParallel": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "module._orig_mod."),
    "lightning": lambda s: {"epoch": 3, "state_dict": prefixed(s, "model."), "loops": {"a": {}}},
    "training": lambda s: {"net": s, "acc": 93.1, "optimizer": OPTIMIZER},
    "averaged": lambda s: {"model": s, "ema": {k: v * 2 for k, v in s.items()}, "args": {"L": 4}},
    "nested": lambda s: {"checkpoint": {"model_state_dict": s}, "best": {"acc": 1.0}},
    "without counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    "half precision": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
}  # fmt: skip


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_state_dict_is_found_in_what_training_scripts_save(tmp_path, wrapped):
    network = randomized(PUBLIC["resnet-20"]())
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = saved(tmp_path, WRAPPED[wrapped](state))
    module = load_qcfs_network(path, "resnet-20", (3, 32, 32), 10, levels=8, width=THIN)
    assert torch.allclose(module.fc.weight, state["fc.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv1.0.weight"), "has no tensor 'conv1.0.weight' of resnet-20; check --arch"),
        (lambda s: s.pop("conv1.2.thresh"), "has no tensor 'conv1.2.thresh' of resnet-20; check --arch"),
        (lambda s: s.update(extra=torch.zeros(1)), "tensor 'extra' is not part of resnet-20; check"),
        (
            lambda s: s.update({"fc.weight": torch.zeros(100, 4)}),
            "tensor 'fc.weight' has shape (100, 4), but the architecture needs (10, 4); check --arch",
        ),
        (lambda s: s["fc.bias"].fill_(float("nan")), "tensor 'fc.bias' holds NaN, infinity or no real"),
        (lambda s: s.update({"fc.bias": torch.zeros(10, dtype=torch.int64)}), "'fc.bias' holds NaN, inf"),
        (lambda s: s["conv1.2.thresh"].fill_(-2), "tensor 'conv1.2.thresh' is -2, but a clipping level"),
        (
            lambda s: s.update({"conv1.2.up": torch.ones(1)}),
            "'conv1.2.thresh' and 'conv1.2.up' are the same one under its old and new name; leave one out",
        ),
        (lambda s: s.update(epoch=3), "holds no state_dict, a record of tensors by name; save network"),
        (lambda s: s.clear(), "holds no state_dict"),
        (
            lambda s: s.update(a=dict(s), b=dict(s), epoch=3),
            "holds several state_dicts (a, b); save only the one to import",
        ),
    ],
)  # fmt: skip
def test_another_file_is_refused_with_the_tensor(tmp_path, change, message):
    state = dict(PUBLIC["resnet-20"]().state_dict())
    change(state)
    path = saved(tmp_path, state)
    with pytest.raises(ModelFileError) as refusal:
        load_qcfs_network(path, "resnet-20", (3, 32, 32), 10, levels=4, width=THIN)
    assert str(refusal.value).startswith(f"{path}: ")
    assert message in str(refusal.value)


def test_the_architecture_that_fits_is_named(tmp_path):
    path = saved(tmp_path, older(PUBLIC["resnet-18"]().state_dict()))
    with pytest.raises(ModelFileError) as refusal:
        load_qcfs_network(path, "resnet-20", (3, 32, 32), 10, levels=4, width=THIN)
    assert str(refusal.value) == (
        f"{path}: tensor 'conv5_x.0.residual_function.0.weight' is not part of resnet-20; its tensors are "
        f"those of --arch resnet-18"
    )


def test_an_architecture_that_qcfs_does_not_have(tmp_path):
    with pytest.raises(UnsupportedNetworkError, match="choose one of vgg-11, vgg-13"):
        load_qcfs_network(tmp_path / "x", "vgg-9", (3, 32, 32), 10, levels=4)


def test_an_image_that_a_vgg_cannot_halve(tmp_path):
    with pytest.raises(
        UnsupportedNetworkError, match="needs 32 x 32 pixels or more, not 28 x 28; give"
    ):
        load_qcfs_network(tmp_path / "x", "vgg-11", (3, 28, 28), 10, levels=4)
