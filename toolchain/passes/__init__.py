"""Graph-to-graph passes; ``pipeline.lower_to_integers`` lists them in order."""

from toolchain.passes.pipeline import lower_to_integers

__all__ = ["lower_to_integers"]
