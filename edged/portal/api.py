"""The captive portal API of RFC 8908, for systems that DHCP or a router advertisement (RFC 8910) led here.

Only over TLS, as the RFC asks (§4.1): on plain HTTP anybody on the way could say that all is well. Captive is who gets
nothing but the garden; a reminder or a lower speed is no captivity.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edged.domain.levels import Level
from edged.domain.standing import Standing
from edged.portal import view
from edged.portal.parts import Parts, address, now_ms

MEDIA_TYPE = "application/captive+json"
_HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


def document(standing: Standing, now: int, portal_url: str) -> dict[str, bool | int | str]:
    """What the API says (RFC 8908 §5); ``now`` in Unix milliseconds, ``portal_url`` empty when it is not https."""
    captive = standing.level >= Level.WALLED
    found: dict[str, bool | int | str] = {"captive": captive}
    ends = not captive and standing.next_level >= Level.WALLED and standing.until_ms > now
    if portal_url:
        found["user-portal-url"] = portal_url
        # there, not in general: the system leads to the page when the session ends, or is over
        found["can-extend-session"] = (captive or ends) and (view.can_pay(standing) or view.can_promise(standing))
    if ends:
        found["seconds-remaining"] = (standing.until_ms - now) // 1000
    return found


class Api:
    """The one route. ``url``: where the site is reached."""

    def __init__(self, parts: Parts, url: str) -> None:
        self._parts = parts
        self._url = url if url.startswith("https://") else ""

    @property
    def routes(self) -> list[Route]:
        return [Route("/api", self._tell, methods=["GET"])] if self._parts.tls else []

    async def _tell(self, request: Request) -> Response:
        standing = await self._parts.core.who(address(request))
        status = 503 if standing is None else 200
        self._parts.tally.add("api", status)
        if standing is None:
            return Response(status_code=status, headers={**_HEADERS, "Retry-After": "5"})
        return JSONResponse(document(standing, now_ms(), self._url), headers=_HEADERS, media_type=MEDIA_TYPE)
