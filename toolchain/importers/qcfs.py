"""Import networks trained with QCFS (Bu et al., 2022) as QAC networks: Case 4 with T = L in every layer.

Reads a ``state_dict`` of the public implementation (repository putshua/ANN_SNN_QCFS): its VGG-16,
ResNet-18, ResNet-34 and ResNet-20. Each ``IF`` module has one parameter, the clipping level, named
``thresh`` (``up`` in older files).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.files.plain_torch_file import load_plain_zip
from toolchain.importers.torch_module import Normalization
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.linear_maps import Shape

NORMALIZATIONS = {
    "cifar-10": Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    "cifar-100": Normalization(
        mean=(129.3 / 255, 124.1 / 255, 112.4 / 255), std=(68.2 / 255, 65.4 / 255, 70.4 / 255)
    ),
    "imagenet": Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
"""Input normalization of the public implementation, by data set."""

_VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)  # per stage


def load_qcfs_network(
    path: Path, architecture: str, input_shape: Shape, num_classes: int, levels: int
) -> nn.Module:
    """Build the network of a QCFS checkpoint.

    Args:
        architecture: vgg-16, resnet-18, resnet-20 or resnet-34.
        levels: L of the training; each population runs T = L timesteps.

    Raises:
        ModelFileError: the file holds no plain state_dict, or one of another architecture (the message names
            the first tensor that is missing, unknown or of another shape).
        UnsupportedNetworkError: QCFS has no such architecture.
    """
    if architecture not in _RENAMINGS:
        raise UnsupportedNetworkError(
            f"'{architecture}' is not a QCFS architecture; choose one of {', '.join(_RENAMINGS)}"
        )
    state = load_plain_zip(path, "save the state_dict again with a current torch")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelFileError(
            f"{path}: must be a state_dict, a flat record of tensors; save network.state_dict()"
        )
    network = build_model(architecture, input_shape, num_classes)
    module = quantize_activations(
        network, lambda: FixedTimestepQuantizer(levels), max_pool="average"
    )
    _fill(path, module, _renamed(path, state, _RENAMINGS[architecture]))
    return module.eval()


def _renamed(
    path: Path, state: Mapping[str, Tensor], rename: Callable[[str], str | None]
) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        own = rename(name.removeprefix("module."))  # DataParallel's prefix
        if own is None:
            raise ModelFileError(
                f"{path}: tensor '{name}' is not part of this architecture; check --arch"
            )
        renamed[own] = tensor
    return renamed


def _fill(path: Path, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    for name, tensor in own.items():
        if name.endswith((".t", "num_batches_tracked")):
            continue
        if name not in state:
            raise ModelFileError(
                f"{path}: has no tensor for {name} of this architecture; check --arch"
            )
        given = state[name]
        if given.numel() != tensor.numel() or (tensor.ndim and given.shape != tensor.shape):
            raise ModelFileError(
                f"{path}: the tensor for {name} has shape {tuple(given.shape)}, but the architecture "
                f"needs {tuple(tensor.shape)}; check --arch, --classes and --image"
            )
        if not bool(torch.isfinite(given).all()):
            raise ModelFileError(
                f"{path}: the tensor for {name} holds NaN or infinity; import an earlier checkpoint"
            )
        own[name] = given.reshape(tensor.shape).to(tensor.dtype)
    module.load_state_dict(own)


def _rename_vgg16(name: str) -> str | None:
    """``layer2.4.weight`` is the second convolution of the second stage: four modules each."""
    if match := re.fullmatch(r"layer([1-5])\.(\d+)\.(.+)", name):
        stage, index, field = int(match[1]), int(match[2]), match[3]
        number = sum(_VGG16_CONVOLUTIONS[: stage - 1]) + index // 4 + 1
        kind = {0: "_conv", 1: "_norm", 2: ""}.get(index % 4)
        if kind is not None:
            return f"features.conv{number}{kind}.{_field(field)}"
    dense = {"1": "dense1_linear", "2": "dense1", "4": "dense2_linear", "5": "dense2", "7": "head"}
    if (match := re.fullmatch(r"classifier\.(\d)\.(.+)", name)) and match[1] in dense:
        return f"classifier.{dense[match[1]]}.{_field(match[2])}"
    return None


def _rename_resnet(name: str) -> str | None:
    """``conv3_x.0.residual_function.1.bias`` is a batch norm in the second stage's first block."""
    stem = {"0": "stem_conv", "1": "stem_norm", "2": "stem"}
    residual = {
        "0": "inner_conv",
        "1": "inner_norm",
        "2": "inner",
        "3": "join_conv",
        "4": "join_norm",
    }
    if match := re.fullmatch(r"conv1\.([012])\.(.+)", name):
        return f"{stem[match[1]]}.{_field(match[2])}"
    if match := re.fullmatch(r"conv([2-5])_x\.(\d+)\.residual_function\.([0-4])\.(.+)", name):
        block = f"stages.{int(match[1]) - 2}.{match[2]}"
        return f"{block}.{residual[match[3]]}.{_field(match[4])}"
    if match := re.fullmatch(r"conv([2-5])_x\.(\d+)\.shortcut\.([01])\.(.+)", name):
        return f"stages.{int(match[1]) - 2}.{match[2]}.shortcut.{match[3]}.{match[4]}"
    if match := re.fullmatch(r"conv([2-5])_x\.(\d+)\.act\.(.+)", name):
        return f"stages.{int(match[1]) - 2}.{match[2]}.join.{_field(match[3])}"
    if match := re.fullmatch(r"fc\.(.+)", name):
        return f"head.{match[1]}"
    return None


def _field(name: str) -> str:
    return "alpha" if name in ("thresh", "up") else name


_RENAMINGS: dict[str, Callable[[str], str | None]] = {
    "vgg-16": _rename_vgg16,
    "resnet-18": _rename_resnet,
    "resnet-20": _rename_resnet,
    "resnet-34": _rename_resnet,
}
