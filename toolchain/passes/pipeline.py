"""The compiler from float layer graph to integer network, top to bottom.

A pass is a function from graph to graph, in a file of its own. It is listed here once, with its option if it
has one, and the graph is verified after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerWidths,
    verify_integer_network,
    verify_integer_widths,
)
from toolchain.networks.layer_graph import AlignmentMethod, LayerGraph, verify_layer_graph
from toolchain.passes.align_edges import align_edges, align_population
from toolchain.passes.change_timesteps import (
    cap_timesteps,
    set_timesteps,
    use_uniform_timesteps,
)
from toolchain.passes.fold_source_scales import fold_source_scales
from toolchain.passes.merge_linear_maps import merge_linear_maps
from toolchain.passes.quantize_to_integers import quantize_to_integers

FloatPass: TypeAlias = Callable[[LayerGraph], LayerGraph]


@dataclass(frozen=True, kw_only=True)
class PassOptions:
    """Options of the float passes.

    Attributes:
        max_timesteps: cap on every T_l. None keeps the trained ones.
        uniform_timesteps: one T for all spiking populations, after the cap. None keeps theirs.
        timesteps: T of single spiking populations, by name, after the other two.
        alignment: alignment of every edge. None keeps the model's own.
        alignments: alignment of the edges into single populations, by name.
    """

    max_timesteps: int | None = None
    uniform_timesteps: int | None = None
    timesteps: Mapping[str, int] = field(default_factory=dict)
    alignment: AlignmentMethod | None = None
    alignments: Mapping[str, AlignmentMethod] = field(default_factory=dict)


def float_passes(options: PassOptions) -> Iterator[FloatPass]:
    """The passes that change what the float network computes, in order."""
    if options.max_timesteps is not None:
        yield partial(cap_timesteps, most=options.max_timesteps)
    if options.uniform_timesteps is not None:
        yield partial(use_uniform_timesteps, timesteps=options.uniform_timesteps)
    if options.timesteps:
        yield partial(set_timesteps, timesteps=options.timesteps)
    if options.alignment is not None:
        yield partial(align_edges, method=options.alignment)
    for name, method in options.alignments.items():
        yield partial(align_population, name=name, method=method)


def lowering_passes() -> Iterator[FloatPass]:
    """The passes that rewrite a float network for lowering at the same values, in order."""
    yield merge_linear_maps
    yield fold_source_scales


def chosen_graph(model: LayerGraph, options: PassOptions) -> LayerGraph:
    """Run the float passes that the options ask for, verifying the graph after each.

    Args:
        model: a layer graph; it stays untouched.

    Raises:
        UnsupportedNetworkError: the model, or the result of a pass, is malformed.
    """
    return _run(float_passes(options), model)


def lower_to_integers(graph: LayerGraph, widths: IntegerWidths) -> IntegerNetwork:
    """Compile a layer graph to the integer network of a target, verifying it after each pass.

    Args:
        graph: a layer graph; it stays untouched.
        widths: integer widths of the target.

    Raises:
        UnsupportedNetworkError: the graph is malformed or has a structure with no integer form.
        IntegerWidthError: a bound exceeds the target's widths.
    """
    return lower_folded(with_folded_scales(graph), widths)


def with_folded_scales(graph: LayerGraph) -> LayerGraph:
    """Run the passes that rewrite a float network for lowering, verifying the graph after each.

    Raises:
        UnsupportedNetworkError: the graph is malformed or has a structure with no integer form.
    """
    return _run(lowering_passes(), graph)


def lower_folded(graph: LayerGraph, widths: IntegerWidths) -> IntegerNetwork:
    """The integer network of a graph with folded scales, see ``lower_to_integers``.

    Raises:
        IntegerWidthError: a bound exceeds the target's widths.
    """
    network = verify_integer_network(quantize_to_integers(graph, widths))
    return verify_integer_widths(network, widths)


def _run(passes: Iterator[FloatPass], graph: LayerGraph) -> LayerGraph:
    graph = verify_layer_graph(graph)
    for run in passes:
        graph = verify_layer_graph(run(graph))
    return graph
