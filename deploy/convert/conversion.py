"""A conversion to a layer graph, and the images that its network is given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploy.convert.options import DEFAULT_MAX_VALUE, ConvertOptions, normalization_of
from toolchain.datasets import Dataset
from toolchain.errors import OptionError
from toolchain.importers.foreign.foreign_network import RuntimeAgreement
from toolchain.importers.torch_module import Normalization
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import Shape

if TYPE_CHECKING:
    from toolchain.post_training import PostTrained


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A layer graph, and what is said about it.

    Attributes:
        source: what the file is.
        runtime: what the graph was compared with.
        agreement: counts that were compared, and those that differ by rounding; None where ``convert`` alone
            compares.
        compared: what was counted: spike counts, or single spikes of a network that runs step by step.
        post_training: the steps that made it of a plain ReLU network; None for others.
        notes: what was left out, assumed or decided.
        record: what the model file keeps beside the data set.
    """

    graph: LayerGraph
    source: str
    runtime: str
    agreement: RuntimeAgreement | None = None
    compared: str = "spike counts"
    post_training: PostTrained | None = None
    notes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MeasuredAccuracy:
    """Accuracy of the float network that was made, on the first test images."""

    samples: int
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What was written.

    Attributes:
        accuracy: None without a data set, or where the logits are not those of classes.
        data_note: why the data set was recorded without being read; None if it was read.
    """

    model: str
    conversion: Conversion
    accuracy: MeasuredAccuracy | None
    data_note: str | None
    training: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Images:
    """What the network is given, and how; the shape may be known from its file alone."""

    shape: Shape | None
    max_value: int
    normalization: Normalization | None
    dataset: Dataset | None


def images_of(options: ConvertOptions, dataset: Dataset | None) -> Images:
    """The images that a network takes, as far as the data set or the user says it."""
    image, max_value = options.input_shape, options.max_value
    if dataset is not None:
        for option, given, found in (
            ("--input-shape", image, dataset.input_shape),
            ("--max-value", max_value, dataset.max_value),
        ):
            if given not in (None, found):
                raise OptionError(
                    f"{option} is {given}, but that of data set {dataset.name} is {found}; leave it out"
                )
        image, max_value = dataset.input_shape, dataset.max_value
    max_value = max_value or DEFAULT_MAX_VALUE
    normalization = normalization_of(options.normalize, max_value)
    if image is not None:
        normalization = for_channels(normalization, image[0])
    return Images(shape=image, max_value=max_value, normalization=normalization, dataset=dataset)


def for_channels(normalization: Normalization | None, channels: int) -> Normalization | None:
    """The same with one mean and std for each channel, where there is one for all."""
    if normalization is None:
        return None
    one_for_all = {
        name: values * channels
        for name, values in (("mean", normalization.mean), ("std", normalization.std))
        if len(values) == 1
    }
    return replace(normalization, **one_for_all)
