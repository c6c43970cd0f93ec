"""Graph-to-graph passes; ``pipeline`` lists them in order."""

from toolchain.passes.pipeline import PassOptions, chosen_graph, lower_to_integers

__all__ = ["PassOptions", "chosen_graph", "lower_to_integers"]
