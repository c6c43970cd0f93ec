"""What a browser shows of a page: opened as a file, checked as it was laid out, and photographed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHECKS = (Path(__file__).parent / "browser" / "page_checks.js").read_text(encoding="utf-8")
SCREENSHOTS = "QAC_DEPLOY_SCREENSHOTS"
SCHEMES = ("light", "dark")
WIDTHS = (390, 768, 1280, 1920)
_HEIGHT = 800
_TALLEST = 16_000
_MOST_STOPS = 300
_OPERATED = "button:not([role=tab]), summary, select, input, [role=slider], a[href]"
_KEY = """control => ({
    SELECT: "ArrowDown", INPUT: control.type === "checkbox" ? "Space" : "ArrowRight",
}[control.tagName] ?? (control.role === "slider" ? "ArrowRight" : "Enter"))"""


@contextmanager
def started_browser() -> Iterator[Browser]:
    """The system's Chromium, which the tests need: without it they fail."""
    path = shutil.which("chromium")
    assert path is not None, "the tests of the page need: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in a window of its own, and what it said and asked for since it was opened."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def faults(self, check: str) -> list[str]:
        """Call a function of ``page_checks.js``, such as ``outside()``."""
        return self.page.evaluate(f"(() => {{ {CHECKS}\nreturn {check}; }})()")

    def resize(self, width: int, height: int = _HEIGHT) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def make_as_tall_as_the_page(self) -> None:
        height = self.page.evaluate("document.documentElement.scrollHeight")
        self.resize(self.page.viewport_size["width"], min(height, _TALLEST))

    def parts(self) -> Iterator[str]:
        """Show each tab in turn, with all its details open; a page without tabs is one part."""
        tabs = self.page.get_by_role("tab")
        for index in range(max(tabs.count(), 1)):
            label = "page"
            if tabs.count():
                label = tabs.nth(index).inner_text()
                tabs.nth(index).click()
            self.page.evaluate(
                "for (const d of document.querySelectorAll('details')) d.open = true"
            )
            yield label

    def faults_of_parts(self, check: str) -> list[str]:
        return [f"{part}: {fault}" for part in self.parts() for fault in self.faults(check)]

    def accessibility_faults(self) -> list[str]:
        """Findings of axe-core that it calls serious or critical."""
        return [
            f"{part}: {found['id']} ({found['impact']}): {node['html'][:160]}: {node['failureSummary']}"
            for part in self.parts()
            for found in Axe().run(self.page).response["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]

    def keyboard_faults(self) -> list[str]:
        """Controls of a part that the Tab key does not reach, or that do not show that they have the focus."""
        faults = []
        for part in self.parts():
            self.page.evaluate("reachedByTab = new Set(); document.activeElement.blur()")
            for _ in range(_MOST_STOPS):
                self.page.keyboard.press("Tab")
                if self.faults("noteFocus()"):
                    break
                faults += [
                    f"{part}: no mark on {found}" for found in self.faults("unmarkedFocus()")
                ]
            faults += [
                f"{part}: Tab does not reach {found}" for found in self.faults("unreached()")
            ]
        return faults

    def dead_controls(self) -> list[str]:
        """Controls of a part on which the key that operates them changes nothing."""
        faults = []
        for part in self.parts():
            controls = self.page.locator(_OPERATED)
            for index in range(controls.count()):
                control = controls.nth(index)
                if not control.is_visible() or control.is_disabled():
                    continue
                control.focus()
                self.faults("remember()")
                self.page.keyboard.press(control.evaluate(_KEY))
                faults += [f"{part}: no answer of {found}" for found in self.faults("unanswered()")]
        return faults

    def photograph(self, path: Path, *, full: bool) -> None:
        self.page.screenshot(path=path, full_page=full, animations="disabled")


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1280, scheme: str = "light", **options
) -> Iterator[Opened]:
    """Open a file in a new window.

    Args:
        options: of ``Browser.new_context``, such as ``java_script_enabled``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": _HEIGHT}, color_scheme=scheme, **options
    )
    try:
        page = context.new_page()
        shown = Opened(page)
        page.on("request", lambda request: shown.requests.append(request.url))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                shown.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.goto(path.resolve().as_uri(), wait_until="load")
        yield shown
    finally:
        context.close()


def words(text: str) -> set[str]:
    """The words of a text, for a comparison that does not depend on layout."""
    return set(re.findall(r"\w[\w.,%]*", text.casefold()))


def screenshot_folder(otherwise: Path) -> Path:
    """Where people look for the pictures."""
    folder = Path(os.environ.get(SCREENSHOTS) or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
