"""Signed messages: JWS in compact form (RFC 7515), Ed25519 alone (RFC 8037, RFC 9864), nothing else of JOSE.

A message is judged in two steps. :meth:`Keyring.open` says whose it is, from its bytes alone; :meth:`Keyring.admit`
says whether it is for us and of now, from what its body claims. Both raise :class:`Rejected` and nothing else, whatever
the bytes are. The parser is stricter than the RFCs ask: there is one spelling of everything. A header may carry more
than ``alg`` and ``kid``; keys, and addresses of keys, in it are never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from edged.domain.keytext import encoded, public_key
from edged.domain.rejection import Rejected
from edged.domain.roles import EVERY_ROLE, ROLES

__all__ = [
    "ROLES",
    "Issuer",
    "Keyring",
    "OKPKey",
    "Opened",
    "generate",
    "private_text",
    "public_text",
    "read_private",
    "read_public",
    "sign",
]

ALGORITHMS = frozenset({"Ed25519", "EdDSA"})
"""``EdDSA`` is the older name; with our keys both mean Ed25519."""
MOST_HEADER = 1024
"""Characters of the encoded header at most."""
SIGNATURE = 86
"""Characters of an encoded Ed25519 signature: 64 bytes."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# To the classic alphabet, and everything foreign (also + / = and what JSON would understand) to what no decoder takes.
_TO_CLASSIC = bytes(b"+/"[b"-_".index(c)] if c in b"-_" else c if c in _ALPHABET else 0x21 for c in range(256))
_LAST = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
"""Characters over -> what the last one may be: its unused bits are zero."""
_base64 = msgspec.json.Decoder(bytes).decode  # twice as fast as binascii, and as strict
_ed25519 = jws.JWSRegistry.algorithms["Ed25519"]


class Issuer(NamedTuple):
    """Who may sign, with which keys (two while one replaces the other), and what it may ask for."""

    name: str
    keys: tuple[OKPKey, ...]
    roles: frozenset[str]


class Opened(NamedTuple):
    """A message whose origin is known. ``issuer`` None: it was not signed, and that is allowed here."""

    body: bytes
    issuer: str | None
    roles: frozenset[str]


class Keyring:
    """Whom this gateway obeys. Immutable; a reload makes a new one.

    ``required``: unsigned messages are refused. ``audience``: the names of this gateway and its groups. ``max_ahead``
    and ``max_age``: how far ``ts`` may lie ahead of and behind our clock, in milliseconds; older ones might come after
    their id was forgotten.
    """

    def __init__(
        self, issuers: Sequence[Issuer], *, required: bool, audience: Collection[str], max_ahead: int, max_age: int
    ) -> None:
        self.required = required
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._audience = frozenset(audience)
        self._max_ahead = max_ahead
        self._max_age = max_age

    @property
    def names(self) -> list[str]:
        """The issuers' names."""
        return list(self._issuers)

    def is_for(self, audience: Collection[str]) -> bool:
        """Whether one of these names is this gateway's, or a group's of it."""
        return not self._audience.isdisjoint(audience)

    def open(self, payload: bytes, *, local: bool = False) -> Opened:
        """Whose message this is. ``local``: it came over the control socket and need not be signed.

        Raises Rejected ``unsigned``, ``bad_signature`` or ``malformed``. The body is not looked at.
        """
        start = payload[:64].lstrip()[:1]
        if start and start in _ALPHABET:
            return self._verified(payload)
        if local or not self.required:
            return Opened(payload, None, EVERY_ROLE)
        if start == b"{":
            raise Rejected("unsigned", "this gateway obeys signed messages only; send it as a JWS (edged publish)")
        raise Rejected("malformed", "neither a signed batch (JWS in compact form) nor JSON")

    def _verified(self, payload: bytes) -> Opened:
        head, _, signature = payload.rpartition(b".")
        header, dot, body = head.partition(b".")
        if not dot or not body or b"." in body:
            raise Rejected("malformed", "a signed batch is header.body.signature in base64url; two dots, no more")
        issuer = self._issuers.get(_kid(header))
        if issuer is None:
            raise Rejected("bad_signature", "no issuer of that name (kid) in security.issuers of this gateway")
        if len(signature) != SIGNATURE:
            raise Rejected("bad_signature", f"an Ed25519 signature is {SIGNATURE} characters of base64url")
        mark = _decoded(signature, "signature")
        if not any(_ed25519.verify(head, mark, key) for key in issuer.keys):
            raise Rejected("bad_signature", f"it was not signed with a key of {issuer.name}, or was changed on the way")
        return Opened(_decoded(body, "body"), issuer.name, issuer.roles)

    def admit(
        self,
        opened: Opened,
        *,
        name: str | None,
        issuer: str | None,
        ts: int | None,
        expires: int | None,
        aud: Sequence[str] | None,
        now: int,
        channel: str | None = None,
    ) -> None:
        """Whether it is for us and of now. The arguments are what its body says; times and ``now`` in Unix ms.

        ``channel``: the gateway or group that its topic names, where it came by MQTT. A signed one must be meant for
        that one: order is kept by channel, and nobody may put a message that was held back into another.

        Raises Rejected ``malformed`` (a signed one needs issuer, ts, expires and aud), ``bad_signature``,
        ``wrong_audience``, ``expired`` or ``from_the_future``; ``name`` goes with it as the batch's id.
        """
        if opened.issuer is not None:
            self._admit_signed(opened.issuer, name, issuer, ts, aud, now, channel)
            if expires is None:
                raise Rejected("malformed", "expires: a signed batch says until when it is meant", name)
        if expires is not None and expires <= now:
            raise Rejected("expired", f"the batch expired {(now - expires) // 1000} s ago", name)

    def _admit_signed(
        self,
        signer: str,
        name: str | None,
        issuer: str | None,
        ts: int | None,
        aud: Sequence[str] | None,
        now: int,
        channel: str | None,
    ) -> None:
        for key, value in (("issuer", issuer), ("ts", ts), ("aud", aud)):
            if value is None:
                raise Rejected("malformed", f"{key}: a signed batch must have it", name)
        assert ts is not None and aud is not None  # noqa: S101, PT018  for the type checker
        if issuer != signer:
            raise Rejected("bad_signature", f"{signer} signed it, but the batch names another issuer", name)
        if self._audience.isdisjoint(aud):
            raise Rejected("wrong_audience", "aud names neither this gateway nor a group of it", name)
        if channel is not None and channel not in aud:
            raise Rejected("wrong_audience", "aud does not name the gateway or group of the topic it came on", name)
        if ts > now + self._max_ahead:
            detail = f"ts is more than {self._max_ahead // 60_000} minutes ahead of this gateway's clock"
            raise Rejected("from_the_future", f"{detail}; compare the clocks", name)
        if ts < now - self._max_age:
            detail = f"ts is more than {self._max_age // 3_600_000} hours ago"
            raise Rejected("expired", f"{detail}; sign it anew", name)


def _kid(header: bytes) -> str:
    """The issuer that the header names. Raises Rejected when the header asks for anything but plain Ed25519."""
    if len(header) > MOST_HEADER:
        raise Rejected("malformed", f"the header has more than {MOST_HEADER} characters")
    try:
        found = json.loads(_decoded(header, "header").decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Rejected("malformed", "the header is no JSON object, or names something twice") from None
    if not isinstance(found, dict):
        raise Rejected("malformed", "the header must be a JSON object with alg and kid")
    if (algorithm := found.get("alg")) not in ("Ed25519", "EdDSA"):
        raise Rejected("bad_signature", f"alg {algorithm!a:.20} is not accepted here; sign with Ed25519")
    if "crit" in found or "b64" in found:
        raise Rejected("bad_signature", "crit and b64 are not accepted here; sign the plain body")
    kid = found.get("kid")
    if not isinstance(kid, str):
        raise Rejected("malformed", "kid must be the issuer's name")
    return kid


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _decoded(segment: bytes, what: str) -> bytes:
    """Base64url without padding, in the one spelling that there is for these bytes."""
    over = len(segment) % 4
    if over == 0 or (over in _LAST and segment[-1] in _LAST[over]):
        try:
            return _base64(b'"%b%b"' % (segment.translate(_TO_CLASSIC), b"=" * (-over % 4)))
        except msgspec.DecodeError:
            pass
    raise Rejected("malformed", f"the {what} is not base64url without padding")


# -- keys and signing: what the sender needs ---------------------------------------------------------------------


def sign(body: bytes, key: OKPKey, kid: str) -> bytes:
    """The body as a JWS. ``key`` is private, ``kid`` the issuer's name as the gateways have it.

    Raises ValueError for a key that cannot sign.
    """
    if not key.is_private:
        raise ValueError("this is a public key; sign with the private one that `edged keygen` wrote")
    header = json.dumps({"alg": "Ed25519", "kid": kid}, separators=(",", ":")).encode()
    head = encoded(header) + b"." + encoded(body)
    return head + b"." + encoded(_ed25519.sign(head, key))


def generate() -> OKPKey:
    """A new private key."""
    return OKPKey.generate_key("Ed25519")


def public_text(key: OKPKey) -> str:
    """The public half as ``security.issuers`` takes it: 43 characters of base64url."""
    return str(key.as_dict(private=False)["x"])


def private_text(key: OKPKey) -> str:
    """The private key as a file holds it: PEM, PKCS 8, not encrypted. openssl reads and writes the same."""
    return key.as_pem(private=True).decode()


def read_private(text: str) -> OKPKey:
    """What :func:`private_text` wrote, or ``openssl genpkey -algorithm ed25519``. Raises ValueError with the remedy."""
    remedy = "; make one with `edged keygen`"
    if "PRIVATE KEY-----" not in text:
        raise ValueError(f"no private key in PEM form{remedy}")
    if "ENCRYPTED" in text:
        raise ValueError("the key is protected by a passphrase; write it without one, readable by its owner alone")
    try:
        key = OKPKey.import_key(text.strip())
        if key.curve_name == "Ed25519" and key.is_private:
            return key
    except (JoseError, ValueError, TypeError):
        raise ValueError(f"not an Ed25519 key in PEM form{remedy}") from None
    raise ValueError(f"a key of another kind than Ed25519{remedy}")


def read_public(text: str) -> OKPKey:
    """The public key as :func:`public_text` wrote it. Raises ValueError that says what was pasted instead."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": public_key(text)})
