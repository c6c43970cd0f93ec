"""Comparison with spiking networks that are trained directly, with surrogate gradients (Table 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch

from deploy.reproduce.experiment import Cell, Experiment
from deploy.reproduce.measures import float_accuracy, snn_accuracy
from deploy.reproduce.paper import (
    PAPER_DATA,
    data_note,
    nearest_network,
    paper_data,
    paper_figures,
)
from deploy.reproduce.spiking_networks import (
    SpikingForm,
    SpikingResNet,
    gated_lif,
    integrate_and_fire,
    lif,
    parallel_spiking,
)
from deploy.reproduce.spiking_objectives import regularized_potentials, temporal_efficient
from deploy.reproduce.study import Study
from toolchain.model_zoo import build_model
from toolchain.model_zoo.resnet import ResNet
from toolchain.training import Objective, accuracy, ann_logits, cross_entropy

ARCHITECTURE, LARGEST_WIDTH = "resnet-8", 0.5
"""Of the directly trained networks: T steps cost T times as much as an ANN's one, forwards and backwards."""


@dataclass(frozen=True, kw_only=True)
class DirectMethod:
    """A network form and what it minimizes.

    Attributes:
        name: as in the paper's Table 6.
    """

    name: str
    form: SpikingForm
    objective: Objective = cross_entropy

    @property
    def kind(self) -> str:
        """Of its networks among those of a study."""
        return f"direct-{self.name.lower().replace(' ', '-')}"


_TDBN = SpikingForm(neuron=lif, norm="tdBN", join="before")

METHODS = (
    DirectMethod(name="tdBN", form=_TDBN),
    DirectMethod(name="TET", form=_TDBN, objective=temporal_efficient),
    DirectMethod(name="RMP-Loss", form=_TDBN, objective=regularized_potentials),
    DirectMethod(name="GLIF", form=replace(_TDBN, neuron=gated_lif)),
    DirectMethod(
        name="SEW ResNet", form=SpikingForm(neuron=integrate_and_fire, norm="BN", join="after")
    ),
    DirectMethod(name="PSN", form=SpikingForm(neuron=parallel_spiking, norm="BN", join="after")),
)
"""tdBN, TET and RMP-Loss differ in the loss alone, GLIF and PSN in the neuron from the row above theirs."""


def table6(study: Study, samples: int) -> Experiment:
    """Accuracy of directly trained networks, and of QAC at their size and at the study's."""
    pixels, labels = study.test_images(samples)
    small = small_study(study)
    rows: list[tuple[Cell, ...]] = []
    for method in METHODS:
        network = small.directly_trained(
            method.kind, partial(spiking_network, small, method), method.objective
        )
        logits = ann_logits(network, pixels, study.dataset.max_value, torch.float32)
        name = f"{'SEW ' if method.form.join == 'after' else ''}{small.name}"
        steps = method.form.timesteps
        paper = _of_paper(study, method.name, steps)
        rows.append((method.name, name, steps, accuracy(logits, labels), *paper))
    if small.name != study.name:
        rows.append(("QAC at this size", *_qac(small, samples), None, None))
    rows.append(("QAC", *_qac(study, samples), *_of_paper(study, "QAC", None)))
    minutes = {name: seconds / 60 for name, seconds in small.training_seconds().items()}
    epochs = study.epochs + study.further_epochs
    return Experiment(
        name=f"table6-{study.file_label}",
        title=f"Table 6, direct training: {study.label}",
        columns=(
            *("method", "network", "T", "ours %"),
            *("paper's network and T", f"paper {PAPER_DATA[paper_data(study)]} %"),
        ),
        rows=rows,
        notes=[
            f"{len(labels):,} test images. {small.name} has ResNet-20's three stages with one block each; "
            f"its float ANN has {float_accuracy(small, samples):.2%}.",
            f"Directly trained networks have {epochs} epochs, as many as QAC and the float ANN before it "
            f"together, and the float ANN's optimizer and learning rate. QAC also learns from the float ANN.",
            f"Minutes of training of {small.name} on this machine: "
            f"{', '.join(f'{name} {m:.1f}' for name, m in minutes.items())}.",
            data_note(study),
        ],
        values={"training_minutes": minutes},
    )


def small_study(study: Study) -> Study:
    """The study of the networks that are trained directly."""
    return replace(study, architecture=ARCHITECTURE, width=min(study.width, LARGEST_WIDTH))


def spiking_network(study: Study, method: DirectMethod) -> SpikingResNet:
    """An untrained spiking network of a study's architecture, which is a ResNet."""
    torch.manual_seed(study.seed)
    dataset = study.dataset
    ann = build_model(study.architecture, dataset.input_shape, dataset.num_classes, study.width)
    assert isinstance(ann, ResNet)
    return SpikingResNet(ann, method.form)


def _qac(study: Study, samples: int) -> tuple[str, float, float]:
    """Network, mean T and accuracy."""
    graph = study.qac_graph()
    return study.name, graph.mean_timesteps, snn_accuracy(graph, *study.test_images(samples))


def _of_paper(study: Study, method: str, timesteps: int | None) -> tuple[str | None, float | None]:
    """Network, T and accuracy (a share) of a method in the paper; None if the paper does not have it.

    Args:
        timesteps: None for the network of the paper that is most similar to the study's.
    """
    rows = paper_figures()["table6"][paper_data(study)].get(method, [])
    known = [network.lower() for network, _, _ in rows]
    if not rows:
        return None, None
    at = 0 if timesteps is not None else known.index(nearest_network(study, known))
    network, steps, accuracies = rows[at]
    index = steps.index(timesteps) if timesteps in steps else -1
    return f"{network}, T = {steps[index]:g}", accuracies[index] / 100
