"""The ways in which ``--lowering`` chooses integers."""

from __future__ import annotations

IMAGES, PLAIN = "images", "plain"
LOWERINGS = (IMAGES, PLAIN)
"""Fitted to training images of the data set, or from the weights alone."""
