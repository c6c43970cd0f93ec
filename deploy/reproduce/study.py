"""The networks that the experiments share, trained once and kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toolchain.datasets import Dataset
from toolchain.importers.torch_module import convert
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
from toolchain.networks.layer_graph import LayerGraph
from toolchain.training import (
    EpochReport,
    Objective,
    TimestepBudget,
    TrainingPlan,
    cross_entropy,
    train,
)
from toolchain.training.evaluate import as_input
from toolchain.training.resume import read_progress

OnEpoch = Callable[[str, EpochReport], None]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One architecture on one data set, and the length of its training.

    A float ANN is trained first. All other networks continue from it for the same number of epochs, so that
    differences come from the activations and not from the training time. The float ANN that they are
    compared with is also trained for these epochs, and is their teacher.

    Attributes:
        width: factor on the channels of the architecture.
        folder: folder of the training states.
        epochs: epochs of the float ANN.
        further_epochs: epochs of each network that continues from the float ANN.
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
    def label(self) -> str:
        """Network and data set, for titles."""
        return f"{self.name} on {self.dataset.name}"

    @property
    def file_label(self) -> str:
        """The network's name without characters that file names should not have."""
        return self.name.replace(":", "x")

    def test_images(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(samples, C, H, W)`` of the first test images, and their classes ``(samples,)``."""
        return self.dataset.test_pixels[:samples], self.dataset.test_labels[:samples]

    def converted(self, module: nn.Module) -> LayerGraph:
        """The layer graph of a trained module."""
        return convert(module, self.dataset.input_shape, self.dataset.max_value)

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
        """The float ANN after the further epochs of the quantized networks."""
        return self._train("float-continued", self.float_ann(), self.further_plan)

    def qac_network(
        self, case: int = 4, budget: TimestepBudget | None = None, name: str | None = None
    ) -> nn.Module:
        """The quantized ANN of the paper; by default Case 4 with a budget for the mean of T."""
        budget = budget or TimestepBudget(limit=self.mean_timesteps, price=0.05)
        module = self.with_activations(QUANTIZER_CASES[case])
        plan = replace(self.quantized_plan, budget=budget)
        return self._train(name or f"qac-case{case}", module, plan, self.continued_ann())

    def unbudgeted_network(self, case: int, module: nn.Module | None = None) -> nn.Module:
        """A quantized ANN in the paper's own setting, in which only weight decay lowers T."""
        name = f"unbudgeted-case{case}" if module is None else f"unbounded-case{case}"
        module = module or self.with_activations(QUANTIZER_CASES[case])
        plan = replace(self.further_plan, timestep_weight_decay=self.plan.weight_decay)
        return self._train(name, module, plan)

    def qcfs_network(self, levels: int) -> nn.Module:
        """The quantized ANN of QCFS (Bu et al., 2022), with L levels in every layer."""
        module = self.with_activations(lambda: FixedTimestepQuantizer(levels))
        return self._train(f"qcfs-L{levels}", module, self.quantized_plan, self.continued_ann())

    def sliprelu_network(self, levels: int) -> nn.Module:
        """The ANN of SlipReLU (Jiang et al., 2023)."""
        module = self.with_activations(lambda: SlipRelu(levels))
        return self._train(f"sliprelu-L{levels}", module, self.quantized_plan, self.continued_ann())

    def directly_trained(self, name: str, module: nn.Module, objective: Objective) -> nn.Module:
        """A network trained from random weights, for the epochs of the float ANN and those further ones."""
        plan = replace(self.plan, epochs=self.epochs + self.further_epochs)
        return self._train(
            f"direct-{name.lower().replace(' ', '-')}", module, plan, objective=objective
        )

    def with_activations(self, make_quantizer: Callable[[], ActivationQuantizer]) -> nn.Module:
        """The float ANN with other activations, whose clipping levels are balanced on training images."""
        module = quantize_activations(self.float_ann(), make_quantizer, max_pool="average")
        images = self.dataset.train_pixels[:512]
        balance_thresholds(module, as_input(images, self.dataset.max_value))
        return module

    def training_seconds(self) -> dict[str, float]:
        """Training time of each network of this study."""
        prefix = f"{self._stem}."
        return {
            path.name.removeprefix(prefix).removesuffix(".training"): read_progress(path).seconds
            for path in sorted(self.folder.glob(f"{prefix}*.training"))
        }

    @property
    def _stem(self) -> str:
        seed = f".seed{self.seed}" if self.seed else ""
        return f"{Path(self.dataset.name).stem}.{self.file_label}{seed}"

    def _train(
        self,
        kind: str,
        module: nn.Module,
        plan: TrainingPlan,
        teacher: nn.Module | None = None,
        objective: Objective = cross_entropy,
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
            objective=objective,
        )
