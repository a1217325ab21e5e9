"""An Ed25519 public key as text: 43 characters of base64url. Whoever pastes something else is told what to write."""

from __future__ import annotations

import base64
import re

_P = 2**255 - 19
_EIGHTH = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
WORTHLESS = frozenset({0, 1, _P - 1, _P, _P + 1, _EIGHTH, _P - _EIGHTH})
"""y of the points of order 1, 2, 4 and 8, also as p and p + 1. Under such a key, of which all zeros is one, a signature
needs no secret: R = -hA has at most eight values."""

_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_WRAPPINGS = (bytes.fromhex("302a300506032b6570032100"), b"\0\0\0\x0bssh-ed25519\0\0\0\x20")
"""What DER (SubjectPublicKeyInfo) and OpenSSH put before the 32 bytes."""
_PRIVATE = "this is a private key: it stays with the issuer, and this one is spent now; make a pair with `edged keygen`"


def public_key(text: str) -> str:
    """The text as it is when it is a usable public key. Raises ValueError with the remedy, never repeating a secret."""
    if "PRIVATE KEY" in text or re.search(r'"d"\s*:', text):
        raise ValueError(_PRIVATE)
    if re.fullmatch(r"(?:[0-9A-Fa-f]{64}){1,2}", text):
        raise _respelt("hexadecimal", _public(bytes.fromhex(text)))
    if jwk := re.search(r'"x"\s*:\s*"([A-Za-z0-9_-]{43})"', text):
        raise ValueError(f'this is a JWK; write its x alone: "{jwk[1]}"')
    raw = _public(_bytes_of(text))
    if text != encoded(raw).decode():
        raise _respelt("another spelling of it", raw)
    if int.from_bytes(raw, "little") % (1 << 255) in WORTHLESS:
        raise ValueError("with this key anybody could sign anything; make a pair with `edged keygen`")
    return text


def encoded(raw: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _bytes_of(text: str) -> bytes:
    """Whatever is base64 in it; nothing where nothing is."""
    if found := re.search(r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END|ssh-ed25519 ([A-Za-z0-9+/=]+)", text):
        text = "".join((found[1] or found[2]).split())
    try:
        return base64.b64decode(text.translate({45: "+", 95: "/"}) + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return b""


def _public(raw: bytes) -> bytes:
    """The key in these bytes, out of its wrapping."""
    if len(raw) == 64 or (len(raw) == 48 and raw.startswith(_PKCS8)):  # 64: a seed with its public half behind it
        raise ValueError(_PRIVATE)
    for head in _WRAPPINGS:
        if raw.startswith(head):
            raw = raw.removeprefix(head)
    if len(raw) != 32:
        raise ValueError("must be 43 characters of base64url: the public key that `edged keygen` printed")
    return raw


def _respelt(what: str, raw: bytes) -> ValueError:
    return ValueError(f'this is {what}; write "{encoded(raw).decode()}"')
