"""Train a spiking network with the integers of its target in the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import Dataset
from toolchain.errors import UnsupportedNetworkError
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network import IntegerWidths
from toolchain.networks.layer_graph import LayerGraph, has_classes
from toolchain.passes import lower_to_integers
from toolchain.passes.integers_as_graph import integers_as_graph
from toolchain.rounding.lower_on_images import lower_on_dataset
from toolchain.training import EpochReport, TrainingPlan, train
from toolchain.training.integer_aware import (
    FloatNetwork,
    IntegerAwareNetwork,
    relative_adam,
)

DISTILLATION = 0.5
"""Share of the loss that follows the network whose integers are trained."""

_SAMPLES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class IntegerOptions:
    """The integers to train with, and how long.

    Attributes:
        target: name or file of a target.
        weight_bits: None takes the target's.
    """

    target: str
    weight_bits: int | None = None
    epochs: int = 2

    @property
    def widths(self) -> IntegerWidths:
        """Widths of the target with these weights.

        Raises:
            TargetError: there is no such target, or its file is wrong.
        """
        widths = load_target(self.target).widths
        return widths if self.weight_bits is None else replace(widths, weight_bits=self.weight_bits)


class IntegerReport(TypedDict):
    """What training with integers gained, on all test images.

    Attributes:
        before: accuracy of the network that training started from, in float weights.
        rounded: that of the integers that ``compile`` makes of it, from which training starts.
        after: that of the trained integers. Accuracies are None if there are no classes.
        same_class, different_counts: compared between the trained network and the integer network that
            ``compile`` makes of it.
    """

    target: str
    weight_bits: int
    epochs: int
    test_samples: int
    before: float | None
    rounded: float | None
    after: float | None
    same_class: int
    different_counts: int


def train_integers(
    graph: LayerGraph,
    dataset: Dataset,
    options: IntegerOptions,
    plan: TrainingPlan,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    *,
    state_file: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> LayerGraph:
    """Train the integers that a target would make of a network.

    The network itself, with float weights, is the teacher. The result holds the integers in real numbers, so
    that ``compile`` for this target makes exactly them of it.

    Args:
        graph: stays untouched.
        plan: of everything but the teacher and the timesteps, which stay.

    Returns:
        The trained network; in a distributed run, in each process.

    Raises:
        UnsupportedNetworkError: the network has no closed form, or no integer form.
        IntegerWidthError: the target cannot hold the integers.
    """
    widths = options.widths
    module = IntegerAwareNetwork(lower_on_dataset(graph, widths, dataset).network, widths)
    train(
        module,
        dataset,
        replace(plan, epochs=options.epochs, budget=None, distillation=DISTILLATION),
        on_epoch,
        teacher=FloatNetwork(graph),
        state_file=state_file,
        resume=resume,
        settings={**(settings or {}), "widths": _plain(widths)},
        make_optimizer=relative_adam,
    )
    return integers_as_graph(module.integer_network())


def _plain(widths: IntegerWidths) -> dict[str, int | None]:
    return {name: getattr(widths, name) for name in widths.__dataclass_fields__}


def integer_report(
    before: LayerGraph, trained: LayerGraph, dataset: Dataset, options: IntegerOptions
) -> IntegerReport:
    """Run a network, its integers before training, and those that were trained, on every test image.

    Args:
        before: the network that training started from.
        trained: the result of ``train_integers``.
    """
    rounded = lower_on_dataset(before, options.widths, dataset).network
    compiled = lower_to_integers(trained, options.widths)
    right = np.zeros(3)
    same = different = 0
    num = len(dataset.test_labels)
    for start in range(0, num, _SAMPLES_AT_ONCE):
        pixels = np.asarray(dataset.test_pixels[start : start + _SAMPLES_AT_ONCE])
        labels = dataset.test_labels[start : start + _SAMPLES_AT_ONCE]
        floats = run_float_snn(trained, pixels, with_counts=True)
        integers = run_exact(compiled, pixels)
        same += int((floats.logits.argmax(1) == integers.predictions).sum())
        for name, counts in floats.counts.items():
            different += int((counts != integers.counts[name]).sum())
        if has_classes(before.readout):
            classes = (
                run_float_snn(before, pixels, dtype=torch.float32).logits.argmax(1),
                run_exact(rounded, pixels).predictions,
                integers.predictions,
            )
            right += [(found == labels).sum() for found in classes]
    accuracies: list[float | None] = [None] * 3
    if has_classes(before.readout):
        accuracies = [float(n / num) for n in right]
    return {
        "target": options.target,
        "weight_bits": options.widths.weight_bits,
        "epochs": options.epochs,
        "test_samples": num,
        "before": accuracies[0],
        "rounded": accuracies[1],
        "after": accuracies[2],
        "same_class": same,
        "different_counts": different,
    }


def require_same(report: IntegerReport) -> IntegerReport:
    """Require that the compiled network is the trained one; return the report.

    Raises:
        UnsupportedNetworkError: a class or a spike count differs.
    """
    if report["same_class"] < report["test_samples"] or report["different_counts"]:
        raise UnsupportedNetworkError(
            f"the integers that compile makes for {report['target']} are not those that were trained: the "
            f"same class on {report['same_class']:,} of {report['test_samples']:,} test images, "
            f"{report['different_counts']:,} spike counts differ; no file was written; please report it"
        )
    return report
