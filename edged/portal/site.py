"""The site: every address of it, and the main page, which any other address shows as well.

No external asset, nothing stored, no cookie but one that holds the ticket of a proof on the pay page. Always 200 and
never cached: a captive-portal sheet shows what it gets, and a page that says "suspended" must not outlive the payment.
Whole without JavaScript; the script only saves the visitor from asking again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edged.config import Config
from edged.domain.levels import Level
from edged.portal import view
from edged.portal.api import Api
from edged.portal.languages import languages
from edged.portal.live import Live
from edged.portal.look import Logo
from edged.portal.nonce import Nonces
from edged.portal.parts import Core, Parts, address, form, is_ahead_of_time, page_head, see_other
from edged.portal.pay import Pay
from edged.portal.promise import Promise
from edged.portal.render import Renderer
from edged.portal.tally import Tally
from edged.portal.view import Views, Way

LOGO_SECONDS = 3600
STREAMS_OF_ONE = 8
"""Open streams to one address and worker."""


def build(cfg: Config, core: Core, tally: Tally, streams: int) -> Starlette:
    """The application, with ``streams`` open streams at most. Raises ConfigError when the logo cannot be used."""
    portal = cfg.portal
    spoken = languages(ZoneInfo(cfg.policy.timezone))
    tls = portal.cert_file is not None
    renderer = Renderer(portal, spoken)
    parts = Parts(
        core=core,
        tally=tally,
        renderer=renderer,
        languages=spoken,
        default=portal.language,
        nonces=Nonces(),
        views=Views(Way(portal.provider.customer_area, pay=tls)),
        tls=tls,
        url="{0.scheme}://{0.netloc}/".format(urlsplit(portal.url)),
        heads={code: page_head(renderer.policy, code) for code in spoken},
    )
    main = _Main(parts)
    return Site(
        main.page,
        [
            Route("/healthz", _health, methods=["GET"]),
            *Live(parts, streams, STREAMS_OF_ONE, cfg.network.household_bits).routes,
            *Promise(parts).routes,
            *Pay(parts, portal).routes,
            *Api(parts, portal.url).routes,
            *main.routes,
        ],
    )


class Site(Starlette):
    """A path of which no route has the first word is the main page's, and nearly all are: those ask no route."""

    def __init__(self, page: Callable[[Request], Awaitable[Response]], routes: Sequence[Route]) -> None:
        super().__init__(routes=[*routes, Route("/{path:path}", page, methods=["GET"])])  # Starlette adds HEAD
        self._page = page
        self._words = {route.path.split("/", 2)[1] for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, *words = scope.get("path", "").split("/", 2)
        if words and not start and words[0] not in self._words and scope["method"] in {"GET", "HEAD"}:
            response = await self._page(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})


class _Main:
    """The main page, its reminder's button, the logo."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def routes(self) -> list[Route]:
        logo = self._parts.renderer.logo
        return [
            *([Route("/logo", partial(self._logo, logo=logo), methods=["GET"])] if logo else []),
            Route("/dismiss", self._dismiss, methods=["POST"]),
            Route("/dismissed", self._dismissed, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """What is in force for this visitor, and the way out."""
        began = time.monotonic()
        parts, who = self._parts, address(request)
        standing = await parts.core.who(who)
        found = parts.view(standing, parts.language(request))
        if found.dismiss and request.method == "GET" and request.url.path == "/" and not is_ahead_of_time(request):
            parts.core.shown(who, pressed=False)  # by no other path: a browser asks for icons of its own accord
        nonce = parts.nonce(request, "/dismiss") if found.dismiss and parts.is_ours(request) else ""
        response = parts.draw(found, nonce=nonce)
        parts.tally.add("page", 200, 1, time.monotonic() - began)
        return response

    async def _dismiss(self, request: Request) -> Response:
        who = address(request)
        if not self._parts.takes(request, await form(request), "/dismiss"):
            self._parts.tally.add("page", 303)
            return see_other("/")
        standing = await self._parts.who(request)
        self._parts.tally.add("page", 303)
        if standing is None or standing.level != Level.NOTICE or not self._parts.core.shown(who, pressed=True):
            return see_other("/")
        return see_other("/dismissed")

    async def _dismissed(self, request: Request) -> Response:
        parts = self._parts
        standing = await parts.who(request)
        if standing is None or standing.level != Level.NOTICE:
            return see_other("/")
        parts.tally.add("page", 200)
        return parts.draw(view.fixed("dismissed", parts.language(request)))

    async def _logo(self, _request: Request, logo: Logo) -> Response:
        self._parts.tally.add("asset", 200)
        return Response(
            logo.data,
            headers={
                "Cache-Control": f"max-age={LOGO_SECONDS}",
                "Content-Security-Policy": "default-src 'none'",
                "X-Content-Type-Options": "nosniff",
            },
            media_type=logo.media_type,
        )
