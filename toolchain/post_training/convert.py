"""From a plain ReLU network to a spiking network, without training it (post-training conversion).

The steps follow each other in ``convert_post_training``. Each is measured on held-out images with the user's float
network as teacher, and undone if it does not lower the error there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from toolchain.datasets import Dataset
from toolchain.errors import DataError, OptionError
from toolchain.importers.foreign_network import ForeignNetwork
from toolchain.importers.torch_module import Normalization
from toolchain.method.calibration import HELD_OUT_SHARE
from toolchain.method.float_snn import input_current
from toolchain.networks.layer_graph import LayerGraph, has_classes
from toolchain.networks.linear_maps import num_accumulations
from toolchain.post_training.activation_groups import (
    ActivationGroup,
    activation_groups,
    mean_timesteps,
    with_levels,
)
from toolchain.post_training.allocation import Sensitivity, allocate, exchange
from toolchain.post_training.bias_correction import (
    FloatBehaviour,
    corrected_logits,
    float_behaviour,
    with_corrected_biases,
)
from toolchain.post_training.clipping_levels import (
    CRITERIA,
    Histogram,
    best_clipping_levels,
    collect_histograms,
    levels_at,
    quantile_clipping_levels,
)
from toolchain.post_training.closed_form import (
    Activate,
    logits_in_parts,
    relu_with_clips,
    spiking,
)
from toolchain.post_training.distillation import DistillationPlan, distill
from toolchain.post_training.float_network import read_float_network
from toolchain.post_training.logit_errors import LogitError, logit_error, training_loss
from toolchain.post_training.plan import (
    OnProgress,
    OnStep,
    PostTrained,
    PostTrainingPlan,
    Step,
    TestAccuracy,
)
from toolchain.post_training.sensitivity import Candidate, errors_alone
from toolchain.post_training.stepped_check import compare_with_stepped

LEAST_SAMPLES = 32
BASELINE_QUANTILE = 0.999
SENSITIVITY_SAMPLES = 256
MOST_EXCHANGES = 40
ACCUMULATIONS_OF_EXCHANGES = 1.5e11  # that all exchanges may take, about half a minute on one core
MEASURED_TIMESTEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LARGEST_TIMESTEPS = 256
VALUES_PER_PASS = 2**24  # of the largest population, 64 MiB in float32
VALUES_AT_ONCE = 2**26  # of the largest population where all images are needed together


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
    num_held_out = max(1, round(HELD_OUT_SHARE * len(pixels)))
    images = input_current(read.graph, pixels, torch.float32)
    run = _Run(
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
        f"{read.source}, logits equal to {read.judge} on {read.num_compared} samples"
    )
    graph = run.convert()
    if plan.finetune_epochs:
        rest = np.setdiff1d(np.arange(len(dataset.train_pixels)), chosen[:num_held_out])

        def images_of(samples: np.ndarray) -> Tensor:
            return input_current(graph, dataset.train_pixels[rest[samples]], torch.float32)

        graph = run.finetune(graph, images_of, len(rest))
    compare_with_stepped(graph, pixels[:4])
    steps = {n: _timesteps(graph)[n] for group in run.groups for n in group.activations}
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


@dataclass(kw_only=True, eq=False)
class _Run:
    """The images, the float network, and the steps so far."""

    plan: PostTrainingPlan
    teacher: LayerGraph
    activate: Activate
    clips: Mapping[str, float]
    fit: Tensor
    held_out: Tensor
    labels: np.ndarray
    report: OnStep
    on_progress: OnProgress
    start: float
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.groups: tuple[ActivationGroup, ...] = activation_groups(self.teacher)
        self.error: LogitError = logit_error(self.teacher.readout)
        self.has_classes = has_classes(self.teacher.readout)
        self.weights = {group.name: len(group.activations) for group in self.groups}
        self.budget = int(self.plan.mean_timesteps * sum(self.weights.values()) + 1e-9)
        largest = max(int(np.prod(p.shape)) for p in self.teacher.populations)
        self.samples_per_pass = max(1, min(128, VALUES_PER_PASS // largest))
        accumulations = sum(
            num_accumulations(s.maps, self.teacher[s.source].shape) for s in self.teacher.synapses
        )
        affordable = int(ACCUMULATIONS_OF_EXCHANGES / MOST_EXCHANGES / max(accumulations, 1))
        in_memory = VALUES_AT_ONCE // largest
        self.measured_at_once = max(LEAST_SAMPLES, min(max(affordable, 256), in_memory))
        self.expected = self._logits(self.teacher, self.held_out, self.activate)

    def convert(self) -> LayerGraph:
        """All steps that keep the weights."""
        steps = int(self.plan.mean_timesteps)
        uniform = {group.name: steps for group in self.groups}
        histograms = collect_histograms(
            self.teacher, self.groups, self.fit, self.activate, self.samples_per_pass
        )
        fixed = {n: quantile_clipping_levels(h, BASELINE_QUANTILE) for n, h in histograms.items()}
        most = self.plan.max_timesteps or min(4 * steps, LARGEST_TIMESTEPS)
        table = self._clipping_levels(histograms, steps, most)

        def at(timesteps: Mapping[str, int]) -> LayerGraph:
            return with_levels(self.teacher, self.groups, timesteps, levels_at(table, timesteps))

        graph = self._first(
            "fixed quantile",
            f"every T = {steps}, clipping at the {BASELINE_QUANTILE:.1%} quantile of each layer",
            with_levels(self.teacher, self.groups, uniform, fixed),
        )
        graph = self._better(
            "clipping levels",
            "by the error at this T, rounding against clipping, as suits each layer's logits",
            graph,
            at(uniform),
        )
        behaviour = float_behaviour(self.teacher, self.fit[: self.measured_at_once], self.activate)
        graph = self._better(
            "biases", "mean current of each channel as in the float network",
            graph, self._corrected(graph, behaviour),
        )  # fmt: skip
        if self.plan.mixed and len(self.groups) > 1:
            mixed = at(self._allocate(at, uniform, table, behaviour))
            better = min((mixed, self._corrected(mixed, behaviour)), key=self._held_out_error)
            levels = [_timesteps(better)[group.name] for group in self.groups]
            what = f"T = {min(levels)} to {max(levels)} by measured sensitivity, levels and biases anew"
            graph = self._better("mixed T", what, graph, better)
        if self.plan.calibration_epochs:
            plan = DistillationPlan(epochs=self.plan.calibration_epochs, seed=self.plan.seed)
            what = "v(0), v_th and biases per channel, trained towards the float network without labels"
            graph = self._distilled(
                "calibration",
                what,
                graph,
                lambda i: self.fit[torch.from_numpy(i)],
                len(self.fit),
                plan,
            )
        return graph

    def finetune(
        self, graph: LayerGraph, images_of: Callable[[np.ndarray], Tensor], num_images: int
    ) -> LayerGraph:
        """Train everything towards the float network, on images without labels."""
        plan = DistillationPlan(
            epochs=self.plan.finetune_epochs,
            seed=self.plan.seed,
            learning_rate=2e-3,
            weight_learning_rate=5e-3,
        )
        what = f"weights too, on {num_images:,} training images without labels"
        return self._distilled("fine-tuning", what, graph, images_of, num_images, plan)

    def _clipping_levels(
        self, histograms: Mapping[str, Histogram], steps: int, most: int
    ) -> dict[str, dict[int, np.ndarray]]:
        """Clipping levels of each group at each T up to ``most``, by the criterion that suits it.

        The criterion is the one whose levels, at the mean of T, change the logits least.
        """
        clips = {
            group.name: min(
                (self.clips[n] for n in group.activations if n in self.clips), default=None
            )
            for group in self.groups
        }
        criteria = {
            group.name: [c for c in CRITERIA if group.per_channel or not c.per_channel]
            for group in self.groups
        }
        candidates = {
            name: [
                (steps, best_clipping_levels(histograms[name], [steps], c, clips[name])[steps])
                for c in tried
            ]
            for name, tried in criteria.items()
        }
        errors = self._errors_alone("clipping levels", candidates)
        best = {name: criteria[name][int(np.argmin(found))] for name, found in errors.items()}
        return {
            name: best_clipping_levels(
                histograms[name], range(1, most + 1), best[name], clips[name]
            )
            for name in criteria
        }

    def _errors_alone(
        self, name: str, candidates: Mapping[str, Sequence[Candidate]]
    ) -> dict[str, tuple[float, ...]]:
        return errors_alone(
            self.teacher,
            self.groups,
            self.fit[:SENSITIVITY_SAMPLES],
            self.activate,
            candidates,
            self.error,
            self.samples_per_pass,
            partial(self.on_progress, name),
        )

    def _allocate(
        self,
        at: Callable[[Mapping[str, int]], LayerGraph],
        uniform: dict[str, int],
        table: Mapping[str, Mapping[int, np.ndarray]],
        behaviour: FloatBehaviour,
    ) -> dict[str, int]:
        """Timesteps with the least error within the budget, never more than that of uniform timesteps."""
        most = max(next(iter(table.values())))
        measured = sorted({*(t for t in MEASURED_TIMESTEPS if t <= most), most})
        sensitivity = Sensitivity(
            timesteps=tuple(measured),
            errors=self._errors_alone(
                "sensitivity",
                {n: [(t, levels[t]) for t in measured] for n, levels in table.items()},
            ),
            weights=self.weights,
        )
        errors = sensitivity.at_every_step(most)

        def measure(timesteps: Mapping[str, int]) -> float:
            graph = at(timesteps)
            logits, _ = corrected_logits(graph, behaviour, spiking(graph, torch.float32))
            return float(self.error(logits, behaviour.logits).mean())

        start = min((allocate(errors, self.weights, self.budget), uniform), key=measure)
        return exchange(
            start,
            errors,
            self.weights,
            self.budget,
            measure,
            most_measurements=MOST_EXCHANGES,
            on_measurement=partial(self.on_progress, "mixed T"),
        )

    def _corrected(self, graph: LayerGraph, behaviour: FloatBehaviour) -> LayerGraph:
        return with_corrected_biases(graph, behaviour, spiking(graph, torch.float32))

    def _distilled(
        self,
        name: str,
        what: str,
        graph: LayerGraph,
        images_of: Callable[[np.ndarray], Tensor],
        num_images: int,
        plan: DistillationPlan,
    ) -> LayerGraph:
        result = distill(
            graph,
            self.groups,
            self.teacher,
            self.activate,
            images_of,
            num_images,
            self.held_out,
            plan,
            self.error,
            training_loss(self.teacher.readout),
            lambda epoch, error: self.on_progress(name, epoch, plan.epochs),
        )
        return self._better(
            f"{name}", f"{what}; best epoch {result.epoch} of {plan.epochs}", graph, result.graph
        )

    def note_float_network(self, what: str) -> None:
        self._add("float network", what, None, self.expected)

    def _first(self, name: str, what: str, graph: LayerGraph) -> LayerGraph:
        self._add(name, what, graph, self._spiking_logits(graph))
        return graph

    def _better(self, name: str, what: str, before: LayerGraph, after: LayerGraph) -> LayerGraph:
        """The graph after a step, or the one before it if the step does not lower the held-out error."""
        logits = self._spiking_logits(after)
        kept = after is not before and self._mean_error(logits) < self._held_out_error(before)
        self._add(name, what, after, logits, kept)
        if not kept:
            self.notes.append(
                f"{name}: undone, because it does not lower the error on held-out images"
            )
        return after if kept else before

    def _add(
        self, name: str, what: str, graph: LayerGraph | None, logits: Tensor, kept: bool = True
    ) -> None:
        agreement = accuracy = None
        if self.has_classes:
            classes = logits.argmax(dim=1)
            agreement = float((classes == self.expected.argmax(dim=1)).double().mean())
            if self.labels.ndim == 1:
                accuracy = float((classes.numpy() == self.labels).mean())
        step = Step(
            name=name,
            what=what,
            logit_error=self._mean_error(logits),
            agreement=agreement,
            accuracy=accuracy,
            mean_timesteps=None
            if graph is None
            else mean_timesteps(self.groups, _timesteps(graph)),
            seconds=time.monotonic() - self.start,
            kept=kept,
        )
        self.start = time.monotonic()
        self.steps.append(step)
        self.report(step)

    def _mean_error(self, logits: Tensor) -> float:
        return float(self.error(logits, self.expected).mean())

    def _held_out_error(self, graph: LayerGraph) -> float:
        return self._mean_error(self._spiking_logits(graph))

    def _spiking_logits(self, graph: LayerGraph) -> Tensor:
        return self._logits(graph, self.held_out, spiking(graph, torch.float32))

    def _logits(self, graph: LayerGraph, images: Tensor, activate: Activate) -> Tensor:
        return logits_in_parts(graph, images, activate, self.samples_per_pass)


def _timesteps(graph: LayerGraph) -> dict[str, int]:
    return {p.name: p.timesteps for p in graph.spiking}


def _test_accuracy(run: _Run, graph: LayerGraph, dataset: Dataset) -> TestAccuracy | None:
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
