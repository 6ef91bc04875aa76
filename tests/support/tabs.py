"""A tab of headless Chromium, and what every page must be in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="a development tool: .ci/development.txt")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="a development tool: .ci/development.txt")

PATIENCE_MILLISECONDS = 30_000
expect = playwright.expect
expect.set_options(timeout=PATIENCE_MILLISECONDS)


class Tab:
    """A page that must not complain, ask another origin, be wider than its window, or keep anybody out."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.trouble: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda message: self.trouble.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin + "/", "data:")):
            self.trouble.append(f"asked {url}")

    def see(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def told(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MILLISECONDS)

    def judged(self) -> None:
        """In both schemes; with everything opened that can be."""
        self.page.evaluate("document.querySelectorAll('details:not(.sure)').forEach((each) => { each.open = true })")
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = axe.Axe().run(self.page).response["violations"]
            told = [(row["id"], node["html"][:200], node["failureSummary"]) for row in found for node in row["nodes"]]
            assert told == [], f"{self.page.url} in {scheme}: {told}"
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.page.evaluate(width) <= 0, f"{self.page.url} is wider than its window"
        assert self.trouble == [], self.page.url


@contextmanager
def opened(browser: Any, origin: str, *, width: int = 1200, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        yield Tab(context.new_page(), origin)
    finally:
        context.close()
