"""The promise button: a page that asks for confirmation, a form that carries its nonce, and what came of it.

Nothing happens by a GET, by a form without this visitor's fresh nonce, or by what a browser fetches ahead of time. How
often somebody may ask is the core's business: it knows the subscriber, the site only an address.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edged.portal import pages, parts, view
from edged.portal.parts import Parts, see_other


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues."""
    return sentence


_TITLE = _("Promise the payment")
_SAID = (
    _("Your access opens as soon as the promise is accepted, and you pay within the time shown then."),
    _("If no payment is recognised by then, the access goes back to what it is now."),
    _("As a rule, an invoice can be promised once."),
)


class Promise:
    """The routes of the button."""

    def __init__(self, shared: Parts) -> None:
        self._parts = shared

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/promise", self._confirm, methods=["GET"]),
            Route("/promise", self._ask, methods=["POST"]),
            Route("/promise/{answer:str}", self._answer, methods=["GET"]),
        ]

    async def _confirm(self, request: Request, note: str = "") -> Response:
        if not self._parts.is_ours(request):
            self._parts.tally.add("promise", 303)
            return see_other(f"{self._parts.url}promise")
        standing = await self._parts.who(request)
        if standing is None or not view.can_promise(standing):
            self._parts.tally.add("promise", 303)
            return see_other("/")  # the main page says what there is to do
        self._parts.tally.add("promise", 200)
        language = self._parts.language(request)
        shown = view.View(
            "confirm", language.code, "info", language.say(_TITLE), tuple(language.say(said) for said in _SAID),
            note=language.say(note), state=view.state(standing), stays=not note,
        )  # fmt: skip
        nonce = self._parts.nonce(request, "/promise")
        return self._parts.html(self._parts.renderer.render("confirm", shown, nonce=nonce), language.code)

    async def _ask(self, request: Request) -> Response:
        who = parts.address(request)
        fields = await parts.form(request)
        if not self._parts.takes(request, fields, "/promise"):
            self._parts.tally.add("promise", 303)
            return see_other("/promise/expired")
        answer = await self._parts.core.ask(who) or "failed"
        self._parts.tally.add("promise", 303)
        return see_other("/" if answer in {"requested", "granted"} else f"/promise/{answer}")

    async def _answer(self, request: Request) -> Response:
        answer = request.path_params["answer"]
        if answer == "expired":
            return await self._confirm(request, pages.ANSWERS[answer])
        standing = await self._parts.who(request) if answer in pages.ANSWERS else None
        if answer not in pages.ANSWERS or not pages.may_answer(answer, standing):
            self._parts.tally.add("promise", 303)
            return see_other("/")
        self._parts.tally.add("promise", 200)
        language = self._parts.language(request)
        return self._parts.draw(view.noted(self._parts.view(standing, language), language.say(pages.ANSWERS[answer])))
