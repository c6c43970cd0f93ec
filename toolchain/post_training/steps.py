"""The steps of post-training conversion: what they do, in their order, and what each gained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

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
    quantile_clipping_levels,
)
from toolchain.post_training.closed_form import (
    Activate,
    logits_in_parts,
    spiking,
)
from toolchain.post_training.distillation import DistillationPlan, distill
from toolchain.post_training.logit_errors import LogitError, logit_error, training_loss
from toolchain.post_training.plan import (
    OnProgress,
    OnStep,
    PostTrainingPlan,
    Step,
)
from toolchain.post_training.sensitivity import Candidate, errors_alone

LEAST_SAMPLES = 32
BASELINE_QUANTILE = 0.999
SENSITIVITY_SAMPLES = 256
MOST_EXCHANGES = 40
ACCUMULATIONS_OF_EXCHANGES = 1.5e11  # that all exchanges may take, about half a minute on one core
MEASURED_TIMESTEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LARGEST_TIMESTEPS = 256
VALUES_PER_PASS = 2**24  # of the largest population, 64 MiB in float32
VALUES_AT_ONCE = 2**26  # of the largest population where all images are needed together

LevelAt = Callable[[str, int], np.ndarray]
"""Name of a group and T to its clipping level, ``(channels, 1, 1)``."""


@dataclass(kw_only=True, eq=False)
class ConversionSteps:
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
        level_at = self._clipping_levels(histograms, steps)

        def at(timesteps: Mapping[str, int]) -> LayerGraph:
            levels = {name: level_at(name, steps) for name, steps in timesteps.items()}
            return with_levels(self.teacher, self.groups, timesteps, levels)

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
            mixed = at(self._allocate(at, uniform, level_at, most, behaviour))
            better = min((mixed, self._corrected(mixed, behaviour)), key=self._held_out_error)
            levels = [timesteps_of(better)[group.name] for group in self.groups]
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

    def _clipping_levels(self, histograms: Mapping[str, Histogram], steps: int) -> LevelAt:
        """Clipping levels by the criterion that suits each group.

        It is the one whose levels, at the mean of T, change the logits least.
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

        @cache
        def level_at(name: str, timesteps: int) -> np.ndarray:
            found = best_clipping_levels(histograms[name], [timesteps], best[name], clips[name])
            return found[timesteps]

        return level_at

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
        level_at: LevelAt,
        most: int,
        behaviour: FloatBehaviour,
    ) -> dict[str, int]:
        """Timesteps with the least measured error within the budget, at most that of uniform timesteps.

        Args:
            most: largest T of a group.
        """
        measured = sorted({*(t for t in MEASURED_TIMESTEPS if t <= most), most})
        sensitivity = Sensitivity(
            timesteps=tuple(measured),
            errors=self._errors_alone(
                "sensitivity",
                {name: [(t, level_at(name, t)) for t in measured] for name in uniform},
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
            replace(plan, batch_size=min(plan.batch_size, self.samples_per_pass)),
            self.error,
            training_loss(self.teacher.readout),
            self.samples_per_pass,
            lambda epoch, error: self.on_progress(name, epoch, plan.epochs),
        )
        what = f"{what}; best epoch {result.epoch} of {plan.epochs}"
        return self._better(name, what, graph, result.graph)

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
            else mean_timesteps(self.groups, timesteps_of(graph)),
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


def timesteps_of(graph: LayerGraph) -> dict[str, int]:
    """T of every spiking population."""
    return {p.name: p.timesteps for p in graph.spiking}
