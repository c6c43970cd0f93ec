"""What a Markdown page holds: code blocks with their marks, tables, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts))


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True, kw_only=True)
class CodeBlock:
    """A fenced or indented block.

    Attributes:
        line: of the file, from 1.
        language: the word behind the fence; empty if there is none.
        mark: text of the HTML comment directly above, which readers of the page do not see.
    """

    line: int
    language: str
    text: str
    mark: str


@cache
def _tokens(path: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")))


def code_blocks(path: Path) -> list[CodeBlock]:
    """Every block of code, from top to bottom."""
    blocks, mark = [], ""
    for token in _tokens(path):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            language = token.info.split()[0] if token.info.strip() else ""
            line = token.map[0] + 1
            blocks.append(CodeBlock(line=line, language=language, text=token.content, mark=mark))
        comment = re.fullmatch(r"<!--\s*(.*?)\s*-->\s*", token.content, flags=re.S)
        mark = comment[1] if token.type == "html_block" and comment else ""
    return blocks


def tables(path: Path) -> list[list[list[str]]]:
    """Every table as rows of cells, the heading first."""
    found: list[list[list[str]]] = []
    cell = False
    for token in _tokens(path):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            cell = True
        elif cell and token.type == "inline":
            found[-1][-1].append(token.content)
            cell = False
    return found


def table_with(path: Path, *heading: str) -> list[list[str]]:
    """Rows of all tables of a page with this heading."""
    return [row for table in tables(path) if table[0] == list(heading) for row in table[1:]]


def links(path: Path) -> Iterator[str]:
    """Target of every link and image."""
    for token in _inline_tokens(path):
        if token.type in ("link_open", "image"):
            yield str(token.attrs["href" if token.type == "link_open" else "src"])


def image_descriptions(path: Path) -> Iterator[tuple[str, str]]:
    """(file, description) of every image."""
    for token in _inline_tokens(path):
        if token.type == "image":
            yield str(token.attrs["src"]), token.content


def inline_code(path: Path) -> Iterator[str]:
    """Every piece of code within text, and text within pictures' captions."""
    return (token.content for token in _inline_tokens(path) if token.type == "code_inline")


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as git hosts and the site make them."""
    tokens = _tokens(path)
    headings = (b for a, b in pairwise(tokens) if a.type == "heading_open")
    words = ("".join(t.content for t in heading.children or ()) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in words}


def _inline_tokens(path: Path) -> Iterator[Token]:
    return (inner for token in _tokens(path) for inner in token.children or ())
