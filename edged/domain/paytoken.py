"""The body of a signed link to a subscriber's payment data, as the provider's customer area makes one. Pure.

Laws:

1. It is of this kind alone: ``typ`` keeps a signed batch from being taken for a link, and a link for a batch.
2. It is for this gateway, lives an hour at most, and opens the data once (again for a while on the line that used it).
3. There is no name in it, and no field in which one could come along.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edged.domain.fields import Opaque, Sub
from edged.domain.rejection import Rejected

KIND = "edged-pay"
LONGEST_MS = 3_600_000
"""How far ahead ``exp`` may lie."""
SLACK_MS = 60_000
"""... and a minute, because two clocks are never the same."""

Seconds = Annotated[float, Meta(ge=0, le=1e11)]


class PayToken(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """RFC 7519 names; ``exp`` is Unix seconds, ``jti`` at least 16 characters that nobody guesses."""

    typ: Literal["edged-pay"]
    aud: Annotated[list[Opaque], Meta(min_length=1, max_length=100)] | Opaque
    exp: Seconds
    sub: Sub
    jti: Annotated[str, Meta(min_length=16, max_length=64)]
    iss: Opaque | None = None
    iat: Seconds | None = None

    @property
    def audience(self) -> list[str]:
        """The gateways and groups it is for."""
        return [self.aud] if isinstance(self.aud, str) else self.aud

    @property
    def expires(self) -> int:
        """Unix ms."""
        return int(self.exp * 1000)


_read = msgspec.json.Decoder(PayToken).decode


def read(body: bytes, now: int, late: int = 0) -> PayToken:
    """The token in a verified body; ``now`` in Unix ms. Raises Rejected.

    ``late``: ms that it may be over, for whoever has used it before.
    """
    try:
        found = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Rejected("malformed", f"link: {str(e)[:120]}") from None
    if found.expires + late <= now:
        raise Rejected("expired", "link: exp has passed")
    if found.expires > now + LONGEST_MS + SLACK_MS:
        raise Rejected("from_the_future", "link: exp lies more than an hour ahead")
    return found
