"""Links whose text is a file's name, as on a git host, show the titles of the page and section instead."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class ShowTitles(SphinxPostTransform):
    """Replace the text of such links."""

    default_priority = 8  # before MyST resolves links

    def run(self, **kwargs: object) -> None:
        for link in self.document.findall(pending_xref):
            if link.get("refdomain") != "doc" or not re.fullmatch(
                r"[\w./-]+\.(md|ipynb)", link.astext()
            ):
                continue
            page, anchor = link["reftarget"], link.get("reftargetid")
            if page not in self.env.titles:  # MyST warns of it
                continue
            title = self.env.titles[page].astext()
            _, _, section = self.env.metadata[page].get("myst_slugs", {}).get(anchor, (0, "", ""))
            shown = next(iter(link.findall(nodes.inline)))
            shown.children = [nodes.Text(f"{title}: {section}" if section else title)]


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    sphinx.add_post_transform(ShowTitles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
