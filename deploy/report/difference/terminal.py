"""The difference of two builds in a terminal."""

from __future__ import annotations

from rich.console import Console

from deploy.report.difference.difference import Difference
from deploy.report.difference.figures import PARTS
from deploy.report.difference.tables import (
    equal_sentence,
    is_equal,
    only_in_one_table,
    part_tables,
    same_sentence,
    verdict_sentence,
)
from deploy.report.tables import print_table
from deploy.report.terminal_text import escape


def print_difference(document: Difference, console: Console) -> None:
    """Both builds, each figure that differs, and the others in one line."""
    for letter, side in (("A", document["a"]), ("B", document["b"])):
        console.print(
            f"[bold]{letter}[/bold]  [bold]{escape(side['folder'])}[/bold]: {escape(side['model'])} on "
            f"{escape(side['target'])}"
        )
        console.print(f"   {escape(side['command'])}", soft_wrap=True)
    console.print(same_sentence(document))
    if not is_equal(document):
        console.print(verdict_sentence(document))
    for part in PARTS:
        for table in part_tables(document, part.heading):
            print_table(table, console)
    if document["only_in_one"]:
        print_table(only_in_one_table(document), console)
    console.print(
        f"\n{equal_sentence(document)}" if not is_equal(document) else equal_sentence(document)
    )
