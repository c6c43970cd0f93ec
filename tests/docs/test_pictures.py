"""The pictures of the concept pages are what their commands draw from the product's own results."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MODULES = ("timesteps", "alignment", "pipeline", "max_pooling")


@pytest.fixture(scope="module")
def drawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "pictures"))
        return {name: importlib.import_module(name).pictures() for name in MODULES}


def test_stored_pictures_are_those_that_the_commands_draw(drawn):
    files = {file: svg for pictures in drawn.values() for file, svg in pictures.items()}
    stored = {path.name: path.read_text("utf-8") for path in (DOCS / "concepts").glob("*.svg")}
    assert files.keys() == stored.keys()
    differing = [file for file, svg in files.items() if svg != stored[file]]
    assert not differing, f"run `python docs/pictures`: {', '.join(differing)}"


def test_every_picture_is_shown_with_its_command_below(drawn):
    shown = {}
    for page in (DOCS / "concepts").glob("*.md"):
        found = re.findall(r"!\[.+?\]\((.+?)\)\n\n\*(.+?)\*\n\n", page.read_text(), re.DOTALL)
        assert not shown.keys() & {picture for picture, _ in found}
        shown |= dict(found)
    for module, pictures in drawn.items():
        for picture in pictures:
            assert f"`python docs/pictures {module}`" in re.sub(r"\s+", " ", shown[picture]), picture
