"""A number that says: this address saw the page with this form a short while ago. No store, no cookie.

HMAC-SHA-256 over address and minute with a key that is made before the workers are forked, so that each of them takes
what another gave. A crawler, a prefetch or another site's form does not have it; a page kept open over night does not
have it any more.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

MINUTES = 15
"""For so long a nonce is good; the minute it was made in not counted."""
_HALF = 16


class Nonces:
    """Gives and takes nonces. ``minute`` is the number of a minute on any clock that all workers share."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def give(self, address: str, minute: int) -> str:
        """The nonce of an address and a minute."""
        return f"{minute:x}-{self._sum(address, minute)}"

    def takes(self, text: str, address: str, minute: int) -> bool:
        """Whether ``text`` was given to ``address`` at most MINUTES before ``minute``."""
        number, _, told = text[:64].partition("-")
        try:
            made = int(number, 16)
        except ValueError:
            return False
        if not told.isascii() or not 0 <= minute - made <= MINUTES:
            return False
        return hmac.compare_digest(told, self._sum(address, made))

    def _sum(self, address: str, minute: int) -> str:
        return hmac.digest(self._key, f"{minute} {address}".encode(), hashlib.sha256)[:_HALF].hex()
