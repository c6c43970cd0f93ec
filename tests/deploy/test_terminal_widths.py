"""Tables in terminals of several widths: no figure is cut, and no column left out."""

from __future__ import annotations

from collections import Counter

import pytest
from installed_command import in_terminal

from deploy.build.load import load_report
from deploy.report.markup import number
from deploy.report.pipeline_tables import IN_SUMMARY, comparison_table, stages_table


def cells(table):
    """Every cell that a terminal shows in one piece."""
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if column.short is not None and isinstance(cell, str | float | int):
                yield from number(cell).split()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_figure_appears_whole(compiled, columns):
    shown = in_terminal(columns, "report", compiled[1])
    report = load_report(compiled[1])
    words = shown.split()
    needed: Counter[str] = Counter()
    for table in (stages_table(report), comparison_table(report["comparison"]).only(*IN_SUMMARY)):
        needed.update(cells(table))
        headings = [column.short for column in table.columns if column.short]
        assert all(heading in shown for heading in headings[1:])  # the first cell speaks for itself
    assert not needed - Counter(words)
