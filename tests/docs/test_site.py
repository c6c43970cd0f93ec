"""The documentation builds without a warning, and every link in the built pages leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_pages import DOCS, PAGES


class Page(HTMLParser):
    """Identifiers and links of a built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.identifiers: set[str] = set()
        self.links: list[str] = []
        self.undescribed: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.identifiers |= {found[name] for name in ("id", "name") if found.get(name)}
        self.links += [found[name] for name in ("href", "src") if found.get(name)]
        if tag == "img" and not found.get("alt"):
            self.undescribed.append(found.get("src") or "")


def dead_links(site: Path) -> list[str]:
    """Links within a built site to files or anchors that are not there."""
    pages = {
        path.resolve(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts
    }
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            anchor = parts.fragment
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                anchor and target in pages and unquote(anchor) not in pages[target].identifiers
            ):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    return dead


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, and what the build printed as warnings."""
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going", "-d", folder / "doctrees",
         DOCS, folder / "html"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return folder / "html", build


def test_the_site_builds_without_a_warning(site):
    html, build = site
    assert (build.returncode, build.stderr) == (0, "")
    names = {path.relative_to(DOCS).with_suffix(".html") for path in PAGES if DOCS in path.parents}
    assert all((html / name).exists() for name in names)


def test_every_link_in_the_site_leads_somewhere(site):
    assert dead_links(site[0]) == []


def test_every_picture_in_the_site_is_described(site):
    assert {
        p.name: Page(p).undescribed for p in site[0].glob("*.html") if Page(p).undescribed
    } == {}


def test_a_page_with_dead_links_is_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<h1 id="here"></h1><a href="#here"></a><a href="#nowhere"></a><a href="other.html?v=1#part"></a>'
        '<img src="no.png"><a href="https://example.org/"></a>'
    )
    (tmp_path / "other.html").write_text('<p id="part">')
    assert dead_links(tmp_path) == ["index.html: #nowhere", "index.html: no.png"]
    assert Page(tmp_path / "index.html").undescribed == ["no.png"]


def test_the_commands_page_has_every_command_and_option(site):
    from typer.main import get_command

    from deploy.cli.main import app

    text = (site[0] / "commands.html").read_text("utf-8")
    for name, command in get_command(app).commands.items():
        assert f'id="{name}"' in text
        section = text.partition(f'id="{name}"')[2].partition("<section")[0]
        options = [
            option for p in command.params if p.param_type_name == "option" for option in p.opts
        ]
        assert [option for option in options if option not in section] == []
