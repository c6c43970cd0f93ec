"""The training loop: one function for float and quantized networks, on one device or many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from toolchain.datasets import Dataset, samples_sha256
from toolchain.errors import OptionError
from toolchain.method.quantizers import SlipRelu, quantizers
from toolchain.training.augmentation import shift_and_mirror
from toolchain.training.checks import (
    fastest_memory_format,
    require_convertible,
    require_logits,
    require_trainable_data,
    require_trainable_module,
)
from toolchain.training.evaluate import as_input
from toolchain.training.plan import TrainingPlan
from toolchain.training.resume import TrainingProgress, load_training_state, save_training_state


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """An epoch of training.

    Attributes:
        loss: mean over the training images, without the price of the budget.
        accuracy: share of right classes of the training images, or of their pixels, while they were trained.
        timesteps: T_l after the epoch, by name of the quantizer.
    """

    epoch: int
    loss: float
    accuracy: float
    timesteps: dict[str, float]


Objective: TypeAlias = Callable[[nn.Module, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""Loss and logits ``(B, classes)`` of a network, images, labels, and the share of epochs that are over."""


def cross_entropy(
    network: nn.Module, images: Tensor, labels: Tensor, progress: float
) -> tuple[Tensor, Tensor]:
    """The usual objective of classes."""
    logits = network(images)
    return F.cross_entropy(logits, labels), logits


MakeOptimizer: TypeAlias = Callable[[nn.Module, TrainingPlan], torch.optim.Optimizer]


def sgd(module: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """SGD with momentum, in groups of weights, clipping levels and timesteps."""
    found = quantizers(module)
    timestep_parameters = [p for q in found.values() for p in q.timestep_parameters()]
    of_timesteps = {id(p) for p in timestep_parameters}
    of_quantizers = {id(p) for q in found.values() for p in q.parameters()}
    clipping = [
        p for q in found.values() for p in q.parameters()
        if id(p) not in of_timesteps and p.requires_grad
    ]  # fmt: skip
    weights = [p for p in module.parameters() if id(p) not in of_quantizers and p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": plan.weight_decay},
        {"params": clipping},
        {
            "params": timestep_parameters,
            "lr": plan.timestep_learning_rate,
            "weight_decay": plan.timestep_weight_decay,
        },
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)


def train(
    module: nn.Module,
    dataset: Dataset,
    plan: TrainingPlan,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    *,
    teacher: nn.Module | None = None,
    state_file: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    make_optimizer: MakeOptimizer = sgd,
    objective: Objective = cross_entropy,
) -> nn.Module:
    """Train a network in place and return it in evaluation mode, reproducibly from the plan's seed.

    A quantized network is converted before the first epoch, so that it is not trained in vain. Weights have
    weight decay, clipping levels have none. Lightning Fabric distributes the training over devices and
    machines; each takes its share of every batch.

    Args:
        teacher: a network whose logits are approached, weighted by ``plan.distillation``.
        state_file: written after each epoch, whole or not at all.
        resume: continue from ``state_file`` if it exists; the result equals that of an uninterrupted run.
        settings: other settings that decide the result, by name, such as the origin of the teacher. A run
            with different settings is not continued.
        objective: the loss without distillation and budget.

    Raises:
        ModelFileError: the state file is damaged, or belongs to another plan, network, data set or other
            settings.
        UnsupportedNetworkError: the network has quantizers and cannot be converted, returns no logits of
            all classes, or has no parameter of float32 to train.
        OptionError: the loss is no longer finite.
        DataError: there are fewer than two training images per process and batch.
    """
    num_processes = plan.devices * plan.nodes
    require_trainable_data(dataset, plan.batch_size, num_processes)
    require_trainable_module(module)
    fabric = Fabric(accelerator="auto", devices=plan.devices, num_nodes=plan.nodes)
    fabric.launch()
    found = quantizers(module)
    if found and not any(isinstance(q, SlipRelu) for q in found.values()):
        require_convertible(module, dataset)
    first = as_input(dataset.train_pixels[:2], dataset.max_value)
    require_logits(module, first, dataset.num_classes)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    memory_format = fastest_memory_format(module, first)
    module.to(memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = make_optimizer(module, plan)
    batch_ends = _batch_ends(len(dataset.train_labels), plan.batch_size, 2 * num_processes)
    steps_per_epoch = len(batch_ends)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=plan.epochs * steps_per_epoch
    )
    done = TrainingProgress(price=0.0 if plan.budget is None else plan.budget.price)
    run: dict[str, Any] = {}
    if state_file is not None:
        data = samples_sha256(dataset.train_pixels, dataset.train_labels)
        run = {**asdict(plan), **(settings or {}), "data": data}
        if resume and state_file.exists():
            done = load_training_state(state_file, run, module, optimizer, schedule)
    price, start = done.price, time.monotonic() - done.seconds
    parallel, fabric_optimizer = fabric.setup(module, optimizer)
    if teacher is not None:
        teacher.eval().to(fabric.device)
    for epoch in range(done.epoch, plan.epochs):
        module.train()
        torch.manual_seed(plan.seed + epoch)
        order = np.random.default_rng((plan.seed, epoch)).permutation(len(dataset.train_labels))
        total = right = 0.0
        for images, labels in _batches(
            dataset, np.split(order, batch_ends[:-1]), plan, fabric, memory_format
        ):
            fabric_optimizer.zero_grad()
            loss, logits = objective(parallel, images, labels, epoch / plan.epochs)
            if teacher is not None and plan.distillation:
                loss = _distilled(loss, logits, teacher, images, plan)
            priced = loss
            if plan.budget is not None and found:
                excess = torch.relu(plan.budget.usage(found) - plan.budget.limit)
                priced = loss + price * excess
                price += plan.budget.price * float(excess.detach()) / steps_per_epoch
            fabric.backward(priced)
            fabric_optimizer.step()
            schedule.step()
            for quantizer in found.values():
                quantizer.clamp_parameters()
            total += float(loss.detach()) * len(labels)
            right += float((logits.detach().argmax(1) == labels).float().mean()) * len(labels)
        if not isfinite(total):
            raise OptionError(
                f"training diverged in epoch {epoch + 1}: the loss is {total}; lower --learning-rate, which "
                f"is {plan.learning_rate:g}"
            )
        report = EpochReport(
            epoch=epoch + 1,
            loss=total * fabric.world_size / len(order),
            accuracy=right * fabric.world_size / len(order),
            timesteps={n: float(q.timesteps.detach()) for n, q in found.items()},
        )
        if state_file is not None and fabric.is_global_zero:
            done = TrainingProgress(epoch + 1, price, time.monotonic() - start)
            save_training_state(state_file, run, module, optimizer, schedule, done)
        on_epoch(report)
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return module.to("cpu").eval()


def is_main_process() -> bool:
    """Whether this is the one process of a distributed run that writes files."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _distilled(
    loss: Tensor, logits: Tensor, teacher: nn.Module, images: Tensor, plan: TrainingPlan
) -> Tensor:
    """Mix the loss with the divergence from the teacher's softened classes (Hinton et al., 2015)."""
    with torch.no_grad():
        targets = F.log_softmax(teacher(images) / plan.temperature, dim=1)
    student = F.log_softmax(logits / plan.temperature, dim=1)
    divergence = F.kl_div(student, targets, reduction="batchmean", log_target=True)
    return (1 - plan.distillation) * loss + plan.distillation * plan.temperature**2 * divergence


class _Samples(TorchDataset):
    """Whole batches by their indices, so that the workers of a loader decode them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        images = as_input(self.dataset.train_pixels[samples], self.dataset.max_value)
        return images, torch.from_numpy(self.dataset.train_labels[samples])


def _batch_ends(num_samples: int, batch_size: int, least: int) -> list[int]:
    """Where each batch ends; a last batch of fewer than ``least`` samples joins the one before it.

    Batch norm cannot take a single sample of a map of one pixel.
    """
    ends = [*range(batch_size, num_samples, batch_size), num_samples]
    if len(ends) > 1 and ends[-1] - ends[-2] < least:
        del ends[-2]
    return ends


def _batches(
    dataset: Dataset,
    batches: list[np.ndarray],
    plan: TrainingPlan,
    fabric: Fabric,
    memory_format: torch.memory_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The part of each batch that belongs to this process."""
    own = [
        part
        for batch in batches
        if len(part := np.array_split(batch, fabric.world_size)[fabric.global_rank])
    ]
    decodes = not isinstance(dataset.train_pixels, np.ndarray)
    workers = torch.get_num_threads() if decodes else 0
    for images, labels in DataLoader(
        _Samples(dataset), batch_size=None, sampler=own, num_workers=workers
    ):
        if plan.augment:
            images = shift_and_mirror(images)
        images = images.contiguous(memory_format=memory_format)
        yield fabric.to_device(images), fabric.to_device(labels)
