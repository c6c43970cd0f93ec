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
    """Lower and map a model as the options say, with as many slots in front of every stage."""
    on_stage("lowering to integers")
    graph = chosen_graph(model, options)
    network = lowering(target, options)(graph)
    on_stage("mapping onto cores")
    depth = options.slots or target.default_buffer_slots
    provisioning = uniform_provisioning(network, depth, options.replicate)
    return Design(options=options, graph=graph, mapping=map_network(network, target, provisioning))


def lowering(
    target: TargetDescription, options: CompileOptions
) -> Callable[[LayerGraph], IntegerNetwork]:
    """How a graph becomes integers for a target and the weight bits and thresholds asked for."""
    widths = target.widths
    if options.weight_bits is not None:
        widths = replace(widths, weight_bits=options.weight_bits)
    if options.thresholds is not None:
        widths = replace(widths, distinct_thresholds=options.thresholds)
    return lambda graph: lower_to_integers(graph, widths)
