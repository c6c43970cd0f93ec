"""A converted network, as its model file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import ModelFileError
from toolchain.files.digest import file_sha256

if TYPE_CHECKING:
    from deploy.convert.conversion import ConversionReport
    from toolchain.networks.layer_graph import LayerGraph, Population


_SHOWN_FIRST, _SHOWN_LAST = 30, 5  # populations of a large network in a text


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A converted network in a model file.

    Attributes:
        path: of the model file, which ``compile`` and the command line take.
        graph: populations and synapses of the float spiking network.
        training: the record in the file: data set, origin and settings.
        conversion: what was compared and measured; None for a model that was loaded.
        sha256: of the file.
    """

    path: Path
    graph: LayerGraph
    training: Mapping[str, Any]
    conversion: ConversionReport | None = None
    sha256: str

    def require_unchanged(self) -> None:
        """Require that the file still holds this model.

        Raises:
            ModelFileError: it is missing, or holds another one.
        """
        found = file_sha256(self.path) if self.path.is_file() else None
        if found != self.sha256:
            what = "is no longer there" if found is None else "was replaced since"
            raise ModelFileError(
                f"{self.path}: {what} this model was written or loaded; convert it again to a file of "
                f"its own with out=..., or read the file with load_model"
            )

    @property
    def populations(self) -> tuple[Population, ...]:
        """All populations in the order of the flow: input, spiking ones, readout."""
        return tuple(self.graph.populations)

    @property
    def timesteps(self) -> dict[str, int]:
        """T of each spiking population."""
        return {p.name: p.timesteps for p in self.graph.spiking}

    @property
    def mean_timesteps(self) -> float:
        """Mean T of the activations, without the neurons of exact max pooling."""
        return self.graph.mean_timesteps

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the float spiking network on test images, where ``convert`` measured it."""
        if self.conversion is None or self.conversion.accuracy is None:
            return None
        return self.conversion.accuracy.accuracy

    @property
    def notes(self) -> tuple[str, ...]:
        """What ``convert`` compared, left out or decided, one line each."""
        if self.conversion is None:
            return ()
        from deploy.convert.sentences import sentences

        return tuple(sentences(self.conversion))

    def __repr__(self) -> str:
        from deploy.convert.sentences import populations_sentence
        from qac_deploy.pictures.layer_graph import boxes_of_graph
        from qac_deploy.pictures.texts import aligned_lines

        rows = [(box.name, box.shape, box.steps, box.words) for box in boxes_of_graph(self.graph)]
        head = [("population", "shape", "T", "inputs")]
        if len(rows) > _SHOWN_FIRST + _SHOWN_LAST:
            left = len(rows) - _SHOWN_FIRST - _SHOWN_LAST
            rows[_SHOWN_FIRST:-_SHOWN_LAST] = [(f"... {left} more", "", "", "")]
        return "\n".join(
            [
                f"Model {self.path}: {populations_sentence(self.graph)}",
                *(f"  {line}" for line in aligned_lines([*head, *rows])),
                *self.notes,
            ]
        )

    def _repr_html_(self) -> str:
        from deploy.convert.sentences import populations_sentence
        from qac_deploy.pictures.layer_graph import boxes_of_graph, draw_graph
        from qac_deploy.pictures.texts import figure

        return figure(
            f"Model {self.path}",
            populations_sentence(self.graph),
            draw_graph(boxes_of_graph(self.graph)),
            self.notes,
        )
