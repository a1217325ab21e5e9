"""Signed links from the customer area to a subscriber's payment data on the notice site (docs/protocol.md, Pages)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec

from edged import envelope
from edged.domain import paytoken
from edged.envelope import OKPKey


def pay_token(issuer: str, key: OKPKey | str, sub: str, audience: Sequence[str], *, seconds: int = 600) -> str:
    """A token that opens ``sub``'s payment data once, within ``seconds`` (at most 3600).

    ``issuer`` is one with the role billing, ``key`` its private key, also as PEM text; ``audience`` names gateways or
    groups. Made by whoever knows that this is the subscriber: after a login. Raises ValueError with the remedy.
    """
    if not 0 < seconds <= paytoken.LONGEST_MS // 1000:
        raise ValueError(f"seconds: {seconds} is not between 1 and {paytoken.LONGEST_MS // 1000}")
    if not audience or isinstance(audience, str):
        raise ValueError('audience: a list of gateways or groups, such as ["gw1"]')
    body = {
        "typ": paytoken.KIND,
        "aud": list(audience),
        "exp": int(time.time()) + seconds,
        "sub": sub,
        "jti": secrets.token_urlsafe(24),
    }
    private = envelope.read_private(key) if isinstance(key, str) else key
    return envelope.sign(msgspec.json.encode(body), private, issuer).decode()
