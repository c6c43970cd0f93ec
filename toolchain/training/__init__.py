"""Quantization-aware training (Algorithm 1) of any network, with a budget for its timesteps."""

from toolchain.training.evaluate import accuracy, ann_logits
from toolchain.training.loop import (
    EpochReport,
    MakeOptimizer,
    Objective,
    cross_entropy,
    is_main_process,
    sgd,
    train,
)
from toolchain.training.plan import TimestepBudget, TrainingPlan

__all__ = [
    "EpochReport",
    "MakeOptimizer",
    "Objective",
    "TimestepBudget",
    "TrainingPlan",
    "accuracy",
    "ann_logits",
    "cross_entropy",
    "is_main_process",
    "sgd",
    "train",
]
