"""Measure designs: each is built as ``compile`` builds it, and gets the measures that its report shows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import TypedDict

import numpy as np
from typing_extensions import NotRequired

from deploy.design.accuracy import load_accuracy
from deploy.design.compilation import CompileOptions
from deploy.design.fidelity import affordable_samples
from deploy.optimize.measurements import LOWERED_BY, TUNING_SAMPLES, Measurements
from deploy.report.designs import measures_record
from deploy.report.measure_records import MeasuresRecord
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset
from toolchain.errors import IntegerWidthError, MappingError, UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import PassOptions
from toolchain.rounding.plan import LoweringImages

_KEPT_BYTES = 256 << 20
"""Networks with their spike trains that a process keeps for further designs, about as many bytes."""


class Outcome(TypedDict):
    """What is known of a design: its measures, or why it cannot be built."""

    measures: NotRequired[MeasuresRecord]
    refused: NotRequired[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class DesignMeter:
    """Measures designs in one process, which keeps the networks that it lowered last.

    Attributes:
        targets: by the name or path in the options.
        dataset: the images that a search may see, see ``tuning_set``; None measures no accuracy, times and
            energies.
        images: that networks are lowered on.
        accuracy: ``FILE.py:FUNCTION`` of the user's own; None takes the share of right classes.
    """

    model: LayerGraph
    targets: Mapping[str, TargetDescription]
    dataset: Dataset | None
    images: LoweringImages | None = None
    accuracy: str | None = None
    _networks: OrderedDict[Hashable, Measurements] = field(default_factory=OrderedDict)

    def measure(self, designs: Iterable[CompileOptions]) -> Iterator[Outcome]:
        """One outcome for each design, in order; those with the same integer network share its work."""
        for options in designs:
            try:
                with _one_thread():
                    of_network = self._of_network(options)
                    # a copy for each design, so that the mappings of earlier ones are not kept
                    own = replace(of_network, _mapped={}, _exchanged={}, _points={}, _costs={})
                    point = own.point(own.built(options), "", "")
            except (IntegerWidthError, MappingError, UnsupportedNetworkError) as error:
                yield {"refused": str(error)}
            else:
                yield {"measures": measures_record(point)}

    def _of_network(self, options: CompileOptions) -> Measurements:
        key = network_key(options)
        known = self._networks.pop(key, None)
        if known is None:
            known = Measurements(
                model=self.model,
                target=self.targets[options.target],
                dataset=self.dataset,
                on_stage=lambda stage: None,
                images=self.images,
                accuracy_measure=None if self.accuracy is None else load_accuracy(self.accuracy),
            )
            _, network = known.lowered(options)
            most = max(_KEPT_BYTES // _kept_bytes(network), 1)
            while len(self._networks) >= most:
                self._networks.popitem(last=False)
        self._networks[key] = known
        return known

    def __reduce__(self) -> tuple[object, ...]:
        """Without the networks, which a worker lowers itself."""
        return _meter, (self.model, dict(self.targets), self.dataset, self.images, self.accuracy)


def _meter(
    model: LayerGraph,
    targets: Mapping[str, TargetDescription],
    dataset: Dataset | None,
    images: LoweringImages | None,
    accuracy: str | None,
) -> DesignMeter:
    return DesignMeter(
        model=model, targets=targets, dataset=dataset, images=images, accuracy=accuracy
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for tensors: small networks take longer with more, and each worker has one core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def network_key(options: CompileOptions) -> Hashable:
    """Equal for designs with the same target and integer network."""
    names = (*(option.name for option in fields(PassOptions)), *LOWERED_BY)
    return options.target, *(repr(getattr(options, name)) for name in names)


def by_network(designs: Sequence[CompileOptions]) -> list[list[int]]:
    """Indices of the designs, those with the same integer network together."""
    groups: dict[Hashable, list[int]] = {}
    for index, options in enumerate(designs):
        groups.setdefault(network_key(options), []).append(index)
    return list(groups.values())


def tuning_set(dataset: Dataset, model: LayerGraph) -> Dataset:
    """The training images that a search measures on, as a data set of its own without any test image."""
    last = slice(-affordable_samples(model, TUNING_SAMPLES), None)
    pixels, labels = np.asarray(dataset.train_pixels[last]), dataset.train_labels[last]
    return replace(
        dataset,
        train_pixels=pixels,
        train_labels=labels,
        test_pixels=pixels[-1:],
        test_labels=labels[-1:],
    )


def _kept_bytes(network: IntegerNetwork) -> int:
    """Estimate of the memory that a network and its spike trains take."""
    trains = sum(p.timesteps * prod(p.shape) for p in network.spiking)
    return 16 * trains + 8 * sum(prod(p.shape) for p in network.populations) + 100_000
