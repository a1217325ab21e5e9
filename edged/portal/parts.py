"""What every part of the site shares: the core as it asks it, and requests and answers in the site's own manner."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from edged.domain.standing import Standing
from edged.portal.languages import Language, choose_language
from edged.portal.nonce import Nonces
from edged.portal.render import Renderer
from edged.portal.tally import Tally
from edged.portal.view import View, Views

if TYPE_CHECKING:
    import asyncio

    from edged.portal.client import Proof

Headers = tuple[tuple[bytes, bytes], ...]

TRIES = 5
FORM_BYTES = 4096
"""Of the body of a form; ours have a nonce or a code in them."""


class Core(Protocol):
    """What the site wants of the core; the worker's client is one, and says more about each."""

    @property
    def texts(self) -> Mapping[str, Mapping[str, str]]: ...
    async def who(self, address: str) -> Standing | None: ...
    def shown(self, address: str) -> bool: ...
    def watch(self, address: str) -> AbstractContextManager[asyncio.Event]: ...
    async def ask(self, address: str) -> str | None: ...
    async def prove(self, address: str, code: str) -> Proof | None: ...
    async def token(self, token: str) -> Proof | None: ...
    async def bill(self, ticket: bytes) -> Mapping[str, str] | None: ...


class _Page(Response):
    def __init__(self, body: bytes, status: int, headers: Headers) -> None:  # not the slow one that builds them anew
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]


def page_headers(policy: str, language: str) -> Headers:
    """Those of every page, but its length."""
    said = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": policy,
        "content-language": language,
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "vary": "Accept-Language",
        "x-content-type-options": "nosniff",
    }
    return tuple((name.encode(), text.encode()) for name, text in said.items())


@dataclass(frozen=True, slots=True)
class Parts:
    """``tls``: the site is reached over TLS only. ``default`` is the language of who asks for none of ours."""

    core: Core
    tally: Tally
    renderer: Renderer
    languages: Mapping[str, Language]
    default: str
    nonces: Nonces
    views: Views
    tls: bool
    headers: Mapping[str, Headers]
    """What goes with every page, by language: ready-made, for there are thousands a second."""

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
        return _Page(body, status, self.headers[language])

    def draw(self, view: View, status: int = 200) -> Response:
        """The page of a view."""
        return self.html(self.renderer.page(view), view.language, status)


def address(request: Request) -> str:
    """Whoever is in front of the screen: the other end of the connection. No header can say otherwise."""
    return request.client.host if request.client else ""


def see_other(where: str, cookie: str = "") -> Response:
    """A 303: what follows is a GET, and going back or reloading repeats nothing. ``where`` is a path of ours."""
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
