"""Checkpoints of the public QCFS implementation: key names, values, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.qcfs import NORMALIZATIONS, load_qcfs_network
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
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.residual_function = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), IF(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.act = IF()

    def forward(self, x):
        return self.act(self.residual_function(x) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), IF())
        stages, current = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            blocks = [Block(current, width, stride), Block(width, width, 1), Block(width, width, 1)]
            stages.append(nn.Sequential(*blocks))
            current = width
        self.conv2_x, self.conv3_x, self.conv4_x = stages
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.conv4_x(self.conv3_x(self.conv2_x(self.conv1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class Vgg16(nn.Module):
    def __init__(self):
        super().__init__()
        current = 3
        plan = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
        for stage, widths in enumerate(plan, start=1):
            layers = []
            for width in widths:
                conv = nn.Conv2d(current, width, 3, padding=1)
                layers += [conv, nn.BatchNorm2d(width), IF(), nn.Dropout(0.0)]
                current = width
            self.add_module(f"layer{stage}", nn.Sequential(*layers, nn.AvgPool2d(2)))
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(512, 4096), IF(), nn.Dropout(0.0), nn.Linear(4096, 4096), IF(),
            nn.Dropout(0.0), nn.Linear(4096, 10),
        )  # fmt: skip

    def forward(self, x):
        for stage in range(1, 6):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.classifier(x)


def randomized(module):
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.running_mean, 0, 0.1)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
        if isinstance(child, IF):
            nn.init.uniform_(child.thresh, 0.5, 3)
    return module.eval()


@pytest.mark.parametrize(("architecture", "public"), [("resnet-20", ResNet20), ("vgg-16", Vgg16)])
def test_an_imported_network_computes_what_the_public_one_does(tmp_path, architecture, public):
    torch.manual_seed(0)
    network = randomized(public())
    torch.save(network.state_dict(), tmp_path / "qcfs.pth")
    module = load_qcfs_network(tmp_path / "qcfs.pth", architecture, (3, 32, 32), 10, levels=4)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32))
    normalization = NORMALIZATIONS["cifar-10"]
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (normalization.mean, normalization.std))
    images = (torch.from_numpy(pixels).double() / 255 - mean) / std
    with torch.no_grad():
        expected = network.double()(images).numpy()
    snn = run_float_snn(convert(module, (3, 32, 32), 255, normalization), pixels)
    assert np.allclose(snn.logits, expected, rtol=0, atol=1e-6)


def test_older_names_and_data_parallel_prefixes_are_understood(tmp_path):
    state = {
        f"module.{name.replace('thresh', 'up')}": tensor
        for name, tensor in ResNet20().state_dict().items()
    }
    torch.save(state, tmp_path / "qcfs.pth")
    load_qcfs_network(tmp_path / "qcfs.pth", "resnet-20", (3, 32, 32), 10, levels=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv1.0.weight"), "has no tensor for stem_conv.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "tensor 'extra' is not part of this"),
        (
            lambda s: s.update({"fc.weight": torch.zeros(100, 64)}),
            "head.weight has shape (100, 64)",
        ),
        (lambda s: s["fc.bias"].fill_(float("nan")), "head.bias holds NaN or infinity"),
        (lambda s: s.update(epoch=3), "must be a state_dict, a flat record of tensors"),
    ],
)
def test_another_file_is_refused_with_the_tensor(tmp_path, change, message):
    state = ResNet20().state_dict()
    change(state)
    torch.save(state, tmp_path / "qcfs.pth")
    with pytest.raises(ModelFileError) as refusal:
        load_qcfs_network(tmp_path / "qcfs.pth", "resnet-20", (3, 32, 32), 10, levels=4)
    assert str(refusal.value).startswith(f"{tmp_path / 'qcfs.pth'}: ")
    assert message in str(refusal.value)


def test_an_architecture_that_qcfs_does_not_have(tmp_path):
    with pytest.raises(UnsupportedNetworkError, match="choose one of vgg-16, resnet-18"):
        load_qcfs_network(tmp_path / "x", "vgg-9", (3, 32, 32), 10, levels=4)
