"""The compiler from float layer graph to integer network, top to bottom."""

from __future__ import annotations

from toolchain.integer_network import (
    IntegerNetwork,
    IntegerWidths,
    verify_integer_network,
    verify_integer_widths,
)
from toolchain.layer_graph import LayerGraph, verify_layer_graph
from toolchain.passes.fold_source_scales import fold_source_scales
from toolchain.passes.quantize_to_integers import quantize_to_integers


def lower_to_integers(graph: LayerGraph, widths: IntegerWidths) -> IntegerNetwork:
    """Compile a layer graph to the integer network of a target; verified between passes.

    Args:
        graph: a layer graph; it stays untouched.
        widths: integer widths of the target.

    Raises:
        UnsupportedNetworkError: the graph is malformed or has a structure with no integer form.
        IntegerWidthError: a bound exceeds the target's widths.
    """
    graph = verify_layer_graph(graph)
    graph = verify_layer_graph(fold_source_scales(graph))
    network = verify_integer_network(quantize_to_integers(graph, widths))
    return verify_integer_widths(network, widths)
