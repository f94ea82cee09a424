"""Debian's Chromium without a window, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

Scheme = Literal["light", "dark"]

#: The sizes in which pictures are taken: a phone, a laptop, a large screen.
WIDTHS = {"narrow": (380, 800), "wide": (1280, 800), "large": (3840, 1600)}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_TIMEOUT = 30_000
#: For a browser that root starts in a container.
_OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")
#: A page that follows what happens, and one that does not change.
_SETTLED = "#connection.on, #connection[hidden], body:not(:has(#connection))"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser for as long as it is needed."""
    expect.set_options(timeout=_TIMEOUT)
    executable = next((path for name in _NAMES if (path := shutil.which(name))), None)
    assert executable is not None, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A window of a user of its own, with its own cookies.

    Parameters
    ----------
    browser
        The browser.
    base
        The address of the server.
    scheme
        The colours that the user prefers.
    scripts
        Whether scripts are allowed.
    """

    def __init__(self, browser: Browser, base: str, *, scheme: Scheme = "light", scripts: bool = True) -> None:
        self._context = browser.new_context(base_url=base, color_scheme=scheme, java_script_enabled=scripts)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(_TIMEOUT)
        #: What the browser has complained about, such as a script that the content security policy has refused.
        self.complaints: list[str] = []
        self.page.on("console", lambda line: self._complain(line.type, line.text))
        self.page.on("pageerror", lambda error: self._complain("error", str(error)))

    def open(self, path: str) -> None:
        """Go to a page, and wait until it follows what happens."""
        self.page.goto(path)
        self.is_settled()

    def is_settled(self) -> None:
        """Wait until the page follows what happens, if it does at all."""
        expect(self.page.locator(_SETTLED)).to_have_count(1)

    def sees(self, *texts: str) -> None:
        """Wait until the page shows all of the texts."""
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, use_inner_text=True)

    def size(self, width: str) -> bool:
        """Change the size of the window; return whether the page fits."""
        columns, rows = WIDTHS[width]
        self.page.set_viewport_size({"width": columns, "height": rows})
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def picture(self, path: Path) -> None:
        """Take a picture of what the window shows."""
        self.page.screenshot(path=path)

    def close(self) -> None:
        """Close the window, and forget its cookies."""
        self._context.close()

    def _complain(self, kind: str, text: str) -> None:
        # A connection that is lost is reported as an error, too.
        if kind in ("error", "warning") and "net::ERR" not in text:
            self.complaints.append(text)
