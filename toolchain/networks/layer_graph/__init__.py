"""The float network: populations (nodes) and synapses (edges) with real-valued weights and T_l."""

from toolchain.networks.layer_graph.graph import LayerGraph, PopulationGraph
from toolchain.networks.layer_graph.populations import (
    ALIGNMENT_METHODS,
    AlignmentMethod,
    InputPopulation,
    Population,
    ReadoutOutput,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.layer_graph.readout_outputs import (
    has_classes,
    readout_outputs,
    split_outputs,
)
from toolchain.networks.layer_graph.verify import verify_layer_graph

__all__ = [
    "ALIGNMENT_METHODS",
    "AlignmentMethod",
    "InputPopulation",
    "LayerGraph",
    "Population",
    "PopulationGraph",
    "ReadoutOutput",
    "ReadoutPopulation",
    "SpikingPopulation",
    "Synapse",
    "has_classes",
    "readout_outputs",
    "split_outputs",
    "verify_layer_graph",
]
