"""From a model and the user's options to a network on its cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deploy.design.compilation import CompileOptions, Design
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import TargetDescription
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import chosen_graph, lower_to_integers


def build_design(
    model: LayerGraph,
    target: TargetDescription,
    options: CompileOptions,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Design:
    """Lower and map a model as the options say, with the same number of slots in every buffer."""
    on_stage("lowering to integers")
    graph, network = lower_model(model, target, options)
    on_stage("mapping onto cores")
    depth = options.slots or target.default_buffer_slots
    provisioning = uniform_provisioning(network, depth, options.replicate)
    return Design(options=options, graph=graph, mapping=map_network(network, target, provisioning))


def lower_model(
    model: LayerGraph, target: TargetDescription, options: CompileOptions
) -> tuple[LayerGraph, IntegerNetwork]:
    """The graph after the float passes that the options choose, and its integer network.

    Raises:
        IntegerWidthError: the target cannot hold its integers.
    """
    graph = chosen_graph(model, options)
    return graph, lowering(target, options)(graph)


def lowering(
    target: TargetDescription, options: CompileOptions
) -> Callable[[LayerGraph], IntegerNetwork]:
    """The function from a graph to integers, for a target and the options' weight bits and thresholds."""
    widths = target.widths
    if options.weight_bits is not None:
        widths = replace(widths, weight_bits=options.weight_bits)
    if options.thresholds is not None:
        widths = replace(widths, distinct_thresholds=options.thresholds)
    return lambda graph: lower_to_integers(graph, widths)
