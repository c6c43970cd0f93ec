"""The networks that the experiments share: trained once, kept in a folder, and resumed from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from toolchain.datasets import Dataset
from toolchain.method.quantize_activations import (
    average_pooled,
    balance_thresholds,
    quantize_activations,
)
from toolchain.method.quantizers import (
    QUANTIZER_CASES,
    ActivationQuantizer,
    FixedTimestepQuantizer,
    SlipRelu,
)
from toolchain.model_zoo import build_model
from toolchain.training import EpochReport, TimestepBudget, TrainingPlan, train
from toolchain.training.evaluate import as_input
from toolchain.training.resume import read_progress

OnEpoch = Callable[[str, EpochReport], None]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One architecture on one data set, and how long to train it.

    A float ANN is trained first. Everything else goes on from it, with the same number of further
    epochs, so that differences come from the activation and not from the time spent. The float ANN that
    the others are compared with has had these epochs too, and is the teacher of all of them.

    Attributes:
        width: factor on the channels of the architecture.
        folder: where training states are kept.
        epochs: of the float ANN.
        further_epochs: of each network that goes on from it.
        mean_timesteps: budget for the mean of T.
        distillation: share of the loss that follows the teacher.
    """

    architecture: str
    width: float
    dataset: Dataset
    folder: Path
    epochs: int
    further_epochs: int
    mean_timesteps: float = 2.8
    distillation: float = 0.5
    batch_size: int = 128
    seed: int = 0
    on_epoch: OnEpoch = lambda name, report: None

    @property
    def name(self) -> str:
        return self.architecture if self.width == 1 else f"{self.architecture}:{self.width:g}"

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan(
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            augment=self.dataset.input_shape[0] == 3,
            budget=None,
        )

    @property
    def further_plan(self) -> TrainingPlan:
        return replace(
            self.plan, epochs=self.further_epochs, learning_rate=self.plan.learning_rate / 2
        )

    @property
    def quantized_plan(self) -> TrainingPlan:
        return replace(self.further_plan, distillation=self.distillation)

    def float_ann(self) -> nn.Module:
        """The ANN with ReLU and average pooling."""
        torch.manual_seed(self.seed)
        shape, classes = self.dataset.input_shape, self.dataset.num_classes
        module = average_pooled(build_model(self.architecture, shape, classes, self.width))
        return self._train("float", module, self.plan)

    def continued_ann(self) -> nn.Module:
        """The float ANN after as many further epochs as the quantized networks get."""
        return self._train("float-continued", self.float_ann(), self.further_plan)

    def qac_network(
        self, case: int = 4, budget: TimestepBudget | None = None, name: str | None = None
    ) -> nn.Module:
        """The quantized ANN of the paper, by default Case 4 under the mean budget."""
        budget = budget or TimestepBudget(limit=self.mean_timesteps, price=0.05)
        module = self.with_activations(QUANTIZER_CASES[case])
        plan = replace(self.quantized_plan, budget=budget)
        return self._train(name or f"qac-case{case}", module, plan, self.continued_ann())

    def unbudgeted_network(self, case: int, module: nn.Module | None = None) -> nn.Module:
        """A quantized ANN in the paper's own setting: weight decay alone lowers T."""
        name = f"unbudgeted-case{case}" if module is None else f"unbounded-case{case}"
        module = module or self.with_activations(QUANTIZER_CASES[case])
        plan = replace(self.further_plan, timestep_weight_decay=self.plan.weight_decay)
        return self._train(name, module, plan)

    def qcfs_network(self, levels: int) -> nn.Module:
        """The quantized ANN of QCFS (Bu et al., 2022): L levels in every layer."""
        module = self.with_activations(lambda: FixedTimestepQuantizer(levels))
        return self._train(f"qcfs-L{levels}", module, self.quantized_plan, self.continued_ann())

    def sliprelu_network(self, levels: int) -> nn.Module:
        """The ANN of SlipReLU (Jiang et al., 2023)."""
        module = self.with_activations(lambda: SlipRelu(levels))
        return self._train(f"sliprelu-L{levels}", module, self.quantized_plan, self.continued_ann())

    def with_activations(self, make_quantizer: Callable[[], ActivationQuantizer]) -> nn.Module:
        """The float ANN with other activations, their clipping levels balanced on training images."""
        module = quantize_activations(self.float_ann(), make_quantizer)
        images = self.dataset.train_pixels[:512]
        balance_thresholds(module, as_input(images, self.dataset.max_value))
        return module

    def training_seconds(self) -> dict[str, float]:
        """Time that each network of this study took to train."""
        prefix = f"{self._stem}."
        return {
            path.name.removeprefix(prefix).removesuffix(".training"): read_progress(path).seconds
            for path in sorted(self.folder.glob(f"{prefix}*.training"))
        }

    @property
    def _stem(self) -> str:
        return f"{Path(self.dataset.name).stem}.{self.name.replace(':', 'x')}"

    def _train(
        self, kind: str, module: nn.Module, plan: TrainingPlan, teacher: nn.Module | None = None
    ) -> nn.Module:
        self.folder.mkdir(parents=True, exist_ok=True)
        return train(
            module,
            self.dataset,
            plan,
            lambda report: self.on_epoch(f"{self.name} {kind}", report),
            teacher=teacher,
            state_file=self.folder / f"{self._stem}.{kind}.training",
            resume=True,
        )
