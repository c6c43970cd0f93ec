"""Targets with other figures than the built-in ones."""

from __future__ import annotations

from dataclasses import replace

import yaml

from hw_models.figures import BUILT_IN, load_figures
from hw_models.target_description import describe_target

LOIHI = load_figures("loihi-sim")


def small_target(**sections):
    """loihi-sim with other figures, by section and name."""
    figures = dict(LOIHI.figures)
    for section, values in sections.items():
        for name, value in values.items():
            name = f"{section}.{name}"
            figures[name] = replace(figures[name], value=value, kind="assumed", source="test")
    return describe_target(replace(LOIHI, name="small", figures=figures))


def write_target(path, **sections):
    """The same figures in a file, as a user would write it."""
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    for section, values in sections.items():
        for name, value in values.items():
            figure = document["figures"][section][name]
            figure |= {"value": value, "kind": "assumed", "source": "test"}
    path.write_text(yaml.safe_dump(document | {"name": "small"}))
