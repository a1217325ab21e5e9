"""Somebody who asks the site through its ASGI interface, and a core that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette

from edged.config import Config, Look, NetworkSection, PortalSection, Provider
from edged.config.payees import PayeesSection
from edged.domain.standing import Standing
from edged.portal import site
from edged.portal.client import Proof
from edged.portal.tally import Tally
from tests.browser.samples import PAYMENT, PIX_KEY

ADDRESS = "100.64.0.10"
TICKET = bytes(range(16))
PROVIDER = Provider(
    name="Provedor <script>alert(1)</script> & Cia",
    phone="0800 123-4567",
    whatsapp="(11) 98888-7777",
    tax_id="00.000.000/0001-00",
    address="Rua A, 1",
    customer_area="https://cliente.example.net/?a=1&b=2",
)


class Core:
    """What a worker's client would be. Change what it says between two questions."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing
        self.texts: dict[str, dict[str, str]] = {}
        self.told: list[str] = []
        self.seen: list[str] = []
        self.looks: list[str] = []
        self.asked: list[str] = []
        self.answer: str | None = "requested"
        self.proof: Proof | None = Proof("ok", TICKET)
        self.proofs: list[str] = []
        self.payment: Mapping[str, str] | None = PAYMENT
        self.events: list[asyncio.Event] = []

    async def who(self, address: str) -> Standing | None:
        self.told.append(address)
        return self.standing

    def shown(self, address: str, *, pressed: bool) -> bool:
        (self.seen if pressed else self.looks).append(address)
        return True

    @contextlib.contextmanager
    def watch(self, _address: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self.events.append(event)
        try:
            yield event
        finally:
            self.events.remove(event)

    async def ask(self, address: str) -> str | None:
        self.asked.append(address)
        return self.answer

    async def prove(self, _address: str, code: str) -> Proof | None:
        self.proofs.append(code)
        return self.proof

    async def token(self, _address: str, token: str) -> Proof | None:
        self.proofs.append(token)
        return self.proof

    async def bill(self, ticket: bytes) -> Mapping[str, str] | None:
        return self.payment if ticket == TICKET else {}


class Answer:
    """What came back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def where(self) -> str:
        """Where a 303 leads."""
        assert self.status == 303
        return self.headers["location"]


class Site:
    """The application, and a visitor of it. ``tls`` makes it one with a certificate (never read here)."""

    def __init__(
        self,
        standing: Standing | None = None,
        *,
        tls: bool = False,
        streams: int = 8,
        lengths: Sequence[int] = (64,),
        **portal: Any,
    ) -> None:
        self.server = "100.64.0.1"
        self.core, self.tally = Core(standing), Tally()
        files = {"cert_file": Path("/nowhere/pem"), "key_file": Path("/nowhere/key")} if tls else {}
        url = "https://aviso.example.net/" if tls else "http://aviso.example.net/"
        payees = PayeesSection(pix=[PIX_KEY], boleto=["001"])
        section = PortalSection(**{"url": url, "provider": PROVIDER, "payees": payees, **files, **portal})
        network = NetworkSection(subscriber_interfaces=["eth1"], ipv6_prefix_lengths=list(lengths))
        self.cfg = Config(gateway="t", network=network, portal=section)
        self.app: Starlette = site.build(self.cfg, self.core, self.tally, streams)

    def scope(self, path: str, method: str, address: str, headers: Mapping[str, str]) -> dict[str, Any]:
        path, _, query = path.partition("?")
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": (address, 4711),
            "server": (self.server, 80),
        }

    async def get(
        self, path: str = "/", *, method: str = "GET", body: bytes = b"", address: str = ADDRESS, **headers: str
    ) -> Answer:
        answer = Answer()
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if over.is_set():
                await asyncio.sleep(3600)
            over.set()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.app(
            self.scope(path, method, address, {"host": "aviso.example.net", "accept_language": "en", **headers}),
            receive,
            send,
        )
        return answer

    async def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Answer:
        kind = {"content_type": "application/x-www-form-urlencoded"}
        return await self.get(path, method="POST", body=urlencode(fields or {}).encode(), **{**kind, **headers})


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
        if tag not in {"meta", "link", "br", "img", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def look(colour: str = "", logo: Path | None = None) -> Look:
    """The provider's look."""
    return Look(colour=colour, logo_file=logo)
