"""Debian's Chromium, headless, in a network namespace: what a subscriber has in front of him.

One browser serves all tests; each test has contexts (profiles) of its own, so nothing is cached from one to the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.lab.netns import Namespace

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
NARROW = {"width": 320, "height": 640}
"""What 1280 pixels at 400 % leave, or 640 at 200 % (WCAG 2.2, 1.4.10)."""
AXE = Path(__file__).parents[2] / ".stamp" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --ignore-certificate-errors"
).split()
PATIENCE = 20_000
"""Milliseconds that anything on a page may take on a busy machine."""


class Chromium:
    """``with Chromium(space, folder) as browser`` starts it; ``folder`` takes the starter script."""

    def __init__(self, space: Namespace, folder: Path) -> None:
        self._starter = folder / "chromium"
        binary = shutil.which("chromium") or "/usr/bin/chromium"
        self._starter.write_text(f'#!/bin/sh\nexec {" ".join(space.prefix())} {binary} "$@"\n')
        self._starter.chmod(0o755)
        self._closing = contextlib.ExitStack()
        self._browser: Browser | None = None
        self.tool: Playwright | None = None

    def __enter__(self) -> Self:
        self.tool = self._closing.enter_context(sync_playwright())
        self._browser = self.tool.chromium.launch(executable_path=self._starter, args=FLAGS, env={**os.environ})
        self._closing.callback(self._browser.close)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing.close()

    @property
    def version(self) -> str:
        assert self._browser is not None
        return self._browser.version

    @contextlib.contextmanager
    def context(
        self, language: str = "pt-BR", viewport: dict[str, int] = PHONE, **more: Any
    ) -> Iterator[BrowserContext]:
        """A fresh profile."""
        assert self._browser is not None
        phone = {"is_mobile": True, "has_touch": True} if viewport == PHONE else {}
        context = self._browser.new_context(locale=language, viewport=viewport, **{**phone, **more})  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        try:
            yield context
        finally:
            context.close()

    @contextlib.contextmanager
    def page(self, language: str = "pt-BR", viewport: dict[str, int] = PHONE, **more: Any) -> Iterator[Page]:
        """A tab in a fresh profile. What the page's policy refuses, or its script raises, fails the test at its end."""
        with self.context(language, viewport, **more) as context:
            page = context.new_page()
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on(
                "console", lambda message: faults.append(message.text) if "Content Security" in message.text else None
            )
            yield page
            assert not faults


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA, one line each. The page's policy admits no script but its own."""
    page.evaluate(AXE.read_text("utf-8") + "\n;0")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
    found = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(tags)}}})")
    return [
        f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'])}"
        for one in found["violations"]
    ]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window: it would have to be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
