"""Limits of what a user may ask for, which the command line and the checks of options share."""

MOST_SHOWN = 10_000
"""Most samples of a run that is shown, or checked neuron by neuron: its records grow with them."""

MOST_OF_A_RESOURCE = 1_000_000
"""Most slots of a buffer or replicas of a population that are counted: no target has as many."""
