"""The directive ``commands``: a section for each command of ``qac-deploy``, read from the command itself."""

from __future__ import annotations

import inspect

import typer
from docutils import nodes
from reference_tables import inline, table
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
    section += [nodes.paragraph("", "", *inline(text)) for text in paragraphs]
    section += nodes.literal_block(text=example.removeprefix("Example: "), language="bash")
    context = typer.Context(command, info_name=name, parent=group_context)
    parameters = [(p.param_type_name, p.get_help_record(context)) for p in command.params]
    for kind in ("argument", "option"):
        records = [record for of_kind, record in parameters if of_kind == kind and record]
        rows = [[[nodes.literal(text=shown)], list(inline(text))] for shown, text in records]
        if rows:
            section += table((kind, "meaning"), rows, COLUMN_WIDTHS)
    return section


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    sphinx.add_directive("commands", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
