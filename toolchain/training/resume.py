"""The state of an unfinished training run on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.errors import ModelFileError
from toolchain.files.plain_torch_file import load_plain_zip, save_plain_zip
from toolchain.files.whole_files import TRAINING_STATE
from toolchain.networks.record_reader import RecordReader

_FORMAT = "qac-deploy training state, version 2"


@dataclass(frozen=True)
class TrainingProgress:
    """Number of finished epochs, the price of a timestep after them, and their duration."""

    epoch: int = 0
    price: float = 0.0
    seconds: float = 0.0


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
    state = {
        "format": _FORMAT,
        "run": run,
        **asdict(progress),
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
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
    changed = [name for name in run if _differ(state["run"].get(name), run[name])]
    if changed:
        raise ModelFileError(
            f"{path}: belongs to a run with another {', '.join(changed)}; use the same, or remove the file "
            f"to start anew"
        )
    try:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError):
        raise ModelFileError(
            f"{path}: belongs to another network; remove it to start anew"
        ) from None
    return _progress(path, state)


def _differ(found: Any, wanted: Any) -> bool:
    """Whether two settings differ; a tensor, which compares element by element, is none."""
    return isinstance(found, torch.Tensor) or found != wanted


def read_progress(path: Path) -> TrainingProgress:
    """Progress of an unfinished run.

    Raises:
        ModelFileError: the file is damaged.
    """
    return _progress(path, _read(path))


def _progress(path: Path, state: dict[str, Any]) -> TrainingProgress:
    reader = RecordReader(path, "", state)
    return TrainingProgress(
        epoch=reader.integer("epoch", 0),
        price=reader.number("price", 0),
        seconds=reader.number("seconds", 0),
    )


def _read(path: Path) -> dict[str, Any]:
    state = load_plain_zip(path, f"remove {path} to start anew")
    is_state = isinstance(state, dict) and state.get("format") == _FORMAT
    if not is_state or not isinstance(state.get("run"), dict):
        raise ModelFileError(
            f"{path}: not a training state of this version; remove it to start anew"
        )
    return state
