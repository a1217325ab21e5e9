"""The page, asked through its ASGI interface."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest
from starlette.applications import Starlette

from edged.config import PortalSection, Provider
from edged.domain.standing import Standing
from edged.portal import site
from edged.portal.tally import Tally

PROVIDER = Provider(
    name="Provedor <script>alert(1)</script> & Cia",
    phone="0800 123-4567",
    whatsapp="(11) 98888-7777",
    tax_id="00.000.000/0001-00",
    address="Rua A, 1",
    customer_area="https://cliente.example.net/?a=1&b=2",
)


class FakeCore:
    def __init__(self, standing: Standing | None) -> None:
        self.standing = standing
        self.asked: list[str] = []
        self.seen: list[str] = []

    async def who(self, address: str) -> Standing | None:
        self.asked.append(address)
        return self.standing

    def shown(self, address: str) -> bool:
        self.seen.append(address)
        return True


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(app: Starlette, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    answer = Answer()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("100.64.0.10", 4711),
        "server": ("100.64.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


def build(standing: Standing | None, provider: Provider = PROVIDER) -> tuple[Starlette, FakeCore, Tally]:
    core, tally = FakeCore(standing), Tally()
    portal = PortalSection(url="http://aviso.example.net/", provider=provider)
    return site.build(portal, core, tally), core, tally


STANDINGS = [
    None,
    Standing(0, "", 0),
    Standing(1, "notice", 0),
    Standing(2, "debt_partial", 0),
    Standing(3, "debt", 0),
    Standing(3, "operator", 0),
    Standing(4, "court", 0),
]


class Structure(HTMLParser):
    """Notes elements and attributes, and that everything that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("standing", STANDINGS, ids=repr)
@pytest.mark.parametrize("language", ["pt-BR", "en"])
async def test_every_page_is_plain_small_and_uncacheable(standing: Standing | None, language: str) -> None:
    app, core, tally = build(standing)
    answer = await ask(app, "/any/path", accept_language=language)
    assert answer.status == 200
    assert core.asked == ["100.64.0.10"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-language"] == language
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "set-cookie" not in answer.headers
    assert len(answer.body) < 30_000
    assert tally.count("page", 200) == 1
    page = Structure(answer.text)
    assert page.all("html") == [{"lang": language}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert not [tag for tag in ("script", "img", "link", "iframe", "form") if page.all(tag)]
    assert not [
        name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "style"
    ]
    assert "100.64.0.10" not in answer.text


async def test_the_style_passes_the_policy_and_nothing_else_does() -> None:
    app, _, _ = build(Standing(3, "debt", 0))
    answer = await ask(app)
    policy = answer.headers["content-security-policy"]
    style = re.search("<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_configured_text_is_escaped_and_numbers_can_be_dialled() -> None:
    app, _, _ = build(Standing(3, "debt", 0))
    text = (await ask(app)).text
    assert "<script" not in text
    assert "Provedor &lt;script&gt;" in text
    assert 'href="https://cliente.example.net/?a=1&amp;b=2"' in text
    assert 'href="tel:08001234567"' in text
    assert 'href="https://wa.me/5511988887777"' in text


@pytest.mark.parametrize(
    ("number", "international"),
    [("+55 11 98888-7777", "5511988887777"), ("+1 212 555 0100", "12125550100"), ("11 3333-4444", "551133334444")],
)
async def test_whatsapp_wants_a_country(number: str, international: str) -> None:
    app, _, _ = build(Standing(3, "debt", 0), Provider(whatsapp=number))
    assert f'href="https://wa.me/{international}"' in (await ask(app)).text


async def test_a_provider_that_says_nothing_of_itself_has_a_page_too() -> None:
    app, _, _ = build(Standing(3, "debt", 0), Provider())
    page = Structure((await ask(app)).text)
    assert not page.all("a")
    assert not page.all("footer")


async def test_only_who_owes_is_led_to_pay() -> None:
    for standing, led in [
        (Standing(3, "debt", 0), True),
        (Standing(3, "operator", 0), False),
        (Standing(0, "", 0), False),
    ]:
        app, _, _ = build(standing)
        assert ("cliente.example.net" in (await ask(app)).text) is led


async def test_a_reminder_that_was_seen_is_told() -> None:
    app, core, _ = build(Standing(1, "notice", 0))
    assert (await ask(app, method="HEAD")).status == 200
    assert core.seen == []
    await ask(app)
    assert core.seen == ["100.64.0.10"]


@pytest.mark.parametrize("standing", [s for s in STANDINGS if s is None or s.level != 1], ids=repr)
async def test_other_pages_are_not_told(standing: Standing | None) -> None:
    app, core, _ = build(standing)
    await ask(app)
    assert core.seen == []


async def test_health_asks_nobody() -> None:
    app, core, _ = build(None)
    answer = await ask(app, "/healthz")
    assert (answer.status, answer.text) == (200, "ok\n")
    assert core.asked == []


async def test_other_methods_are_refused() -> None:
    app, _, _ = build(None)
    assert (await ask(app, method="POST")).status == 405


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    css = (resources.files("edged.portal") / "templates" / "page.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css)
    colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6})", blocks[scheme == "dark"]))
    for ink, paper in [("text", "paper"), ("text", "ground"), ("soft", "ground"), ("link", "paper"), ("on", "link")]:
        assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)  # WCAG 2.2, 1.4.3


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
