"""Import networks trained with QCFS (Bu et al., 2022) as QAC networks: Case 4 with T = L in every layer.

Reads a ``state_dict`` of the public implementation, alone or beside other things in a training checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import ModelFileError
from toolchain.files.plain_torch_file import load_plain_zip
from toolchain.importers.qcfs_format.networks import (
    ARCHITECTURES,
    build_qcfs_network,
    qcfs_architecture,
)
from toolchain.importers.torch_module import Normalization
from toolchain.method.quantizers import FixedTimestepQuantizer
from toolchain.networks.linear_maps import Shape
from toolchain.shown_values import shown_text

NORMALIZATIONS = {
    "cifar-10": Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    "cifar-100": Normalization(
        mean=(129.3 / 255, 124.1 / 255, 112.4 / 255), std=(68.2 / 255, 65.4 / 255, 70.4 / 255)
    ),
    "imagenet": Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
"""Input normalization of the public implementation, by data set."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "ann", "module")
"""Fields of a training checkpoint that hold the network, the most explicit first."""

_UNREAD = (".num_batches_tracked", ".t")
"""Names of tensors that the network has, but that are not read from the file."""

_DEEPEST_WRAPPER = 3


def load_qcfs_network(
    path: Path,
    architecture: str,
    input_shape: Shape,
    num_classes: int,
    levels: int,
    width: float = 1.0,
) -> nn.Module:
    """Build the network of a QCFS checkpoint.

    Its modules are named as in the checkpoint.

    Args:
        architecture: one of ``qcfs_networks.ARCHITECTURES``, or its name in the public code.
        levels: L of the training; each population runs T = L timesteps.
        width: factor on the number of channels, for thinner networks than the public ones.

    Raises:
        ModelFileError: the file holds no plain state_dict, or one of another architecture (the message names
            the first tensor that is unknown, missing or of another shape).
        UnsupportedNetworkError: QCFS has no such architecture.
    """
    name = qcfs_architecture(architecture)
    module = build_qcfs_network(
        name, input_shape, num_classes, lambda: FixedTimestepQuantizer(levels), width
    )
    state = _without_prefix(_state_dict(path))
    own = module.state_dict()
    stored = {_own_name(stored): stored for stored in state}  # own name -> name in the file
    if len(stored) < len(state):
        twice = next(given for given in state if stored[_own_name(given)] != given)
        raise ModelFileError(
            f"{path}: tensors '{shown_text(twice)}' and '{shown_text(stored[_own_name(twice)])}' are the "
            f"same one under its old and new name; leave one out"
        )
    for read, given in stored.items():
        if read not in own:
            raise ModelFileError(
                f"{path}: tensor '{shown_text(given)}' is not part of {name}; {_advice(stored, input_shape)}"
            )
    for read, tensor in own.items():
        if read.endswith(_UNREAD):
            continue
        if read not in stored:
            raise ModelFileError(
                f"{path}: has no tensor '{_public_name(read)}' of {name}; {_advice(stored, input_shape)}"
            )
        own[read] = _checked(path, stored[read], state[stored[read]], tensor, read)
    module.load_state_dict(own)
    return module.eval()


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    """The one record of tensors in a file, whatever else a training checkpoint holds."""
    document = load_plain_zip(path, "save the state_dict again with a current torch")
    found = dict(_tensor_records(document, ()))
    if not found:
        raise ModelFileError(
            f"{path}: holds no state_dict, a record of tensors by name; save network.state_dict()"
        )
    if len(found) > 1:
        named = {where: state for where, state in found.items() if where and where[-1] in _WRAPPERS}
        first = min((_WRAPPERS.index(where[-1]) for where in named), default=None)
        found = {w: s for w, s in named.items() if _WRAPPERS.index(w[-1]) == first} or found
    if len(found) > 1:
        names = ", ".join(".".join(where) for where in found)
        raise ModelFileError(
            f"{path}: holds several state_dicts ({shown_text(names, 300)}); save only the one to import"
        )
    return next(iter(found.values()))


def _tensor_records(
    value: Any, where: tuple[str, ...]
) -> list[tuple[tuple[str, ...], Mapping[str, Tensor]]]:
    """All records, down to some depth, that are not empty and hold tensors alone."""
    if not isinstance(value, Mapping) or not value or len(where) > _DEEPEST_WRAPPER:
        return []
    if all(isinstance(name, str) and isinstance(t, Tensor) for name, t in value.items()):
        return [(where, value)]
    inner = ((name, part) for name, part in value.items() if isinstance(name, str))
    return [found for name, part in inner for found in _tensor_records(part, (*where, name))]


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the first parts of their names that all have in common, such as ``module``.

    DataParallel, compiled networks and wrappers add such parts; the networks themselves have several parts.
    """
    names = {name: name.split(".") for name in state}
    while len({s[0] for s in names.values()}) == 1 and all(len(s) > 1 for s in names.values()):
        names = {name: split[1:] for name, split in names.items()}
    return {".".join(split): state[name] for name, split in names.items()}


def _own_name(name: str) -> str:
    """``thresh`` was ``up`` in older files, and the last activation of a block, ``act``, was ``relu``."""
    *module, field = name.split(".")
    if field not in ("thresh", "up"):
        return name
    if module[-1:] == ["relu"]:
        module[-1] = "act"
    return ".".join([*module, "alpha"])


def _public_name(name: str) -> str:
    return f"{name.removesuffix('alpha')}thresh" if name.endswith(".alpha") else name


def _checked(path: Path, name: str, given: Tensor, tensor: Tensor, own_name: str) -> Tensor:
    if given.numel() != tensor.numel() or (tensor.ndim and given.shape != tensor.shape):
        raise ModelFileError(
            f"{path}: tensor '{shown_text(name)}' has shape {tuple(given.shape)}, but the architecture needs "
            f"{tuple(tensor.shape)}; check --arch, --classes and --image"
        )
    if not given.is_floating_point() or not bool(torch.isfinite(given).all()):
        raise ModelFileError(
            f"{path}: tensor '{shown_text(name)}' holds NaN, infinity or no real numbers; import an earlier "
            f"checkpoint"
        )
    if own_name.endswith((".alpha", ".running_var")) and float(given.min()) < 0:
        raise ModelFileError(
            f"{path}: tensor '{shown_text(name)}' is {float(given.min()):g}, but a clipping level or "
            f"variance is positive; import an earlier checkpoint"
        )
    return given.reshape(tensor.shape).to(tensor.dtype)


def _advice(stored: Mapping[str, str], input_shape: Shape) -> str:
    """The architectures that have tensors of just these names."""
    found = {name for name in stored if not name.endswith(_UNREAD)}
    fitting = []
    for name in ARCHITECTURES:
        with torch.device("meta"):
            size = max(32, *input_shape[1:])
            network = build_qcfs_network(
                name, (3, size, size), 2, lambda: FixedTimestepQuantizer(1)
            )
        own = {n for n in network.state_dict() if not n.endswith(_UNREAD)}
        fitting += [name] if own == found else []
    if not fitting:
        return "check --arch"
    return f"its tensors are those of --arch {' or '.join(fitting)}"
