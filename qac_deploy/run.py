"""The integers of a simulated batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from qac_deploy.messages import speaks_python
from toolchain.errors import DataError, UnsupportedNetworkError

if TYPE_CHECKING:
    import numpy as np

    from toolchain.networks.integer_network import IntegerReadout


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Integers of B images.

    Attributes:
        engine: that computed them; all engines compute the same.
        logits: int64 ``(B, classes)``; those of maps are flattened, ``(B, C * H * W)``.
        counts: spike counts of each spiking population, int64 ``(B, C, H, W)``.
        readout: the population of the logits; ``logits * readout.unit`` are those of the float network.
        timesteps: T of each spiking population.
        notes: what was compared, one line each.
    """

    engine: str
    logits: np.ndarray
    counts: Mapping[str, np.ndarray]
    readout: IntegerReadout = field(repr=False)
    timesteps: Mapping[str, int]
    notes: tuple[str, ...] = ()
    compute_trains: Callable[[], Mapping[str, np.ndarray]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def trains(self) -> Mapping[str, np.ndarray]:
        """Spikes of each spiking population, bool ``(B, T, C, H, W)``; computed when they are first read.

        Raises:
            QacDeployError: they need more memory than the limit.
        """
        return self.compute_trains()

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """Logits of each output by its name, int64 ``(B, C, H, W)``."""
        from toolchain.networks.layer_graph import split_outputs

        return split_outputs(self.readout, self.logits)

    @property
    def predictions(self) -> np.ndarray:
        """Class of each image ``(B,)``, or of each pixel ``(B, H, W)`` where the logits are maps.

        Raises:
            QacDeployError: the network has several outputs, or one channel.
        """
        from toolchain.networks.layer_graph import has_classes

        if has_classes(self.readout):
            return self.logits.argmax(axis=1)
        outputs = list(self.outputs.values())
        if len(outputs) > 1 or outputs[0].shape[1] < 2:
            raise UnsupportedNetworkError(
                f"the readout '{self.readout.name}' has no classes: its outputs are "
                f"{', '.join(f'{n} {o.shape[1:]}' for n, o in self.outputs.items())}; read run.outputs"
            )
        return outputs[0].argmax(axis=1)

    @speaks_python
    def accuracy(self, labels: np.ndarray) -> float:
        """Share of right classes, of images or of pixels.

        Args:
            labels: ``(B,)``, or ``(B, H, W)`` where the logits are maps.

        Raises:
            QacDeployError: the labels have another shape or are no indices of classes, or the network has no
                classes.
        """
        import numpy as np

        found, given = self.predictions, np.asarray(labels)
        classes = next(iter(self.outputs.values())).shape[1]
        if given.dtype.kind not in "iu":
            raise DataError(
                f"labels must be whole numbers, the indices of classes, not {given.dtype}"
            )
        if given.shape != found.shape:
            raise DataError(
                f"labels must have shape {found.shape}, one for each prediction, not {given.shape}; pass "
                f"those of the images that were simulated"
            )
        if given.size and not 0 <= given.min() <= given.max() < classes:
            raise DataError(
                f"labels must be 0..{classes - 1}, one index for each of {classes} classes, but reach "
                f"{given.min()}..{given.max()}"
            )
        return float((found == given).mean())

    def __repr__(self) -> str:
        from qac_deploy.pictures.texts import aligned_lines

        head = f"Run of {len(self):,} image{'s' * (len(self) != 1)} in the {self.engine} engine"
        lines = aligned_lines([("population", "counts", "T", "mean spikes"), *self._rows()])
        return "\n".join([head, *(f"  {line}" for line in lines), *self.notes])

    def _repr_html_(self) -> str:
        from qac_deploy.pictures.texts import figure, table

        head = f"{len(self):,} image{'s' * (len(self) != 1)}, {self.engine} engine"
        rows = table(self._rows(), head=("population", "counts", "T", "mean spikes per neuron"))
        return figure("Run", head, rows, self.notes)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name, steps in self.timesteps.items():
            counts = self.counts[name]
            rows.append((name, f"{counts.shape}", f"{steps}", f"{counts.mean():.2f}"))
        return [*rows, (self.readout.name, f"{self.logits.shape}", "", "logits")]
