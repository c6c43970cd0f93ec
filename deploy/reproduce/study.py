"""The networks that the experiments share, trained once and kept in a folder."""

from __future__ import annotations

import copy
import glob
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

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
from toolchain.networks.integer_network import IntegerNetwork, IntegerWidths
from toolchain.networks.layer_graph import LayerGraph
from toolchain.rounding.lower_on_images import lower_on_dataset
from toolchain.training import (
    EpochReport,
    MakeOptimizer,
    Objective,
    TimestepBudget,
    TrainingPlan,
    cross_entropy,
    sgd,
    train,
)
from toolchain.training.evaluate import as_input
from toolchain.training.integer_aware import (
    INTEGER_LEARNING_RATE,
    FloatNetwork,
    IntegerAwareNetwork,
    relative_adam,
)
from toolchain.training.resume import read_progress

OnEpoch = Callable[[str, EpochReport], None]
Value = TypeVar("Value")

_OTHER_SEED = re.compile(r"seed\d+\.")
"""How the kind of a network begins if its file is that of a seed, and the study's seed is 0."""


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
        seed: of the initial weights and the order of the samples; each has training states of its own.
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
    _kept: dict[object, object] = field(default_factory=dict, init=False, repr=False, compare=False)

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

    def once(self, key: object, compute: Callable[[], Value]) -> Value:
        """What several experiments need, computed the first time that it is asked for."""
        if key not in self._kept:
            self._kept[key] = compute()
        return cast(Value, self._kept[key])

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

        def untrained() -> nn.Module:
            torch.manual_seed(self.seed)
            shape, classes = self.dataset.input_shape, self.dataset.num_classes
            return average_pooled(build_model(self.architecture, shape, classes, self.width))

        return self._train("float", untrained, self.plan)

    def continued_ann(self) -> nn.Module:
        """The float ANN after the further epochs of the quantized networks."""
        return self._train("float-continued", self.float_ann, self.further_plan)

    def qac_network(
        self, case: int = 4, budget: TimestepBudget | None = None, name: str | None = None
    ) -> nn.Module:
        """The quantized ANN of the paper; by default Case 4 with a budget for the mean of T."""
        budget = budget or TimestepBudget(limit=self.mean_timesteps, price=0.05)
        return self._train(
            name or f"qac-case{case}",
            lambda: self.with_activations(QUANTIZER_CASES[case]),
            replace(self.quantized_plan, budget=budget),
            self.continued_ann,
        )

    def qac_graph(self) -> LayerGraph:
        """The layer graph of the paper's network."""
        return self.once("qac graph", lambda: self.converted(self.qac_network()))

    def unbudgeted_network(
        self, case: int, unbounded: Callable[[], ActivationQuantizer] | None = None
    ) -> nn.Module:
        """A quantized ANN in the paper's own setting, in which only weight decay lowers T.

        Args:
            unbounded: makes a quantizer of the case without a bound for T; None for the usual one.
        """
        return self._train(
            f"{'unbounded' if unbounded else 'unbudgeted'}-case{case}",
            lambda: self.with_activations(unbounded or QUANTIZER_CASES[case]),
            replace(self.further_plan, timestep_weight_decay=self.plan.weight_decay),
        )

    def qcfs_network(self, levels: int) -> nn.Module:
        """The quantized ANN of QCFS (Bu et al., 2022), with L levels in every layer."""
        return self._train(
            f"qcfs-L{levels}",
            lambda: self.with_activations(lambda: FixedTimestepQuantizer(levels)),
            self.quantized_plan,
            self.continued_ann,
        )

    def sliprelu_network(self, levels: int) -> nn.Module:
        """The ANN of SlipReLU (Jiang et al., 2023)."""
        return self._train(
            f"sliprelu-L{levels}",
            lambda: self.with_activations(lambda: SlipRelu(levels)),
            self.quantized_plan,
            self.continued_ann,
        )

    @property
    def integer_epochs(self) -> int:
        """Epochs of training with integers, which starts from a trained network."""
        return max(1, self.further_epochs // 4)

    def integer_network(
        self, graph: LayerGraph, widths: IntegerWidths, kind: str
    ) -> IntegerNetwork:
        """The integers of a target that are trained from a network, with the network as teacher."""
        module = self._train(
            kind,
            lambda: IntegerAwareNetwork(
                lower_on_dataset(graph, widths, self.dataset).network, widths
            ),
            replace(
                self.quantized_plan,
                epochs=self.integer_epochs,
                learning_rate=INTEGER_LEARNING_RATE,
            ),
            lambda: FloatNetwork(graph),
            make_optimizer=relative_adam,
        )
        assert isinstance(module, IntegerAwareNetwork)
        return module.integer_network()

    def directly_trained(
        self, kind: str, untrained: Callable[[], nn.Module], objective: Objective
    ) -> nn.Module:
        """A network trained from random weights, for the epochs of the float ANN and those further ones."""
        plan = replace(self.plan, epochs=self.epochs + self.further_epochs)
        return self._train(kind, untrained, plan, objective=objective)

    def with_activations(self, make_quantizer: Callable[[], ActivationQuantizer]) -> nn.Module:
        """The float ANN with other activations, whose clipping levels are balanced on training images."""
        module = quantize_activations(self.float_ann(), make_quantizer, max_pool="average")
        images = self.dataset.train_pixels[:512]
        balance_thresholds(module, as_input(images, self.dataset.max_value))
        return module

    def training_seconds(self) -> dict[str, float]:
        """Training time of each network of this study."""
        prefix = f"{self._stem}."
        kinds = {
            path.name.removeprefix(prefix).removesuffix(".training"): path
            for path in sorted(self.folder.glob(f"{glob.escape(prefix)}*.training"))
        }
        own = {kind: path for kind, path in kinds.items() if not _OTHER_SEED.match(kind)}
        return {kind: read_progress(path).seconds for kind, path in own.items()}

    def trained_epochs(self, kind: str) -> int:
        """Epochs of one network that are trained already."""
        state = self._state_file(kind)
        return read_progress(state).epoch if state.exists() else 0

    @property
    def _stem(self) -> str:
        seed = f".seed{self.seed}" if self.seed else ""
        return f"{Path(self.dataset.name).stem}.{self.file_label}{seed}"

    def _state_file(self, kind: str) -> Path:
        return self.folder / f"{self._stem}.{kind}.training"

    def _train(
        self,
        kind: str,
        untrained: Callable[[], nn.Module],
        plan: TrainingPlan,
        teacher: Callable[[], nn.Module] | None = None,
        make_optimizer: MakeOptimizer = sgd,
        objective: Objective = cross_entropy,
    ) -> nn.Module:
        """A trained network, which belongs to the caller."""

        seed = f", seed {self.seed}" if self.seed else ""

        def trained() -> nn.Module:
            self.folder.mkdir(parents=True, exist_ok=True)
            return train(
                untrained(),
                self.dataset,
                plan,
                lambda report: self.on_epoch(f"{self.name} {kind}{seed}", report),
                teacher=None if teacher is None else teacher(),
                state_file=self._state_file(kind),
                resume=True,
                make_optimizer=make_optimizer,
                objective=objective,
            )

        return copy.deepcopy(self.once(("network", kind), trained))
