"""The budget of timesteps that a user chooses, and the weight decay that goes with it."""

from __future__ import annotations

from typing import TypedDict

from toolchain.errors import OptionError
from toolchain.training import TimestepBudget

DEFAULT_MEAN_TIMESTEPS = 2.5
_DECAY_WITHOUT_BUDGET = 5e-4  # of the paper, in which decay alone lowers T


class TimestepSettings(TypedDict):
    """Fields of a ``TrainingPlan`` that lower T."""

    budget: TimestepBudget | None
    timestep_weight_decay: float


def timestep_settings(mean_timesteps: float | None, interval: int | None) -> TimestepSettings:
    """What lowers T in training: a limit of the mean or the largest T, or weight decay if both are None.

    Raises:
        OptionError: both limits are given, or one is below 1.
    """
    if mean_timesteps is not None and interval is not None:
        raise OptionError(
            f"--mean-timesteps {mean_timesteps:g} and --interval {interval} exclude each other; leave out one"
        )
    for option, limit in (("--mean-timesteps", mean_timesteps), ("--interval", interval)):
        if limit is not None and not limit >= 1:
            raise OptionError(f"{option} must be at least 1, not {limit:g}")
    if mean_timesteps is not None:
        budget = TimestepBudget(kind="mean", limit=mean_timesteps)
    elif interval is not None:
        budget = TimestepBudget(kind="interval", limit=interval)
    else:
        return {"budget": None, "timestep_weight_decay": _DECAY_WITHOUT_BUDGET}
    return {"budget": budget, "timestep_weight_decay": 0.0}
