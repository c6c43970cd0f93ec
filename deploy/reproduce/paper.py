"""The paper's own numbers, and which of them a study is compared with."""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias

import yaml

from deploy.reproduce.study import Study

PaperData: TypeAlias = Literal["cifar-10", "cifar-100", "imagenet"]
PAPER_DATA: dict[PaperData, str] = {
    "cifar-10": "CIFAR-10",
    "cifar-100": "CIFAR-100",
    "imagenet": "ImageNet",
}
IMAGENET_SIZE = 128
"""Images of at least so many rows are compared with the paper's ImageNet numbers."""


@cache
def paper_figures() -> dict[str, Any]:
    """The paper's numbers by table and figure, accuracies in percent."""
    text = resources.files("deploy.reproduce").joinpath("paper.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def paper_data(study: Study) -> PaperData:
    """The paper's data set that is the study's own, or nearest to it: CIFAR-10 for small images."""
    if study.dataset.input_shape[1] >= IMAGENET_SIZE:
        return "imagenet"
    return "cifar-100" if study.dataset.name == "cifar-100" else "cifar-10"


def nearest_network(
    study: Study, known: Container[str] = ("resnet-18", "resnet-20", "vgg-16")
) -> str:
    """The network of the paper, among those it has numbers of, that is most similar to the study's."""
    deep = study.architecture in ("resnet-18", "resnet-19", "resnet-34")
    near = "resnet-18" if deep else "resnet-20"
    ranked = (near, "resnet-20") if study.architecture.startswith("resnet") else ()
    return next(n for n in (*ranked, "vgg-16", "resnet-20") if n in known)


def data_note(study: Study) -> str:
    """A note that says how our numbers compare with the paper's."""
    if study.dataset.name in PAPER_DATA:
        return f"Trained here on {study.dataset.name}, with fewer epochs than the paper's."
    theirs = "ImageNet" if paper_data(study) == "imagenet" else "CIFAR"
    return (
        f"The paper's numbers are on {theirs}; ours on {study.dataset.name}, so only orders and trends "
        f"compare."
    )
