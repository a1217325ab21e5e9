"""What every part of the site shares: the core as it asks it, and requests and answers in the site's own manner."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edged.domain.standing import Standing
from edged.portal.languages import Language, choose_language
from edged.portal.nonce import Nonces
from edged.portal.render import NONCE, Renderer
from edged.portal.tally import Tally
from edged.portal.view import View, Views

if TYPE_CHECKING:
    import asyncio

    from edged.portal.client import Proof

WHOLE = "edged.whole"
"""An extension of ASGI: a function of header fields, as lines, and body that sends a whole answer, 200, at once.

False when that cannot be done now, and nothing was sent."""
TRIES = 5
FORM_BYTES = 4096
"""Of the body of a form; ours have a nonce or a code in them."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/\[\]]+?)\.?(?::\d+)?")
_PORTS = {"http": ":80", "https": ":443"}


class Core(Protocol):
    """What the site wants of the core; the worker's client is one, and says more about each."""

    @property
    def texts(self) -> Mapping[str, Mapping[str, str]]: ...
    async def who(self, address: str) -> Standing | None: ...
    def shown(self, address: str, *, pressed: bool) -> bool: ...
    def watch(self, address: str) -> AbstractContextManager[asyncio.Event]: ...
    async def ask(self, address: str) -> str | None: ...
    async def prove(self, address: str, code: str) -> Proof | None: ...
    async def token(self, address: str, token: str) -> Proof | None: ...
    async def bill(self, ticket: bytes) -> Mapping[str, str] | None: ...


class Head(NamedTuple):
    """What goes with every page of a language, but its length: as headers, and as bytes behind the status line."""

    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes


class _Page(Response):
    def __init__(self, body: bytes, status: int, head: Head) -> None:  # not the slow one that builds them anew
        self.status_code = status
        self.background = None
        self.body = body
        self._raw = head.raw
        self.raw_headers = [*head.headers, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope.get("extensions", {}).get(WHOLE)
        if whole is None or self.status_code != 200 or not whole(self._raw % len(self.body), self.body):
            await super().__call__(scope, receive, send)


def page_head(policy: str, language: str) -> Head:
    """What goes with every page."""
    said = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": policy,
        "content-language": language,
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",  # with no-referrer, browsers send our own forms with `Origin: null`
        "vary": "Accept-Language",
        "x-content-type-options": "nosniff",
    }
    headers = tuple((name.encode(), text.encode()) for name, text in said.items())
    lines = b"".join(b"%s: %s\r\n" % header for header in headers).replace(b"%", b"%%")
    return Head(headers, lines + b"content-length: %d\r\n")


@dataclass(frozen=True, slots=True)
class Parts:
    """``tls``: the site is reached over TLS only. ``default`` is the language of who asks for none of ours.

    ``url`` is where the site is reached, with a slash at its end.
    """

    core: Core
    tally: Tally
    renderer: Renderer
    languages: Mapping[str, Language]
    default: str
    nonces: Nonces
    views: Views
    tls: bool
    url: str
    heads: Mapping[str, Head]
    """By language: ready-made, for there are thousands a second."""

    async def who(self, request: Request) -> Standing | None:
        """Of whoever clicked something: the core is given more time than for a page, which comes right by itself."""
        for _ in range(TRIES):
            if (standing := await self.core.who(address(request))) is not None:
                return standing
        return None

    def language(self, request: Request) -> Language:
        """What this visitor reads."""
        return self.languages[choose_language(request.headers.get("accept-language", ""), self.default)]

    def view(self, standing: Standing | None, language: Language) -> View:
        """The main page of somebody with this standing, now."""
        return self.views.view(standing, language, now_ms(), self.core.texts)

    def html(self, body: bytes, language: str, status: int = 200) -> Response:
        """A page. Never cached: one that says "suspended" must not outlive the payment."""
        return _Page(body, status, self.heads[language])

    def draw(self, view: View, status: int = 200, nonce: str = "") -> Response:
        """The page of a view; ``nonce`` is for the form that sends a reminder away, without it there is none."""
        if view.dismiss and not nonce:
            view = replace(view, dismiss=False)
        body = self.renderer.page(view)
        return self.html(body.replace(NONCE, nonce.encode()) if view.dismiss else body, view.language, status)

    def is_ours(self, request: Request) -> bool:
        """Whether the browser asked for us: for the host of ``url``, or for the address that it reached.

        Any other name is somebody else's that leads here (DNS rebinding): whoever it belongs to has scripts that read
        what we answer, so no form is handed out under it and none is taken.
        """
        name = _host(request.headers.get("host", ""))
        server = request.scope.get("server")
        return bool(name) and (name == _host(urlsplit(self.url).netloc) or name == _plain(server[0] if server else ""))

    def nonce(self, request: Request, form: str) -> str:
        """What this visitor's form must carry. ``form`` is the path that it is sent to."""
        return self.nonces.give(f"{form} {address(request)}", minute())

    def takes(self, request: Request, fields: Mapping[str, str], form: str) -> bool:
        """Whether a form came from our own page, shown to this visitor a short while ago."""
        return (
            not is_ahead_of_time(request)
            and self.is_ours(request)
            and not self._is_foreign(request)
            and self.nonces.takes(fields.get("nonce", ""), f"{form} {address(request)}", minute())
        )

    def _is_foreign(self, request: Request) -> bool:
        """Whether the browser says that another site's page sent this. Old ones say nothing."""
        fetched = request.headers.get("sec-fetch-site", "")
        if fetched in {"cross-site", "same-site"}:
            return True
        origin = request.headers.get("origin")
        if origin is None:
            return False
        if origin == "null":
            return fetched != "same-origin"
        scheme = "https" if self.tls else "http"
        host, port = request.headers.get("host", "").lower(), _PORTS[scheme]
        return origin.lower().removesuffix(port) != f"{scheme}://{host.removesuffix(port)}"


def address(request: Request) -> str:
    """Whoever is in front of the screen: the other end of the connection. No header can say otherwise."""
    return request.client.host if request.client else ""


def _host(text: str) -> str:
    """The name or address in a Host header; empty when it is none."""
    found = _HOST.fullmatch(text.lower())
    return _plain(found[1].strip("[]")) if found else ""


def _plain(name: str) -> str:
    """An address in its one spelling (an IPv4 address that a socket of both kinds tells as IPv4), a name as it is."""
    try:
        found = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name
    return str(getattr(found, "ipv4_mapped", None) or found)


def see_other(where: str, cookie: str = "") -> Response:
    """A 303: what follows is a GET, and going back or reloading repeats nothing. ``where`` is ours."""
    headers = {"Location": where, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status_code=303, headers={**headers, "Set-Cookie": cookie} if cookie else headers)


def is_ahead_of_time(request: Request) -> bool:
    """Whether the browser only fetches this in case somebody might want it."""
    said = " ".join(request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return "prefetch" in said.lower() or "preview" in said.lower() or "prerender" in said.lower()


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, each once; empty when it is too large or no form."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES:
            return {}
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode("ascii"), max_num_fields=16).items()}
    except ValueError:
        return {}


def now_ms() -> int:
    """Unix milliseconds."""
    return int(time.time() * 1000)


def minute() -> int:
    """The number of this minute, on a clock that all workers share and nobody sets."""
    return int(time.monotonic() // 60)
