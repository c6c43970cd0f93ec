"""The directive ``commands``: a section for each command of ``qac-deploy``, read from the command itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from deploy.cli.main import app

COLUMN_WIDTHS = (35, 65)


class CommandReference(SphinxDirective):
    """Sections with usage, description, example, arguments and options of every command, in their order."""

    has_content = True  # on a git host, the block shows this text

    def run(self) -> list[nodes.Node]:
        group = get_command(app)
        context = typer.Context(group, info_name="qac-deploy")
        return [
            _section(info.name, inspect.getdoc(info.callback), group.commands[info.name], context)
            for info in app.registered_commands
        ]


def _section(name, description, command, group_context) -> nodes.section:
    section = nodes.section(ids=[nodes.make_id(name)], names=[name])
    section += nodes.title("", "", nodes.literal(text=f"qac-deploy {name}"))
    *paragraphs, example = (" ".join(text.split()) for text in description.split("\n\n"))
    section += [nodes.paragraph("", "", *_inline(text)) for text in paragraphs]
    section += nodes.literal_block(text=example.removeprefix("Example: "), language="bash")
    context = typer.Context(command, info_name=name, parent=group_context)
    parameters = [(p.param_type_name, p.get_help_record(context)) for p in command.params]
    for kind in ("argument", "option"):
        records = [record for of_kind, record in parameters if of_kind == kind and record]
        if records:
            section += _table(kind, records)
    return section


def _table(kind: str, records: list[tuple[str, str]]) -> nodes.table:
    widths = [nodes.colspec(colwidth=width) for width in COLUMN_WIDTHS]
    head = nodes.thead("", _row([nodes.Text(kind)], [nodes.Text("meaning")]))
    rows = [_row([nodes.literal(text=shown)], list(_inline(text))) for shown, text in records]
    body = nodes.tbody("", *rows)
    group = nodes.tgroup("", *widths, head, body, cols=len(widths))
    return nodes.table("", group, classes=["command-parameters"])


def _row(*cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def _inline(text: str) -> Iterator[nodes.Node]:
    """Text in which backticks mark code."""
    for index, part in enumerate(re.split(r"`([^`]+)`", text)):
        if part:
            yield nodes.literal(text=part) if index % 2 else nodes.Text(part)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    sphinx.add_directive("commands", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
