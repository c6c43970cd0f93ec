"""Values of options that the shell completes; where none fits, it completes file names.

What knows the values is imported as one is completed, and never torch: the names of what only torch can load
are repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

ARCHITECTURES = (
    "lenet", "resnet-mini", "resnet-8", "resnet-18", "resnet-19", "resnet-20", "resnet-34", "vgg-9", "vgg-16",
)  # fmt: skip
"""Names in ``toolchain.model_zoo``."""

QCFS_ARCHITECTURES = (
    "vgg-11", "vgg-13", "vgg-16", "vgg-19", "vgg-11-wobn", "vgg-13-wobn", "vgg-16-wobn", "vgg-19-wobn",
    "resnet-18", "resnet-20", "resnet-34", "resnet-50", "resnet-101", "resnet-152",
)  # fmt: skip
"""Names in ``toolchain.importers.qcfs_format``."""

EXPERIMENTS = (
    "summary", "table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8",
    "fig1", "fig3", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10", "fig11",
    "baselines", "calibration", "bits", "budget",
)  # fmt: skip
"""Names in ``deploy.reproduce.experiments``."""

MAX_POOLS = ("exact", "average")
"""Names in ``toolchain.method.max_pooling``."""

Completion = Callable[[str], list[str]]
"""From the start of a value to all values that start so."""


def one_of(values: Iterable[str] | Callable[[], Iterable[str]]) -> Completion:
    """A completion, for ``typer.Option(autocompletion=...)``."""

    def complete(incomplete: str) -> list[str]:
        known = values() if callable(values) else values
        return [value for value in known if value.startswith(incomplete)]

    return complete


def _data_sets() -> Iterable[str]:
    from toolchain.datasets import DATASETS

    return DATASETS


def _targets() -> Iterable[str]:
    from hw_models.target_description import built_in_targets

    return built_in_targets()


def _arrays() -> Iterable[str]:
    from hw_models.pe_array.array_description import built_in_arrays

    return built_in_arrays()


def _alignments() -> Iterable[str]:
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    return ALIGNMENT_METHODS


data_set = one_of(_data_sets)
target = one_of(_targets)
array = one_of(_arrays)
alignment = one_of(_alignments)
