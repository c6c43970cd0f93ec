"""Tables in terminals of several widths: no figure is cut, and no column left out."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections import Counter

import pytest
from installed_command import COMMAND

from deploy.build.load import load_report
from deploy.report.markup import number
from deploy.report.pipeline_tables import IN_SUMMARY, comparison_table, stages_table


def in_terminal(columns, *arguments):
    """Output of the installed command in a terminal of a width, without styles."""
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)], stdout=its, stderr=its, stdin=subprocess.DEVNULL, env=environment
    )  # fmt: skip
    os.close(its)
    output = b""
    try:
        while block := os.read(ours, 1 << 16):
            output += block
    except OSError:  # the end of a terminal's output
        pass
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).replace("\r", "")


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
