"""From a plain ReLU network to a spiking network, without training it (post-training conversion).

``steps`` does the work. Each step is measured on held-out images with the user's float network as teacher,
and undone if it does not lower the error there.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from toolchain.datasets import Dataset
from toolchain.errors import DataError, OptionError
from toolchain.importers.foreign.foreign_network import ForeignNetwork
from toolchain.importers.torch_module import Normalization
from toolchain.method.calibration import HELD_OUT_SHARE
from toolchain.method.float_snn import input_current
from toolchain.networks.layer_graph import LayerGraph, has_classes
from toolchain.post_training.activation_groups import (
    mean_timesteps,
)
from toolchain.post_training.closed_form import (
    logits_in_parts,
    relu_with_clips,
    spiking,
)
from toolchain.post_training.float_network import read_float_network
from toolchain.post_training.plan import (
    OnProgress,
    OnStep,
    PostTrained,
    PostTrainingPlan,
    TestAccuracy,
)
from toolchain.post_training.stepped_check import compare_with_stepped
from toolchain.post_training.steps import (
    LARGEST_TIMESTEPS,
    LEAST_SAMPLES,
    ConversionSteps,
    timesteps_of,
)


def convert_post_training(
    network: ForeignNetwork | nn.Module | ExportedProgram,
    dataset: Dataset,
    plan: PostTrainingPlan,
    normalization: Normalization | None = None,
    *,
    on_step: OnStep = lambda step: None,
    on_progress: OnProgress = lambda name, done, total: None,
) -> PostTrained:
    """Convert a trained ReLU network to a spiking network with a given mean of T.

    Labels are used to report accuracies alone. Test images are used at the end, to report them. The result is
    the same for the same seed.

    Args:
        network: a plain ReLU network, without quantizers.
        dataset: images; those of the training split calibrate.
        normalization: as ``convert`` takes it.

    Raises:
        UnsupportedNetworkError: the network has quantizers or an operation without a spiking form, or the
            layer graph differs from it.
        DataError: there are too few training images, or they have another shape.
        OptionError: the plan asks for less than one timestep, or for too many.
    """
    _check(plan, dataset)
    start = time.monotonic()
    chosen = np.random.default_rng(plan.seed).permutation(len(dataset.train_pixels))[: plan.samples]
    pixels = np.asarray(dataset.train_pixels[chosen])
    read = read_float_network(
        network, dataset.input_shape, dataset.max_value, normalization, pixels
    )
    _check_classes(read.graph, dataset)
    num_held_out = max(1, round(HELD_OUT_SHARE * len(pixels)))
    images = input_current(read.graph, pixels, torch.float32)
    run = ConversionSteps(
        plan=plan,
        teacher=read.graph,
        activate=relu_with_clips(read.clips),
        clips=read.clips,
        fit=images[num_held_out:],
        held_out=images[:num_held_out],
        labels=dataset.train_labels[chosen[:num_held_out]],
        report=on_step,
        on_progress=on_progress,
        start=start,
    )
    run.note_float_network(
        f"{read.source}, logits equal to those of {read.judge} on {read.num_compared} samples"
    )
    graph = run.convert()
    if plan.finetune_epochs:
        rest = np.setdiff1d(np.arange(len(dataset.train_pixels)), chosen[:num_held_out])

        def images_of(samples: np.ndarray) -> Tensor:
            return input_current(graph, dataset.train_pixels[rest[samples]], torch.float32)

        graph = run.finetune(graph, images_of, len(rest))
    compare_with_stepped(graph, pixels[:4])
    steps = {n: timesteps_of(graph)[n] for group in run.groups for n in group.activations}
    return PostTrained(
        graph=graph,
        steps=tuple(run.steps),
        timesteps=steps,
        mean_timesteps=mean_timesteps(run.groups, steps),
        source=read.source,
        judge=read.judge,
        num_compared=read.num_compared,
        test=_test_accuracy(run, graph, dataset),
        notes=(*read.notes, *run.notes),
    )


def _check_classes(graph: LayerGraph, dataset: Dataset) -> None:
    classes = graph.readout.shape[0]
    if has_classes(graph.readout) and classes != dataset.num_classes:
        raise DataError(
            f"the network has {classes} classes, but data set '{dataset.name}' has {dataset.num_classes}; "
            f"choose the data set it was trained on"
        )


def _check(plan: PostTrainingPlan, dataset: Dataset) -> None:
    if not 1 <= plan.mean_timesteps <= LARGEST_TIMESTEPS:
        raise OptionError(
            f"the mean of T must be from 1 to {LARGEST_TIMESTEPS}, not {plan.mean_timesteps:g}"
        )
    most = plan.max_timesteps
    if most is not None and not plan.mean_timesteps <= most <= LARGEST_TIMESTEPS:
        raise OptionError(
            f"the largest T must be from the mean of T, {plan.mean_timesteps:g}, to {LARGEST_TIMESTEPS}, not "
            f"{most}"
        )
    if min(plan.calibration_epochs, plan.finetune_epochs) < 0:
        raise OptionError("the number of epochs must be 0 or more")
    found = min(plan.samples, len(dataset.train_pixels))
    if found < LEAST_SAMPLES:
        raise DataError(
            f"{dataset.name}: post-training conversion needs {LEAST_SAMPLES} training images or more, not "
            f"{found}; use more of the data set"
        )


def _test_accuracy(
    run: ConversionSteps, graph: LayerGraph, dataset: Dataset
) -> TestAccuracy | None:
    """Accuracies on test images; None if labels are no classes of images."""
    if not run.has_classes or dataset.test_labels.ndim != 1 or not run.plan.test_samples:
        return None
    labels = dataset.test_labels[: run.plan.test_samples]
    ours: list[np.ndarray] = []
    theirs: list[np.ndarray] = []
    for start in range(0, len(labels), run.samples_per_pass):
        stop = min(start + run.samples_per_pass, len(labels))
        images = input_current(graph, dataset.test_pixels[start:stop], torch.float32)
        for found, of, activate in (
            (ours, graph, spiking(graph, torch.float32)),
            (theirs, run.teacher, run.activate),
        ):
            found.append(logits_in_parts(of, images, activate).argmax(dim=1).numpy())
        run.on_progress("test images", stop, len(labels))
    converted, of_float = np.concatenate(ours), np.concatenate(theirs)
    return TestAccuracy(
        samples=len(labels),
        float_network=float((of_float == labels).mean()),
        converted=float((converted == labels).mean()),
        agreement=float((converted == of_float).mean()),
    )
