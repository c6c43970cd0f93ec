"""What a browser shows of a page: opened as a file, checked as it was laid out, and photographed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
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
_MOST_STOPS = 300
_AXE_OPTIONS = {"resultTypes": ["violations"]}
_OPERATED = ":is(button, summary, select, input, [role=slider], a[href]):not([role=tab])"
_KEY = """control => ({
    SELECT: "ArrowDown", INPUT: control.type === "checkbox" ? "Space" : "ArrowRight",
}[control.tagName] ?? (control.role === "slider" ? "ArrowRight" : "Enter"))"""
_OTHER_KEY = _KEY.replace("ArrowDown", "ArrowUp").replace("ArrowRight", "ArrowLeft")


@contextmanager
def started_browser() -> Iterator[Browser]:
    """The system's Chromium, which the tests need: without it they fail."""
    path = shutil.which("chromium")
    assert path is not None, "the tests of the page need: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def _calls(check: str) -> str:
    return f"(() => {{ {CHECKS}\nreturn {check}; }})()"


@dataclass
class Opened:
    """A page in a window of its own, and what it said and asked for since it was opened."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def faults(self, check: str) -> list[str]:
        """Call a function of ``page_checks.js``, such as ``outside()``."""
        return self.page.evaluate(_calls(check))

    def resize(self, width: int, height: int = _HEIGHT) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def tabs(self) -> Iterator[str]:
        """Show each tab in turn; a page without tabs is one."""
        tabs = self.page.get_by_role("tab")
        for index in range(max(tabs.count(), 1)):
            label = "page"
            if tabs.count():
                label = tabs.nth(index).inner_text()
                tabs.nth(index).click()
            yield label

    def show_all(self) -> None:
        """Show all tabs one below the other, each drawn as it is when chosen, and open all details."""
        for _ in self.tabs():
            pass
        panels = "document.querySelectorAll('[role=tabpanel]')"
        self.page.evaluate(f"for (const panel of {panels}) panel.hidden = false")
        self.open_details()

    def open_details(self) -> None:
        """As a reader does, with or without scripts."""
        details = "document.querySelectorAll('details')"
        self.page.evaluate(f"for (const part of {details}) part.open = true")

    def accessibility_faults(self) -> list[str]:
        """Findings of axe-core that it calls serious or critical.

        It takes ``color`` for the colour of a text in a drawing, whose colour is its ``fill``: ``faint()`` of
        ``page_checks.js`` measures the contrast of those.
        """
        return [
            f"{found['id']} ({found['impact']}): {node['html'][:160]}: {node['failureSummary']}"
            for found in Axe().run(self.page, options=_AXE_OPTIONS).response["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
            if not (found["id"] == "color-contrast" and node["html"].startswith("<text"))
        ]

    def keyboard_faults(self) -> list[str]:
        """Controls of a tab that the Tab key does not reach, or that show no sign of having the focus."""
        faults = []
        for tab in self.tabs():
            self.page.evaluate("reachedByTab = new Set(); document.activeElement.blur()")
            for _ in range(_MOST_STOPS):
                self.page.keyboard.press("Tab")
                stop, unmarked = self.page.evaluate(_calls("[noteFocus(), unmarkedFocus()]"))
                if stop:
                    break
                faults += [f"{tab}: no mark on {found}" for found in unmarked]
            faults += [f"{tab}: Tab does not reach {found}" for found in self.faults("unreached()")]
        return faults

    def dead_controls(self) -> list[str]:
        """Controls of a tab on which the key that operates them changes nothing.

        One that has nothing to do, such as a step back from the start, is tried again when all the others
        have been pressed from last to first.
        """
        faults = []
        for tab in self.tabs():
            count = self.page.locator(_OPERATED).count()
            unanswered = self._unanswered(tab, range(count), _KEY)
            if unanswered:
                again = self._unanswered(tab, range(count - 1, -1, -1), _OTHER_KEY)
                faults += [f"{tab}: no answer of {found}" for found in unanswered if found in again]
        return faults

    def _unanswered(self, tab: str, order: Iterable[int], key: str) -> list[str]:
        faults = []
        for index in order:
            place = f"{json.dumps(_OPERATED)}, {index}"
            pressed = self.faults(
                f"[ready({place})].map(control => control && ({key})(control))[0]"
            )
            if pressed is None:
                continue
            self.page.keyboard.press(pressed)
            in_sight, silent = self.faults(f"answer({place})")
            faults += silent
            if not in_sight:  # a link to another tab
                self.page.get_by_role("tab", name=tab, exact=True).click()
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


def screenshot_folder(otherwise: Path) -> Path:
    """Where people look for the pictures."""
    folder = Path(os.environ.get(SCREENSHOTS) or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
