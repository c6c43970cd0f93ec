"""Targets with other figures than the built-in ones, written as a user would write a YAML file."""

from __future__ import annotations

import yaml

from hw_models.figures import BUILT_IN
from hw_models.target_description import load_target


def small_target(folder, **sections):
    """loihi-sim with other figures, by section and name."""
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    for section, values in sections.items():
        for name, value in values.items():
            figure = document["figures"][section][name]
            figure |= {"value": value, "kind": "assumed", "source": "test"}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(document | {"name": "small"}))
    return load_target(str(path))
