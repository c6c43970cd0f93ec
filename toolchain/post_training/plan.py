"""Settings and results of post-training conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolchain.networks.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True)
class PostTrainingPlan:
    """How to choose the spiking form of a plain ReLU network.

    Attributes:
        mean_timesteps: limit of the mean T over the activations.
        samples: training images that are used, without their labels. A quarter of them is held out.
        max_timesteps: largest T of one activation; four times the mean if None.
        mixed: whether activations get different T. Otherwise all get the mean, rounded down.
        calibration_epochs: passes over the samples in which v(0), v_th and biases are trained; 0 leaves it
            out.
        finetune_epochs: passes over all training images in which the weights are trained as well.
        test_samples: test images on which the accuracy is measured in the end.
    """

    mean_timesteps: float
    samples: int = 1536
    seed: int = 0
    max_timesteps: int | None = None
    mixed: bool = True
    calibration_epochs: int = 8
    finetune_epochs: int = 0
    test_samples: int = 10_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of the conversion gained, on held-out images that no step learned from.

    Attributes:
        name: such as ``mixed T``.
        what: what was done, in one line.
        logit_error: mean Jensen-Shannon divergence of the class probabilities from those of the float
            network, in bits, from 0 to 1. For networks without classes, the squared error of the logits as a
            share of their variance.
        agreement: share of images whose class is that of the float network; None without classes.
        accuracy: share of images with the right class; None without such labels.
        mean_timesteps: mean T over the activations; None for the float network.
        kept: False if the step was undone, because it did not lower the error.
    """

    name: str
    what: str
    logit_error: float
    agreement: float | None
    accuracy: float | None
    mean_timesteps: float | None
    seconds: float
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class TestAccuracy:
    """Accuracy on test images, which no step has seen."""

    samples: int
    float_network: float
    converted: float
    agreement: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PostTrained:
    """A spiking network that was made of a plain ReLU network.

    Attributes:
        graph: to be saved and compiled as that of a trained network.
        timesteps: T of each activation. Maxima have that of what they compare.
        mean_timesteps: mean of ``timesteps``, at most that of the plan.
        source: what the float network was read from.
        judge: what executed it.
        num_compared: samples on which the float layer graph gave the logits of the judge.
        test: None if the data set has no labels that are classes of images.
        notes: one line each.
    """

    graph: LayerGraph
    steps: tuple[Step, ...]
    timesteps: dict[str, int]
    mean_timesteps: float
    source: str
    judge: str
    num_compared: int
    test: TestAccuracy | None
    notes: tuple[str, ...]


OnStep = Callable[[Step], None]
"""Called after each step."""

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a step that takes a while, what is done and what there is to do."""
