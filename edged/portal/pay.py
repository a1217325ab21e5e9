"""The pay page: the way to a bill (:mod:`.bill`). Over TLS only, after a proof only.

A proof is a one-time code, typed, or the token of a link in the customer area; either is exchanged for a ticket of the
core, which a cookie holds for a quarter of an hour. Tokens come in a URL once and are gone from it by a redirect.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edged.config import PortalSection
from edged.domain.standing import Standing
from edged.portal import pages, parts, view
from edged.portal.bill import bill
from edged.portal.client import Proof
from edged.portal.languages import Language
from edged.portal.live import EVERY
from edged.portal.parts import Parts, see_other

COOKIE = "__Host-edged"
COOKIE_SECONDS = 900
_FORGOTTEN = f"{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
_TICKET = re.compile(r"[0-9a-f]{32}")


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues."""
    return sentence


class Pay:
    """The routes of the pay page; none without TLS."""

    def __init__(self, shared: Parts, portal: PortalSection) -> None:
        self._parts = shared
        self._payees = portal.payees.checked()
        self._area = portal.provider.customer_area

    @property
    def routes(self) -> list[Route]:
        if not self._parts.tls:
            return []
        return [
            Route("/pay", self._show, methods=["GET"]),
            Route("/pay", self._type, methods=["POST"]),
            Route("/pay/link", self._link, methods=["GET"]),
            Route("/pay/link/{token:str}", self._link, methods=["GET"]),
            Route("/pay/{answer:str}", self._show, methods=["GET"]),
        ]

    async def _show(self, request: Request) -> Response:
        if not self._parts.is_ours(request):
            return self._go(f"{self._parts.url}pay")
        language = self._parts.language(request)
        answer = request.path_params.get("answer", "")
        if answer and answer not in pages.CODES:
            return self._go("/pay")
        stays = not answer
        standing = await self._parts.who(request)  # before the bill: what changes in between is news for the page
        state = view.state(standing)
        ticket = request.cookies.get(COOKIE, "")
        if stays and _TICKET.fullmatch(ticket):
            fields = await self._parts.core.bill(bytes.fromhex(ticket))
            if fields is None:
                answer = "busy"
            elif found := bill(fields, language, self._payees):
                shown = view.View(
                    "pay",
                    language.code,
                    "info",
                    language.say(_("Your invoice")),
                    (),
                    state=state,
                    stays=True,
                    refresh=int(EVERY) if "poll" in request.query_params else 0,
                )
                return self._draw("pay", shown, language, bill=found)
        if standing is None or not standing.pays:
            return self._unpaid(request, standing, answer, stays=stays)
        if answer == "dead":
            return self._dead(language, state)
        said = (
            _("Type the code that we sent you, or open the link in the customer area."),
            _("It shows us that the invoice is yours."),
        )
        shown = view.View(
            "code", language.code, "info", language.say(_("Pay your invoice")), tuple(map(language.say, said)),
            note=language.say(pages.CODES.get(answer, "")), state=state, stays=stays,
        )  # fmt: skip
        return self._draw("code", shown, language, nonce=self._parts.nonce(request, "/pay"))

    def _unpaid(self, request: Request, standing: Standing | None, answer: str, *, stays: bool) -> Response:
        """Nothing is to be paid by this visitor, or the core does not say: no word of an invoice, and no form."""
        name, language = pages.page_name(standing), self._parts.language(request)
        found = self._parts.view(standing, language)
        if standing is not None:
            if not answer or not pages.may_say_unpaid(name):
                return self._go("/", _FORGOTTEN if COOKIE in request.cookies else "")  # paid, most likely
            found = view.noted(found, language.say(pages.CODES[answer if answer in {"stale", "dead"} else "none"]))
        self._parts.tally.add("pay", 200)
        return self._parts.draw(replace(found, stays=stays))

    def _dead(self, language: Language, state: str) -> Response:
        """A link that opens nothing, of somebody who has something to pay and no code for it: no form."""
        words, links = pages.DEAD, [view.Link(language.say(_("Go back")), "/", "other")]
        if self._area:
            links.insert(0, view.Link(language.say(words.action), self._area))
        said = tuple(map(language.say, words.paragraphs))
        self._parts.tally.add("pay", 200)
        return self._parts.draw(
            view.View(
                "link", language.code, words.tone, language.say(words.title), said, links=tuple(links), state=state
            )
        )

    def _draw(self, name: str, shown: view.View, language: Language, **more: Any) -> Response:
        self._parts.tally.add("pay", 200)
        return self._parts.html(self._parts.renderer.render(name, shown, **more), language.code)

    def _go(self, where: str, cookie: str = "") -> Response:
        self._parts.tally.add("pay", 303)
        return see_other(where, cookie)

    async def _type(self, request: Request) -> Response:
        fields = await parts.form(request)
        code = fields.get("code", "").strip()
        if not self._parts.takes(request, fields, "/pay"):
            return self._go("/pay/expired")
        if not code:
            return self._go("/pay")
        return self._proven(await self._parts.core.prove(parts.address(request), code))

    async def _link(self, request: Request) -> Response:
        if parts.is_ahead_of_time(request) or request.method != "GET":
            return Response(status_code=403, headers={"Cache-Control": "no-store"})  # a token is good once
        token = request.path_params.get("token") or parse_qs(request.url.query).get("token", [""])[-1]
        return self._proven(await self._parts.core.token(parts.address(request), token))

    def _proven(self, proof: Proof | None) -> Response:
        if proof is None:
            return self._go("/pay/busy")
        if proof.verdict != "ok":
            return self._go(f"/pay/{proof.verdict}")
        # Lax, not Strict: who comes from the customer area is to keep it through the redirect
        cookie = f"{COOKIE}={proof.ticket.hex()}; Path=/; Max-Age={COOKIE_SECONDS}; Secure; HttpOnly; SameSite=Lax"
        return self._go("/pay", cookie)
