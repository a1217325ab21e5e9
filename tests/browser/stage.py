"""What browser tests do besides looking: make somebody a debtor, judge a page, take its picture."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from tests.browser.chromium import overflow, violations
from tests.lab.lab import Lab, bind
from tests.lab.manager import from_now, invoices

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
MOST_PIXELS = 40_000
"""Bytes of a screenshot."""
DAY = 86_400
DARK = {"notice", "debt", "promise", "pay"}
"""Pages that are looked at in the dark, too: they have all the colours there are."""


class Stage:
    """A lab whose one browser belongs to another subscriber for each page: a moved address takes nothing along."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sub = ""

    def become(self, name: str) -> None:
        self.sub = f"P-{name}"
        ack = self.lab.publish({**bind(self.lab.debtor.person), "sub": self.sub, "area": name})
        assert ack.statuses == ["applied"], ack.document

    def say(self, op: str, **more: Any) -> None:
        on = {} if op in {"outage", "end_outage"} else {"sub": self.sub}
        ack = self.lab.publish({"op": op, **on, **more})
        assert ack.statuses == ["applied"], ack.document

    def owe(self, reason: str = "debt") -> None:
        self.say("block", reason=reason, invoices=invoices(f"F-{self.sub}"))

    def promise(self, seconds: float) -> None:
        self.owe()
        self.say("trust", until=from_now(seconds)[0], basis="promise")

    def break_promise(self) -> None:
        self.promise(1.0)
        self.lab.wait_until(lambda: self.record()["level"] == "walled", "the promise does not end")

    def record(self) -> Any:
        return self.lab.edged_json("why", self.sub)


def picture(page: Page, name: str) -> None:
    """Made anew when SITE_SCREENS is set (`make screens`)."""
    if os.environ.get("SITE_SCREENS"):
        SCREENS.mkdir(exist_ok=True)
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB").quantize(48)
        shot.save(SCREENS / f"{name}.png", optimize=True)


def check(page: Page, name: str) -> None:
    """A picture; nothing for axe, in the dark neither; nothing to scroll sideways with letters twice as large."""
    picture(page, name)
    assert violations(page) == []
    if name in DARK:
        page.emulate_media(color_scheme="dark")
        assert violations(page) == []
        page.emulate_media(color_scheme="light")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert overflow(page) <= 0
