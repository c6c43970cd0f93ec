"""What a part of the page is: a view, and the tab that it is shown in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from deploy.report.markup import Markup

Document = TypeVar("Document")


def no_basis(document: object) -> None:
    """The basis of a view whose figures need none."""


@dataclass(frozen=True, kw_only=True)
class View(Generic[Document]):
    """A titled part of the page.

    Attributes:
        id: anchor of the section, unique on the page; lower case with hyphens.
        title: heading of the section; None if the view needs none.
        standing: ``exact`` or ``estimate``, shown next to the heading.
        basis: says what the figures describe, such as the run shown or the steady state, and the samples
            measured.
        render: content below the heading, readable without scripts; ``NOTHING`` leaves the view out.
        scripts: files in ``page/scripts`` that add to the content. Each runs once, as a module, after the
            page has been parsed.
    """

    id: str
    title: str | None
    standing: str | None = None
    basis: Callable[[Document], str | None] = no_basis
    render: Callable[[Document], Markup]
    scripts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tab(Generic[Document]):
    """Views that are shown together. A tab none of whose views has content is left out."""

    title: str
    views: tuple[View[Document], ...]
