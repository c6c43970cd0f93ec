"""Train a network and write it as a model file (Algorithm 1, top to bottom)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch

from deploy.train.integer_training import (
    IntegerOptions,
    integer_report,
    require_same,
    train_integers,
)
from toolchain.datasets import Dataset, data_record, load_dataset
from toolchain.errors import DataError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import TRAINING_STATE, require_replaceable_file
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.max_pooling import MaxPool
from toolchain.method.quantize_activations import (
    average_pooled,
    balance_thresholds,
    quantize_activations,
)
from toolchain.method.quantizers import QUANTIZER_CASES, quantizers
from toolchain.model_zoo import build_model
from toolchain.training import (
    EpochReport,
    TrainingPlan,
    accuracy,
    ann_logits,
    is_main_process,
    train,
)
from toolchain.training.checks import require_convertible
from toolchain.training.evaluate import as_input


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of ``qac-deploy train``.

    Attributes:
        case: quantizer of the paper, 1 to 4.
        max_timesteps: upper bound of every T.
        max_pool: whether max pooling stays, or becomes average pooling as in Algorithm 1.
        float_epochs: epochs of the float ANN whose weights quantized training starts from; 0 starts with
            random weights.
        plan: of quantized training.
        integers: of the target, with which training ends; None trains float weights alone.
    """

    data: str
    architecture: str
    width: float
    case: int
    float_epochs: int
    plan: TrainingPlan
    max_timesteps: int = 16
    max_pool: MaxPool = "average"
    integers: IntegerOptions | None = None


class TrainReport(TypedDict):
    """The trained network.

    Attributes:
        budget_exceeded_by: use of the timestep budget above its limit; 0 within it or without one.
        at_the_cap: populations whose T is ``max_timesteps``, and might be larger without it.
        training: the record in the model file.
    """

    model: str
    timesteps: dict[str, int]
    mean_timesteps: float
    budget_exceeded_by: float
    at_the_cap: list[str]
    training: dict[str, object]


def train_model(
    out: Path,
    options: TrainOptions,
    on_epoch: Callable[[str, EpochReport], None] = lambda phase, report: None,
    *,
    on_data: Callable[[str], None] = lambda description: None,
    resume: bool = False,
) -> TrainReport | None:
    """Train, convert, compare the float SNN with the quantized ANN on every test image, and save.

    Returns:
        The report; None in all processes of a distributed run but the main one.

    Raises:
        QacDeployError: the data set or architecture is unknown, or a state file is of another run.
    """
    dataset = load_dataset(options.data)
    require_one_class_per_image(dataset)
    on_data(dataset.description)
    if options.integers is not None:
        _ = options.integers.widths  # a target that is not there is refused before the first epoch
    phases = ("float", "qac", "integer")
    states = {phase: out.with_name(f"{out.name}.{phase}.training") for phase in phases}
    for state in states.values():
        require_replaceable_file(state, TRAINING_STATE)
    torch.manual_seed(options.plan.seed)
    ann = build_model(options.architecture, dataset.input_shape, dataset.num_classes, options.width)
    most = options.max_timesteps
    make_quantizer = partial(
        QUANTIZER_CASES[options.case], timesteps=min(4, most), max_timesteps=most
    )
    module = quantize_activations(ann, make_quantizer, max_pool=options.max_pool)
    accuracies, teacher = {}, None
    settings = {
        "architecture": options.architecture,
        "width": options.width,
        "case": options.case,
        "float_epochs": options.float_epochs,
        "max_timesteps": options.max_timesteps,
        "max_pool": options.max_pool,
    }
    if options.float_epochs:
        require_convertible(module, dataset)
        teacher = train(
            average_pooled(ann) if options.max_pool == "average" else ann,
            dataset,
            replace(options.plan, epochs=options.float_epochs, budget=None, distillation=0.0),
            lambda report: on_epoch("float", report),
            state_file=states["float"],
            resume=resume,
            settings=settings,
        )
        logits = ann_logits(teacher, dataset.test_pixels, dataset.max_value)
        accuracies["float_ann_accuracy"] = accuracy(logits, dataset.test_labels)
        module = quantize_activations(teacher, make_quantizer, max_pool=options.max_pool)
        balance_thresholds(module, as_input(dataset.train_pixels[:512], dataset.max_value))
    train(
        module,
        dataset,
        options.plan,
        lambda report: on_epoch("quantized", report),
        teacher=teacher,
        state_file=states["qac"],
        resume=resume,
        settings=settings,
    )
    graph = convert(module, dataset.input_shape, dataset.max_value, samples=dataset.train_pixels)
    trained = graph
    if options.integers is not None:
        trained = train_integers(
            graph,
            dataset,
            options.integers,
            options.plan,
            lambda report: on_epoch("integer", report),
            state_file=states["integer"],
            resume=resume,
            settings=settings,
        )
    if not is_main_process():
        return None
    quantized = ann_logits(module, dataset.test_pixels, dataset.max_value)
    spiking = run_float_snn(graph, dataset.test_pixels).logits
    timesteps = {p.name: p.timesteps for p in graph.spiking}
    budget = options.plan.budget
    used = 0.0 if budget is None else float(budget.usage(quantizers(module)).detach())
    training: dict[str, object] = {
        **data_record(dataset, out),
        "architecture": options.architecture,
        "width": options.width,
        "quantizer_case": options.case,
        "max_timesteps": options.max_timesteps,
        "max_pool": options.max_pool,
        "float_epochs": options.float_epochs,
        "epochs": options.plan.epochs,
        "seed": options.plan.seed,
        "timestep_budget": None if budget is None else {"kind": budget.kind, "limit": budget.limit},
        "test_samples": len(quantized),
        **accuracies,
        "quantized_ann_accuracy": accuracy(quantized, dataset.test_labels),
        "float_snn_accuracy": accuracy(spiking, dataset.test_labels),
        "same_argmax": int((quantized.argmax(1) == spiking.argmax(1)).sum()),
        "largest_logit_difference": float(abs(quantized - spiking).max()),
    }
    if options.integers is not None:
        training["integers"] = require_same(
            integer_report(graph, trained, dataset, options.integers)
        )
    save_checkpoint(out, Checkpoint(trained, training))
    for state in states.values():
        state.unlink(missing_ok=True)
    return {
        "model": str(out),
        "timesteps": timesteps,
        "mean_timesteps": sum(timesteps.values()) / len(timesteps),
        "budget_exceeded_by": 0.0 if budget is None else max(0.0, used - budget.limit),
        "at_the_cap": [n for n, t in timesteps.items() if t == options.max_timesteps],
        "training": training,
    }


def require_one_class_per_image(dataset: Dataset) -> None:
    """Require labels that are classes of images, which the loss takes.

    Raises:
        DataError: they are maps.
    """
    if dataset.train_labels.ndim != 1:
        raise DataError(
            f"data set '{dataset.name}': its labels are maps of {dataset.train_labels.shape[1:]}, but "
            f"`qac-deploy train` takes one class per image; train a network of your own on it in Python "
            f"(README.md)"
        )
