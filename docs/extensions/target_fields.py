"""The directive ``target-fields``: a table of a target's fields, read from a built-in one and the code."""

from __future__ import annotations

import inspect
import re

from docutils import nodes
from reference_tables import inline, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from hw_models.core_limits import CoreAmounts
from hw_models.figures import Figure
from hw_models.target_description import (
    CostProfile,
    Mesh,
    SynapseMemory,
    TargetDescription,
    load_target,
)
from toolchain.networks.integer_network import IntegerWidths

RECORDS = {
    "integers": IntegerWidths,
    "core": CoreAmounts,
    "synapse_memory": SynapseMemory,
    "mesh": Mesh,
    "population_axons": TargetDescription,
    "pipeline": TargetDescription,
    "cost_profiles": CostProfile,
}
"""Classes whose docstrings describe the fields of a section."""

COLUMN_WIDTHS = (34, 12, 12, 42)


class TargetFields(SphinxDirective):
    """Sections of a target's figures: field, value and kind in a built-in target, and what it means."""

    required_arguments = 1
    has_content = True  # on a git host, the block shows this text

    def run(self) -> list[nodes.Node]:
        target = load_target(self.arguments[0])
        rows = [_row(name, figure) for name, figure in target.file.figures.items()]
        heading = ("field", f"in {target.name}", "kind", "meaning, and source of the value")
        return [table(heading, rows, COLUMN_WIDTHS)]


def _row(name: str, figure: Figure) -> list[list[nodes.Node]]:
    section, *_, field = name.split(".")
    meaning = _described(RECORDS[section]).get(field) if section in RECORDS else None
    text = f"{meaning[0].upper()}{meaning[1:]} ({figure.source})" if meaning else figure.source
    return [
        [nodes.literal(text=name)],
        [nodes.Text(f"{figure.value:,}")],
        [nodes.Text(figure.kind)],
        list(inline(text)),
    ]


def _described(record: type) -> dict[str, str]:
    """Descriptions in the section ``Attributes`` of a docstring, by field; one may describe several."""
    attributes = inspect.getdoc(record).partition("Attributes:\n")[2]
    found = {}
    for entry in re.split(r"\n    (?! )", f"\n{attributes}"):
        names, _, text = entry.partition(":")
        for name in names.split(","):
            found[name.strip()] = " ".join(text.split())
    return found


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    sphinx.add_directive("target-fields", TargetFields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
