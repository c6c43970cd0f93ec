"""The pictures of the concept pages are what their commands draw from the product's own results."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FAST, SLOW = ("timesteps", "alignment", "pipeline"), ("max_pooling",)
MODULES = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def drawn(module):
    """SVG by file name, as ``python docs/pictures MODULE`` writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "pictures"))
        return importlib.import_module(module).pictures()


@pytest.mark.parametrize("module", MODULES)
def test_stored_pictures_are_those_that_the_commands_draw(module):
    pictures = drawn(module)
    assert pictures
    stored = {file: (DOCS / "concepts" / file).read_text("utf-8") for file in pictures}
    differing = [file for file, svg in pictures.items() if svg != stored[file]]
    assert not differing, f"run `python docs/pictures {module}`: {', '.join(differing)}"


def test_every_picture_has_its_command_below():
    shown = {}
    for page in (DOCS / "concepts").glob("*.md"):
        found = re.findall(
            r"!\[.+?\]\((.+?)\)\n\n\*(.+?)\*\n\n", page.read_text("utf-8"), re.DOTALL
        )
        shown |= {picture: " ".join(caption.split()) for picture, caption in found}
    assert shown.keys() == {path.name for path in (DOCS / "concepts").glob("*.svg")}
    for picture, caption in shown.items():
        (module,) = re.findall(r"`python docs/pictures (\w+)`", caption)
        assert module in (*FAST, *SLOW)
        assert (DOCS / "pictures" / f"{module}.py").read_text("utf-8").count(f'"{picture}"') == 1
