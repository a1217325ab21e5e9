"""The notice page: one document, whatever was asked for, by what the core says about the visitor's address.

No cookie, no script, no external asset, nothing stored. Always 200 and never cached: a captive-portal sheet shows what
it gets, and a page that says "suspended" must not outlive the payment.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from importlib import resources
from typing import Protocol

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edged.config import PortalSection
from edged.domain.levels import Level
from edged.domain.standing import Standing
from edged.portal.tally import Tally
from edged.portal.texts import LABELS, LANGUAGES, choose_language, page_name, words


class Core(Protocol):
    """What the site wants of the core; the worker's client is one."""

    async def who(self, address: str) -> Standing | None: ...
    def shown(self, address: str) -> bool: ...


def build(portal: PortalSection, core: Core, tally: Tally) -> Starlette:
    """The application. Pages are rendered here, once: they differ only by name and language."""
    pages, style_hash = _render(portal)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Language",
    }

    async def page(request: Request) -> Response:
        began = time.monotonic()
        address = request.client.host if request.client else ""
        standing = await core.who(address)
        language = choose_language(request.headers.get("accept-language", ""), portal.language)
        # a HEAD shows nobody anything
        if standing is not None and standing.level == Level.NOTICE and request.method == "GET":
            core.shown(address)
        tally.add("page", 200, 1, time.monotonic() - began)
        return Response(
            pages[page_name(standing), language],
            headers={**headers, "Content-Language": language},
            media_type="text/html; charset=utf-8",
        )

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/healthz", health, methods=["GET"]),
            Route("/{path:path}", page, methods=["GET"]),  # Starlette adds HEAD
        ]
    )


def _render(portal: PortalSection) -> tuple[dict[tuple[str, str], bytes], str]:
    """Every page in every language, and the hash that lets its style sheet through the policy."""
    templates = resources.files("edged.portal") / "templates"
    style = "\n" + (templates / "page.css").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(dial=_dial, international=_international)
    template = environment.from_string((templates / "page.html").read_text("utf-8"))
    pages = {
        (name, language): template.render(
            language=language,
            words=words(name, language),
            labels=LABELS[language],
            provider=portal.provider,
            style=Markup(style),  # noqa: S704  our own file, and a style sheet would not survive escaping
        ).encode()
        for language in LANGUAGES
        for name in ("online", "notice", "reduced", "debt", "contact", "general")
    }
    return pages, base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _dial(number: str) -> str:
    """A telephone number as ``tel:`` wants it: digits, and a plus where it began with one."""
    return ("+" if number.strip().startswith("+") else "") + re.sub(r"\D", "", number)


def _international(number: str) -> str:
    """A number as wa.me wants it: with country code, digits only. One written without plus is taken for Brazilian."""
    digits = re.sub(r"\D", "", number)
    return digits if number.strip().startswith("+") or len(digits) > 11 else "55" + digits.lstrip("0")
