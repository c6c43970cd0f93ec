"""The frame of a page: head, banner, tabs and panels, with every style and script in the page itself.

A content security policy lists the digests of these styles and scripts, so that nothing else can run, and
nothing is loaded from elsewhere. Without scripts, the tabs are links to sections, one below the other.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.report.markup import NOTHING, Markup, element, join
from deploy.report.page.view import Document, Tab, View

_HERE = Path(__file__).parent
_STYLES = (
    "base.css",
    "frame.css",
    "first_screen.css",
    "tables.css",
    "charts.css",
    "layer_graph.css",
    "live.css",
    "pareto.css",
    "print.css",
)
"""Files in ``page/styles``, in the order in which they apply."""

_THEME_SCRIPT, _FRAME_SCRIPT = "theme.js", "frame.js"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M1 11h3l2-8 3 11 2-5h4' fill='none' stroke='%232f6db3' stroke-width='2'/%3E%3C/svg%3E"
)


def page(document: Document, tabs: Iterable[Tab[Document]], title: str, banner: Markup) -> str:
    """A complete HTML page; equal documents give equal bytes.

    Args:
        document: what the views show.
        tabs: in the order of the page.
        title: of the window.
        banner: heading of level 1, and what else stays visible in every tab.
    """
    shown = [(tab, views) for tab in tabs if (views := _rendered(document, tab))]
    scripts = [_read("scripts", name) for name in _scripts(shown)]
    theme, styles = _read("scripts", _THEME_SCRIPT), "".join(_read("styles", s) for s in _STYLES)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element(
            "meta", http_equiv="Content-Security-Policy", content=_policy([theme, *scripts], styles)
        ),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href=_ICON),
        element("style", Markup(styles)),
        element("script", Markup(theme)),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#main", class_="skip"),
        _header(banner, shown),
        element("main", *(_panel(views) for _, views in shown), id="main", tabindex="-1"),
        element(
            "div", id="announcement", class_="visually-hidden", role="status", aria_live="polite"
        ),
        *(element("script", Markup(script), type="module") for script in scripts),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


_Rendered = list[tuple[View[Document], Markup, str | None]]


def _rendered(document: Document, tab: Tab[Document]) -> _Rendered[Document]:
    """The views with content, and their bases."""
    contents = ((view, view.render(document)) for view in tab.views)
    return [(view, content, view.basis(document)) for view, content in contents if content]


def _scripts(shown: Sequence[tuple[Tab[Document], _Rendered[Document]]]) -> list[str]:
    """The frame's script and those of the views shown, each once."""
    names = [name for _, views in shown for view, _, _ in views for name in view.scripts]
    return list(dict.fromkeys([_FRAME_SCRIPT, *names]))


def _read(folder: str, name: str) -> str:
    return (_HERE / folder / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], styles: str) -> str:
    return (
        f"default-src 'none'; script-src {' '.join(map(_digest, scripts))}; style-src {_digest(styles)}; "
        f"img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _header(banner: Markup, shown: Sequence[tuple[Tab[Document], _Rendered[Document]]]) -> Markup:
    links = (
        element("li", element("a", tab.title, href=f"#{views[0][0].id}")) for tab, views in shown
    )
    return element(
        "header",
        element(
            "div",
            banner,
            element("button", "Dark theme", id="theme", type="button", class_="scripted-only"),
            class_="banner",
        ),
        element("nav", element("ul", *links), aria_label="Parts of the report"),
    )


def _panel(views: _Rendered[Document]) -> Markup:
    return element("div", *(_section(*view) for view in views), class_="panel")


def _section(view: View[Document], content: Markup, basis: str | None) -> Markup:
    if view.title is None:
        return element("section", content, id=view.id)
    badge = NOTHING if view.standing is None else element("span", view.standing, class_="standing")
    note = NOTHING if basis is None else element("span", basis, class_="basis")
    heading = element(
        "div", element("h2", view.title, id=f"{view.id}-title"), badge, note, class_="heading"
    )
    return element(
        "section", join([heading, content]), id=view.id, aria_labelledby=f"{view.id}-title"
    )
