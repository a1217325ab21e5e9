"""BR Codes: the text behind a PIX QR code, *copia e cola* (EMV QRCPS-MPM; Manual do BR Code, Banco Central). Pure.

Laws:

1. A code is fields of two digits of name, two of length, and that many characters; nothing is left over, no name comes
   twice at one level, ``00`` is first and ``63`` last.
2. ``63`` holds the CRC-16/CCITT-FALSE of everything before its own four digits.
3. What moves money is understood wholly or the code is refused: one PIX account (``26``), by key (``01``) or by URL
   (``25``), never both; a PIX template among ``80`` to ``99`` (automatic PIX) names a payee, too. No other network, no
   fee, no tip.
4. Payees are what the wallets will pay to: the key, or the URL. Whoever shows the code compares them with a list: a key
   whole, a URL by host, or by host and begin of path up to a slash. So that a path begins where it seems to, it has no
   dots for a segment, no empty segment, and no percent sign.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

LONGEST = 512
"""Characters of a code (Manual do BR Code, 1.6.1)."""
GUI = "br.gov.bcb.pix"
_NAME, _CRC, _ACCOUNT = "00", "63", "26"
_TEMPLATES = frozenset(f"{n:02}" for n in range(80, 100))
_FOREIGN = frozenset(f"{n:02}" for n in (*range(2, 26), *range(27, 52)))
_FEES = frozenset({"55", "56", "57"})
_PLAIN = frozenset({_NAME, "01", _ACCOUNT, "52", "53", "54", "58", "59", "60", "61", "62", _CRC, "64"})
_FORMS = {
    _NAME: r"01",
    "01": r"1[12]",
    "52": r"[0-9]{4}",
    "53": r"986",
    "54": r"[0-9]{1,10}(\.[0-9]{1,2})?",
    "58": r"BR",
    "59": r".{1,25}",
    "60": r".{1,15}",
}
_HEAD = re.compile(r"([0-9]{2})([0-9]{2})")
_NEEDED = (_ACCOUNT, "52", "53", "58", "59", "60")
_HOST = re.compile(r"(?=.{4,})(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+[a-z][a-z0-9-]*[a-z0-9]")
_KEYS = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # random
    r"|[0-9a-z.!#$&'*+/=?^_`{|}~-]{1,64}@[0-9a-z.-]{3,}"
    r"|\+[1-9][0-9]{7,14}"
    r"|[0-9]{11}|[0-9a-z]{12}[0-9]{2}"  # CPF; CNPJ, since 2026 with letters
)
_SEGMENT = r"(?!\.(?:/|$))[A-Za-z0-9._~-]+"
_PATH = re.compile(rf"(?!.*\.\.){_SEGMENT}(?:/{_SEGMENT})*/?")


class BrCode(NamedTuple):
    """``payees``: keys and hosts in lower case, with the path. ``cents``: None where the code leaves it open."""

    payees: tuple[str, ...]
    cents: int | None


def read(text: str) -> BrCode:
    """What a code asks for. Raises ValueError with a sentence that names field and fault, never a value."""
    if len(text) > LONGEST or not text.isascii() or not text.isprintable():
        raise ValueError(f"at most {LONGEST} printable ASCII characters; write name and city without accents")
    found = _fields(text, "")
    names = list(found)
    if names[:1] != [_NAME] or names[-1] != _CRC:
        raise ValueError("a BR Code begins with field 00 and ends with its checksum, field 63")
    _check_sum(text, found[_CRC])
    for name in names:
        if name in _FOREIGN or name in _FEES:
            what = "another payment network" if name in _FOREIGN else "a fee or a tip"
            raise ValueError(f"field {name} names {what}; PIX alone is shown")
        if name not in _PLAIN and name not in _TEMPLATES:
            raise ValueError(f"field {name} is not one of a BR Code")
        if name in _FORMS and not re.fullmatch(_FORMS[name], found[name]):
            raise ValueError(f"field {name} does not have the form that the BR Code asks for")
    for name in _NEEDED:
        if name not in found:
            raise ValueError(f"field {name} is missing")
    payees = [_payee(found[_ACCOUNT], _ACCOUNT)]
    payees += [_payee(found[name], name) for name in names if name in _TEMPLATES]
    _fields(found.get("62", ""), "62.")
    return BrCode(tuple(payees), _cents(found.get("54", "")))


def listed(text: str) -> str:
    """A payee as a list names it (law 4): a key, a host, or a host and the begin of a path. Raises ValueError."""
    if _KEYS.fullmatch(text.lower()):
        return text.lower()
    host, slash, path = text.partition("/")
    if not _HOST.fullmatch(host.lower()) or (slash and not _PATH.fullmatch(path)):
        raise ValueError("neither a PIX key nor host or host/path")
    return (host.lower() + slash + path).rstrip("/")


def pays(payee: str, entry: str) -> bool:
    """Whether a list's ``entry``, as :func:`listed` gives it, lets a code's payee pass (law 4)."""
    # "/" stands in e-mail keys too, and such a key may look like a host's path: pix.example.com/x@evil.example
    return payee == entry or ("@" not in payee and payee.startswith(entry + "/"))


def _fields(text: str, inside: str) -> dict[str, str]:
    """Law 1, but for the order."""
    out: dict[str, str] = {}
    at = 0
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is None:
            raise ValueError(f"at character {at + 1} of {inside.rstrip('.') or 'the code'} stands no field")
        name, begin, end = head[1], head.end(), head.end() + int(head[2])
        if end > len(text):
            raise ValueError(f"field {inside}{name} is longer than what is left")
        if name in out:
            raise ValueError(f"field {inside}{name} comes twice")
        out[name] = text[begin:end]
        at = end
    return out


def _check_sum(text: str, said: str) -> None:
    """Law 2. The field is last, so its four digits are the text's."""
    found = binascii.crc_hqx(text[:-4].encode(), 0xFFFF)
    if len(said) != 4 or said.upper() != f"{found:04X}":
        raise ValueError("the checksum (field 63) does not fit: it was cut or changed")


def _payee(template: str, name: str) -> str:
    """Laws 3 and 4."""
    found = _fields(template, f"{name}.")
    if found.get(_NAME, "").lower() != GUI or next(iter(found)) != _NAME:
        raise ValueError(f"field {name} is not of {GUI}")
    if strange := next((n for n in found if n not in {_NAME, "01", "02", "25"}), ""):
        raise ValueError(f"field {name}.{strange} is not one of a PIX account")
    if ("01" in found) == ("25" in found):
        raise ValueError(f"field {name} must hold either a key (01) or a URL (25)")
    return _key(found, name) if "01" in found else _url(found["25"], name)


def _key(found: Mapping[str, str], name: str) -> str:
    key = found["01"].lower()
    if not _KEYS.fullmatch(key):
        raise ValueError(f"field {name}.01 is no PIX key: random, e-mail, +telephone, CPF or CNPJ")
    return key


def _url(url: str, name: str) -> str:
    host, slash, path = url.partition("/")
    if not slash or not _HOST.fullmatch(host.lower()) or not _PATH.fullmatch(path):
        raise ValueError(
            f"field {name}.25 must be host/path, without scheme, port, dots for a segment or anything else"
        )
    return f"{host.lower()}/{path}"


def _cents(amount: str) -> int | None:
    """An amount of nothing leaves it open, as no amount does."""
    whole, _, rest = amount.partition(".")
    return int(whole + rest.ljust(2, "0")) or None if amount else None
