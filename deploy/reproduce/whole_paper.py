"""Every table and figure of the paper that suits a data set: what there is to run, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deploy.reproduce.direct_training import METHODS, small_study, spiking_network
from deploy.reproduce.experiments import EXPERIMENTS
from deploy.reproduce.paper import IMAGENET_SIZE
from deploy.reproduce.study import Study
from toolchain.datasets import Dataset
from toolchain.method.quantize_activations import average_pooled, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.training.evaluate import as_input


def networks_for(dataset: Dataset) -> tuple[str, ...]:
    """The paper's networks for ImageNet or CIFAR, and smaller ones for grey images."""
    channels, height, _ = dataset.input_shape
    if height >= IMAGENET_SIZE:
        return ("vgg-16", "resnet-34")
    return ("resnet-18", "resnet-20", "vgg-16") if channels == 3 else ("resnet-20", "vgg-9:0.25")


def experiments_for(study: Study) -> list[str]:
    """The summary, and the tables and figures that the paper has of the study's network or the nearest one.

    On other data than the paper's, these are those it has of CIFAR-10, or of ImageNet for large images:
    others would repeat the same measurements beside other numbers.
    """
    return [name for name, entry in EXPERIMENTS.items() if name == "summary" or entry.suits(study)]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds per image, from one timed step of a network with random weights."""

    float_training: float
    quantized_training: float
    inference: float


def measure_pace(study: Study) -> Pace:
    """Time one training step of the float and the quantized network, and one forward pass.

    The quantized network is trained with a teacher, as most are. One step before each is not timed.
    """
    dataset = study.dataset
    shape, classes = dataset.input_shape, dataset.num_classes
    network = average_pooled(build_model(study.architecture, shape, classes, study.width))
    images, labels = _batch(study)
    quantized = quantize_activations(network, TimestepQuantizer, max_pool="average")
    passing = _seconds(lambda: _infer(network, images))
    float_step = _seconds(lambda: _train(network, images, labels))
    quantized_step = _seconds(lambda: _train(quantized, images, labels))
    return Pace(
        float_training=float_step / len(images),
        quantized_training=(quantized_step + passing) / len(images),
        inference=passing / len(images),
    )


def estimated_seconds(study: Study, experiments: Sequence[str], samples: int, pace: Pace) -> float:
    """Time of the trainings that are left, and of the passes over the test images.

    Networks that several experiments share are counted once, and epochs that are trained already are not.
    """
    total = _training_seconds(study, experiments, pace)
    if "table6" in experiments:
        total += direct_training_seconds(study)
    passes = sum(EXPERIMENTS[name].passes for name in experiments)
    return total + passes * min(samples, len(study.dataset.test_labels)) * pace.inference


def direct_training_seconds(study: Study) -> float:
    """Time of the trainings that Table 6 has beside the study's own, from one step of each network."""
    small = small_study(study)
    total = 0.0
    if small.name != study.name:
        total += _training_seconds(small, ["table6"], measure_pace(small))
    images, labels = _batch(small)
    for method in METHODS:
        left = small.epochs + small.further_epochs - small.trained_epochs(method.kind)
        if left > 0:
            network = spiking_network(small, method)
            step = _seconds(partial(_train, network, images, labels))
            total += left * len(study.dataset.train_labels) * step / len(images)
    return total


def _training_seconds(study: Study, experiments: Sequence[str], pace: Pace) -> float:
    total = 0.0
    for kind in trainings_left(study, experiments):
        is_float = kind in ("float", "float-continued")
        per_image = pace.float_training if is_float else pace.quantized_training
        total += epochs_left(study, kind) * len(study.dataset.train_labels) * per_image
    return total


def trainings_left(study: Study, experiments: Sequence[str]) -> list[str]:
    """Kinds of the networks that are not yet trained to the end."""
    kinds = dict.fromkeys(kind for name in experiments for kind in EXPERIMENTS[name].trains)
    return [kind for kind in kinds if epochs_left(study, kind)]


def epochs_left(study: Study, kind: str) -> int:
    """Epochs of one network that are not trained yet."""
    if "-integers" in kind:
        epochs = study.integer_epochs
    else:
        epochs = study.epochs if kind == "float" else study.further_epochs
    return max(0, epochs - study.trained_epochs(kind))


def _batch(study: Study) -> tuple[Tensor, Tensor]:
    dataset = study.dataset
    images = as_input(dataset.train_pixels[: study.batch_size], dataset.max_value)
    return images, torch.from_numpy(dataset.train_labels[: study.batch_size])


def _seconds(step: Callable[[], None]) -> float:
    """Duration of a second call."""
    step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    optimizer.zero_grad()
    F.cross_entropy(network.train()(images), labels).backward()
    optimizer.step()


@torch.inference_mode()
def _infer(network: nn.Module, images: Tensor) -> None:
    network.eval()(images)
