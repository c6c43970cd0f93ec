"""Graphs that ``qac-deploy export`` wrote: integer networks, whose metadata say what NIR cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.errors import ModelFileError, OptionError, UnsupportedNetworkError
from toolchain.importers.nir_format.conventions import Convention
from toolchain.importers.nir_format.network import NirNetwork
from toolchain.importers.nir_format.nodes import Neurons
from toolchain.importers.torch_module import Normalization
from toolchain.shown_values import shown_text

USUAL_MAX_VALUE = 255
"""Of pixels, where the user says nothing."""

_NETWORK = "qac_deploy_network"


@dataclass(frozen=True, kw_only=True)
class OwnExport:
    """What the metadata say.

    Attributes:
        timesteps: T of every population.
        max_value: largest pixel; the graph takes pixels themselves.
    """

    timesteps: int
    max_value: int

    def options(
        self,
        label: str,
        timesteps: int | None,
        max_value: int,
        normalization: Normalization | None,
    ) -> tuple[int, int, Normalization]:
        """T, the largest pixel, and the normalization from pixels / max_value to pixels.

        Raises:
            OptionError: what the user says differs.
        """
        if timesteps not in (None, self.timesteps):
            raise OptionError(
                f"{label}: says T = {self.timesteps} in its metadata, not {timesteps}; leave timesteps out"
            )
        if max_value not in (USUAL_MAX_VALUE, self.max_value):
            raise OptionError(
                f"{label}: says in its metadata that pixels are 0..{self.max_value}, not 0..{max_value}; "
                f"leave max_value out"
            )
        to_pixels = Normalization(mean=(0.0,), std=(1 / self.max_value,))
        if normalization not in (None, to_pixels):
            raise OptionError(f"{label}: takes pixels as they are; leave the normalization out")
        return self.timesteps, self.max_value, to_pixels

    def convention(self, found: Convention) -> Convention:
        """That of the exporter."""
        note = (
            "written by qac-deploy export: T and the largest pixel are those of its metadata; each step adds "
            "the current itself, and a neuron fires at v >= v_threshold"
        )
        return replace(found, writer="qac-deploy export", fires_at_equality=True, notes=(note,))


def own_export(network: NirNetwork) -> OwnExport | None:
    """The metadata of a graph of ours that passes each spike on at once; None for those of others.

    Raises:
        UnsupportedNetworkError: the network sums spikes in alignment buffers, or starts from potentials,
            which a NIR graph does not compute.
        ModelFileError: the metadata are damaged.
    """
    if _NETWORK not in network.metadata:
        return None
    steps = {_integer(network, name, "timesteps") for name in network.neurons}
    if len(steps) > 1:
        raise _not_in_nir(network, f"its populations run {sorted(steps)} timesteps")
    for name, metadata in network.node_metadata.items():
        if metadata.get("alignment", "replicate") != "replicate":
            raise _not_in_nir(
                network, f"node '{name}' aligns spikes by {shown_text(metadata['alignment'], 20)}"
            )
        if "bias" in metadata:
            raise _not_in_nir(network, f"the biases of node '{name}' differ within a channel")
        if isinstance(network.nodes[name], Neurons) and np.any(
            np.asarray(metadata.get("initial_potential", 0)) != 0
        ):
            raise _not_in_nir(network, f"the potentials of node '{name}' do not start at 0")
    return OwnExport(timesteps=steps.pop(), max_value=_integer(network, network.input, "max_value"))


def _integer(network: NirNetwork, name: str, field: str) -> int:
    value = network.node_metadata.get(name, {}).get(field)
    if not isinstance(value, np.ndarray) or value.shape != () or value.dtype.kind not in "iu":
        raise ModelFileError(
            f"{network.label}: node '{name}': metadata.{field} must be an integer; export the build again"
        )
    return int(value)


def _not_in_nir(network: NirNetwork, reason: str) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        f"{network.label}: is an integer network that `qac-deploy export` wrote, and {reason}, which a NIR "
        f"graph does not compute; compile the model file that it was built from, or read it with "
        f"deploy.backends.nir_graph.from_nir"
    )
