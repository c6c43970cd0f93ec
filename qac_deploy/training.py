"""Networks of the model zoo, quantization of any network, and training of its timesteps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

from qac_deploy.data import Data, as_dataset
from qac_deploy.history import Epoch, History
from qac_deploy.messages import speaks_python
from qac_deploy.numbers import optional, real_number, whole_number
from qac_deploy.paths import as_path
from qac_deploy.progress import progress_line
from qac_deploy.threads import one_at_a_time
from toolchain.errors import OptionError

if TYPE_CHECKING:
    from torch import nn

    from toolchain.datasets import Dataset
    from toolchain.method.max_pooling import MaxPool
    from toolchain.training import EpochReport

_DEFAULT_MEAN_TIMESTEPS = 2.5
_MOST_TEST_SAMPLES = 10_000
_BALANCED_SAMPLES = 512


@speaks_python
def network(architecture: str, data: Data, *, width: float = 1.0, seed: int = 0) -> nn.Module:
    """Build a network of the model zoo with plain ReLUs and random weights.

    Args:
        architecture: ``lenet``, ``resnet-mini``, ``resnet-8``, ``resnet-18``, ``resnet-19``, ``resnet-20``,
            ``resnet-34``, ``vgg-9`` or ``vgg-16``.
        data: gives the shape of an image and the number of classes.
        width: factor on the channels of every layer.
        seed: of the initial weights; the random numbers of the caller stay as they are.

    Raises:
        QacDeployError: there is no such architecture, or its images are too small.
    """
    import torch

    from toolchain.model_zoo import build_model

    dataset = as_dataset(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(architecture, dataset.input_shape, dataset.num_classes, width)


@speaks_python
@one_at_a_time
def quantize(
    module: nn.Module,
    *,
    max_pool: MaxPool = "exact",
    timesteps: int = 4,
    max_timesteps: int | None = 16,
    case: int = 4,
    data: Data | None = None,
) -> nn.Module:
    """Copy a network with a learned quantizer for each ReLU (Algorithm 1, lines 1 to 8).

    Each quantizer becomes a population of soft-reset integrate-and-fire neurons that fires T timesteps.
    Weights are copied under the same names. Clipped ReLUs (``ReLU6``, ``Hardtanh(0, c)``, ``clamp(0, c)``)
    become quantizers that start at their clip.

    Args:
        module: any network that ``torch.fx`` can trace; it stays as it is.
        max_pool: ``exact`` keeps max pooling, with additional neurons. ``average`` replaces it by average
            pooling.
        timesteps: T of every quantizer before training.
        max_timesteps: upper bound of every T; None sets no bound.
        case: parametrization of the paper, 1 to 4 (Eq. 7-10).
        data: for trained weights. Each clipping level starts where 99.9 % of the positive inputs of its ReLU
            are below it, measured on 512 training images.

    Raises:
        QacDeployError: an activation or operation has no spiking form; the message names it.
    """
    from toolchain.method.max_pooling import MAX_POOLS
    from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
    from toolchain.method.quantizers import QUANTIZER_CASES
    from toolchain.training.evaluate import as_input

    _require_module(module, "quantize")
    if case not in QUANTIZER_CASES:
        raise OptionError(
            f"--case must be one of {', '.join(map(str, QUANTIZER_CASES))}, not {case}"
        )
    if max_pool not in MAX_POOLS:
        raise OptionError(f"--max-pool must be one of {', '.join(MAX_POOLS)}, not {max_pool!r}")
    timesteps = whole_number("--timesteps", timesteps)
    max_timesteps = optional(whole_number, "--max-timesteps", max_timesteps)
    if timesteps < 1 or (max_timesteps is not None and max_timesteps < timesteps):
        raise OptionError(
            f"--timesteps must be at least 1 and at most --max-timesteps ({max_timesteps}), not {timesteps}"
        )
    make_quantizer = partial(
        QUANTIZER_CASES[case], timesteps=timesteps, max_timesteps=max_timesteps
    )
    quantized = quantize_activations(module, make_quantizer, max_pool=max_pool)
    if data is not None:
        dataset = as_dataset(data)
        pixels = dataset.train_pixels[:_BALANCED_SAMPLES]
        balance_thresholds(quantized, as_input(pixels, dataset.max_value))
    return quantized


@speaks_python
@one_at_a_time
def train(
    module: nn.Module,
    data: Data,
    *,
    epochs: int = 30,
    mean_timesteps: float | None = _DEFAULT_MEAN_TIMESTEPS,
    interval: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    augment: bool = False,
    teacher: nn.Module | None = None,
    distill: float = 0.0,
    seed: int = 0,
    state_file: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> History:
    """Train a network in place, and the timesteps of its quantizers with it; leave it in evaluation mode.

    All parameters are trained but those that require no gradient, and batch norm follows its batches, even
    where it was in evaluation mode. The random numbers of the caller stay as they are.

    A quantized network is converted once before the first epoch, so that none is trained in vain. A network
    without quantizers is trained as it is. In your own training loop, call each quantizer's
    ``clamp_parameters()`` after every optimizer step.

    Args:
        module: takes ``pixels / max_value`` of shape ``(B, C, H, W)`` and returns logits.
        data: gives the training images.
        mean_timesteps: budget for the mean T. Without it and ``interval``, weight decay alone lowers T, as in
            the paper.
        interval: budget for the largest T instead, which bounds the ticks between two results.
        learning_rate: initial learning rate of the weights; it falls to 0 on a cosine.
        augment: shift and mirror training images at random.
        teacher: a trained network whose logits are approached.
        distill: share of the teacher in the loss, 0 to 1.
        seed: equal seeds give equal weights on the same machine.
        state_file: saved after each epoch, so that ``resume=True`` continues an interrupted run.
        progress: None shows a line per epoch in terminals and notebooks alone.

    Returns:
        Loss, accuracy and T of each epoch, and the accuracy on test images.

    Raises:
        QacDeployError: the network cannot be converted or returns probabilities, or the data do not fit.
    """
    from deploy.train.budget import timestep_settings
    from toolchain.files.whole_files import TRAINING_STATE, require_replaceable_file
    from toolchain.method.quantizers import quantizers
    from toolchain.training import TrainingPlan
    from toolchain.training import train as train_module

    _require_module(module, "train")
    if teacher is not None:
        _require_module(teacher, "train")
    if distill and teacher is None:
        raise OptionError("--distill needs a trained network to follow; add --teacher")
    epochs = whole_number("--epochs", epochs, 1)
    batch_size = whole_number("--batch-size", batch_size, 2)
    seed = whole_number("--seed", seed, 0)
    learning_rate = real_number("--learning-rate", learning_rate)
    distill = real_number("--distill", distill)
    mean_timesteps = optional(real_number, "--mean-timesteps", mean_timesteps)
    interval = optional(whole_number, "--interval", interval)
    if not (learning_rate > 0 and 0 <= distill <= 1):
        raise OptionError(
            f"--learning-rate must be positive and --distill from 0 to 1, not {learning_rate:g} and "
            f"{distill:g}"
        )
    state = None if state_file is None else as_path(state_file, "--state-file")
    if resume and state is None:
        raise OptionError("--resume continues from a state; add --state-file")
    if state is not None:
        require_replaceable_file(state, TRAINING_STATE, remedy="choose another with --state-file")
    dataset = as_dataset(data)
    if interval is not None and mean_timesteps == _DEFAULT_MEAN_TIMESTEPS:
        mean_timesteps = None  # the default gives way
    found = quantizers(module)
    plan = TrainingPlan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augment=augment,
        distillation=distill,
        seed=seed,
        **timestep_settings(mean_timesteps, interval),
    )
    past: list[Epoch] = []
    with progress_line(f"training, epoch 1 of {epochs}", progress) as show:

        def note(report: EpochReport) -> None:
            past.append(
                Epoch(
                    loss=report.loss,
                    accuracy=report.accuracy,
                    timesteps={name: round(t) for name, t in report.timesteps.items()},
                )
            )
            steps = " ".join(f"{t:g}" for t in report.timesteps.values())
            show(
                f"training, {report.epoch} of {epochs} epochs: loss {report.loss:.3f}, accuracy "
                f"{report.accuracy:.1%}" + f", T {steps}" * bool(steps)
            )

        with _own_random_numbers_and_gradients():
            train_module(
                module,
                dataset,
                plan,
                note,
                teacher=teacher,
                state_file=state,
                resume=resume,
            )
        show("measuring the accuracy on test images")
        accuracy, samples = _test_accuracy(module, dataset)
    notes = []
    if plan.budget is not None and found:
        used = float(plan.budget.usage(found).detach())
        if used > plan.budget.limit:
            notes.append(
                f"above the budget by {used - plan.budget.limit:.2f} timesteps; train for more epochs"
            )
    return History(
        epochs=tuple(past), test_accuracy=accuracy, test_samples=samples, notes=tuple(notes)
    )


@contextmanager
def _own_random_numbers_and_gradients() -> Iterator[None]:
    """Leave the caller's random numbers as they are, and compute gradients where the caller has none."""
    import torch

    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        yield


def _test_accuracy(module: nn.Module, dataset: Dataset) -> tuple[float | None, int]:
    """Accuracy on test images, and how many; None for labels that are no classes of images."""
    import torch

    from toolchain.training import accuracy, ann_logits

    if dataset.test_labels.ndim != 1:
        return None, 0
    labels = dataset.test_labels[:_MOST_TEST_SAMPLES]
    pixels = dataset.test_pixels[: len(labels)]
    logits = ann_logits(module, pixels, dataset.max_value, torch.float32)
    return accuracy(logits, labels), len(labels)


def _require_module(module: object, what: str) -> None:
    from torch import nn

    if not isinstance(module, nn.Module):
        name = module.__name__ if isinstance(module, type) else type(module).__name__
        hint = f"; pass an instance, {name}()" if isinstance(module, type) else ""
        raise OptionError(f"{what} takes a torch.nn.Module, not {name}{hint}")
