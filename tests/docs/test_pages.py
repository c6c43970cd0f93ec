"""The pages as files: links, pictures, marks of code blocks, and commands that exist with their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from markdown_pages import (
    PAGES,
    anchors,
    code_blocks,
    image_descriptions,
    inline_code,
    links,
    page_name,
)
from page_runner import kind_of, reason_not_run, substitutions
from typer.main import get_command

from deploy.cli.main import app

each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)
COMMANDS = {
    name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    for name, command in get_command(app).commands.items()
}


def dead_links(page: Path) -> list[str]:
    """Links of a page as a git host follows them: to a file, and to a heading of a Markdown file."""
    dead = []
    for link in links(page):
        address, anchor = urldefrag(link)
        if re.match(r"[a-z]+:", address):
            if not re.fullmatch(r"https://[\w.-]+(/[^\s<>]*)?", address):
                dead.append(link)
            continue
        target = page.parent / unquote(address) if address else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and unquote(anchor) not in anchors(target)
        ):
            dead.append(link)
    return dead


def unknown_commands(text: str) -> Iterator[str]:
    """Parts of a command line of ``qac-deploy`` that its help does not have."""
    words = shlex.split(text, comments=True)
    name, *rest = words[1:]
    if name.startswith("-"):
        rest, options = (
            words[1:],
            {"--help", "--version", "--install-completion", "--show-completion"},
        )
    elif name.isupper():  # such as COMMAND
        return
    elif name not in COMMANDS:
        yield f"{text}: no command {name}"
        return
    else:
        options = COMMANDS[name] | {"--help"}
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in options:
            yield f"{text}: no option {word}"


@each_page
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


@each_page
def test_pictures_are_described(page):
    assert [file for file, description in image_descriptions(page) if len(description) < 10] == []


@each_page
def test_code_can_be_run_or_says_why_not(page):
    """Python compiles; marks have reasons and fit their blocks; commands are in blocks of commands."""
    for block in code_blocks(page):
        where = f"{page.name}, line {block.line}"
        reason_not_run(block)
        substitutions(block)
        if kind_of(block) == "python":
            compile(block.text, where, "exec")
        elif kind_of(block) == "shown":
            assert not re.search(r"^\$? ?(qac-deploy|python|pip|make) ", block.text, re.M), (
                f"{where}: mark as bash"
            )


@each_page
def test_commands_exist_with_their_options(page):
    printed = [code for code in inline_code(page) if code.startswith("qac-deploy ")]
    for block in code_blocks(page):
        if kind_of(block) == "commands":
            lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
            printed += [line.removeprefix("$ ") for line in lines if "qac-deploy " in line[:13]]
    assert [unknown for text in printed for unknown in unknown_commands(text)] == []


def test_what_is_wrong_with_a_page_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# A `b` and c-d, e\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[](other.md#a-b-and-c-d-e) [](#page) [](https://example.org/a)\n"
        "[](other.md#none) [](none.md) [](http://example.org) [](#none) ![x](none.png)\n"
    )
    assert dead_links(page) == [
        "other.md#none",
        "none.md",
        "http://example.org",
        "#none",
        "none.png",
    ]
    assert list(image_descriptions(page)) == [("none.png", "x")]
    assert list(unknown_commands("qac-deploy compile model.pt --slots=3 --json")) == []
    assert list(unknown_commands("qac-deploy compil model.pt")) != []
    assert list(unknown_commands("qac-deploy compile model.pt --slot 3")) != []


def test_readme_is_short_up_to_its_reference_tables():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown, reference, _ = re.sub(r"<!--.*?-->", "", text, flags=re.S).partition("\n## Reference\n")
    assert reference
    assert len(shown.split()) <= 1_000
