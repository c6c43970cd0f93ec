"""The state of an unfinished training run on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from torch import nn

from toolchain.errors import ModelFileError
from toolchain.field_types import Digest, Index, NotNegative
from toolchain.files.plain_torch_file import content_sha256, load_plain_zip, save_plain_zip
from toolchain.files.whole_files import TRAINING_STATE
from toolchain.schema import typed

_FORMAT = "qac-deploy training state, version 3"


@dataclass(frozen=True)
class TrainingProgress:
    """Number of finished epochs, the price of a timestep after them, and their duration."""

    epoch: int = 0
    price: float = 0.0
    seconds: float = 0.0


class _TrainingState(Struct, kw_only=True, forbid_unknown_fields=True):
    format: str
    run: dict[str, Any]
    epoch: Index
    price: NotNegative
    seconds: NotNegative
    module: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    digests: dict[str, Digest]


def save_training_state(
    path: Path,
    run: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    progress: TrainingProgress,
) -> None:
    """Write all that the next epoch depends on, whole or not at all.

    Args:
        run: all settings that decide the result, by name: plan, data, and those of the caller.
    """
    state: dict[str, Any] = {
        "format": _FORMAT,
        "run": run,
        **asdict(progress),
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    state["digests"] = state_digests(state)
    save_plain_zip(path, state, TRAINING_STATE)


def load_training_state(
    path: Path,
    run: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> TrainingProgress:
    """Restore network, optimizer and schedule in place.

    Args:
        run: as for ``save_training_state``.

    Raises:
        ModelFileError: the file is damaged, or belongs to another run or network.
    """
    state = _read(path)
    changed = [name for name in run if _differ(state.run.get(name), run[name])]
    if changed:
        raise ModelFileError(
            f"{path}: belongs to a run with another {', '.join(changed)}; use the same, or remove the file "
            f"to start anew"
        )
    try:
        module.load_state_dict(state.module)
        optimizer.load_state_dict(state.optimizer)
        schedule.load_state_dict(state.schedule)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError):
        raise ModelFileError(
            f"{path}: belongs to another network; remove it to start anew"
        ) from None
    return _progress(state)


def _differ(found: Any, wanted: Any) -> bool:
    """Whether two settings differ; a tensor, which compares element by element, is none."""
    return isinstance(found, torch.Tensor) or found != wanted


def read_progress(path: Path) -> TrainingProgress:
    """Progress of an unfinished run.

    Raises:
        ModelFileError: the file is damaged.
    """
    return _progress(_read(path))


def _progress(state: _TrainingState) -> TrainingProgress:
    return TrainingProgress(epoch=state.epoch, price=state.price, seconds=state.seconds)


def _read(path: Path) -> _TrainingState:
    remedy = f"remove {path} to start anew"
    document = load_plain_zip(path, remedy)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ModelFileError(f"{path}: not a training state of this version; {remedy}")
    state = typed(document, _TrainingState, path, remedy=remedy)
    for member, digest in state_digests(document).items():
        if state.digests.get(member) != digest:
            raise ModelFileError(
                f"{path}: damaged: {member} differs from its stored digest; {remedy}"
            )
    return state


def state_digests(state: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each member of a training state, apart from its format and these digests."""
    return {
        member: content_sha256(content)
        for member, content in state.items()
        if member not in ("format", "digests")
    }
