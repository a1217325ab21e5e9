"""Payment data of one subscriber, as the command ``page`` brings it and the page shows it. Pure.

Laws:

1. What is shown was found whole and ours: a PIX code and a boleto line are read (:mod:`.brcode`, :mod:`.boleto`), and
   their payees stand on the provider's list. An empty list lets none through.
2. ``amount``, ``due``, code and line must not contradict each other; what leaves a value open contradicts nothing.
3. A fault names the field and what is wrong, never a value: answers and logs may be read by others.
4. The one-time code is no part of what is shown.
5. Nothing is kept longer than :data:`LONGEST_MS`.

The core checks a command with this; the portal checks again with :func:`checked` before it draws anything.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edged.domain import boleto, brcode
from edged.domain.rejection import Rejected

SHOWN = ("amount", "month", "due", "line", "pix")
FIELDS = (*SHOWN, "code", "expires")
LONGEST_MS = 90 * 86_400_000
"""How long payment data stays where ``expires`` says nothing, and at most."""

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,8})\.[0-9]{2}")
_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_CODE = re.compile(r"[0-9A-Z]{6,32}")
_PAYEE = re.compile(r"[0-9]{3}(/[0-9]{1,25})?|8[1-9]/[0-9]{4,29}")


class Payees(Struct, frozen=True):
    """Who may be paid: PIX keys; host or host/path of URLs; ``341``, ``341/<free field>``, ``84/<company>``."""

    pix: tuple[str, ...] = ()
    boleto: tuple[str, ...] = ()


class Payment(Struct, frozen=True):
    """``shown``: field -> text, in canonical form; ``code``: as :func:`typed` gives it; ``expires``: Unix ms."""

    shown: dict[str, str]
    code: str
    expires: int


def payment(fields: Mapping[str, str], payees: Payees, now: int) -> Payment:
    """What a command brings; ``now`` in Unix ms. Raises Rejected ``malformed``."""
    shown = checked({name: fields[name] for name in SHOWN if name in fields}, payees)
    if not shown.keys() & {"amount", "line", "pix"}:
        raise Rejected("malformed", "fields: give amount, line or pix; {} takes payment data out")
    code = typed(fields.get("code", ""))
    if "code" in fields and not _CODE.fullmatch(code):
        raise _fault("code", "6 to 32 letters and digits; spaces and hyphens between them do not count")
    return Payment(shown, code, _expires(fields.get("expires"), now))


def check_names(fields: Mapping[str, str]) -> None:
    """Raise ValueError for a field that payment data does not have."""
    for name in fields:
        if name not in FIELDS:
            raise ValueError(f"fields.{name}: unknown; known are {', '.join(FIELDS)}")


def checked(fields: Mapping[str, str], payees: Payees) -> dict[str, str]:
    """The fields that are shown, in canonical form. Raises Rejected ``malformed`` for what must not be shown."""
    out = dict(fields)
    cents = None
    if "amount" in out:
        if not _AMOUNT.fullmatch(out["amount"]) or not out["amount"].strip("0."):
            raise _fault("amount", 'write reais and centavos with a point, such as "123.45"')
        cents = int(out["amount"].replace(".", ""))
    if "month" in out and not _MONTH.fullmatch(out["month"]):
        raise _fault("month", 'write year and month, such as "2026-11"')
    due = _day(out["due"]) if "due" in out else None
    found = [cents]
    if "line" in out:
        line = _line(out["line"], payees)
        out["line"] = line.digits
        found.append(line.cents)
        if due is not None and line.factor is not None and line.factor != boleto.factor(due):
            raise _fault("line", "it is due on another day than due says")
    if "pix" in out:
        found.append(_pix(out["pix"], payees).cents)
    if len({amount for amount in found if amount is not None}) > 1:
        raise Rejected("malformed", "fields: amount, line and pix do not ask for the same amount")
    return out


def typed(code: str) -> str:
    """A one-time code as it is compared, from how a person typed it."""
    return re.sub(r"[\s-]", "", code).upper()


def check_payee(kind: str, text: str) -> str:
    """A payee as a list of :class:`Payees` takes it; ``kind``: pix or boleto. Raises ValueError with the remedy."""
    if kind == "pix":
        try:
            return brcode.listed(text)
        except ValueError:
            raise ValueError(
                "write a PIX key as the bank has it, or host and begin of the path of dynamic codes, such as"
                " pix.example.com/qr/v2/our-id; a host alone trusts everybody whose codes lie there"
            ) from None
    if not _PAYEE.fullmatch(text):
        raise ValueError(
            'write a bank and the begin of its free field, such as "341/109", or for a utility\'s lines segment and '
            'company, such as "84/0160"'
        )
    return text


def _line(text: str, payees: Payees) -> boleto.Line:
    try:
        line = boleto.read(text)
    except ValueError as e:
        raise _fault("line", str(e)) from None
    # a bank may be listed alone; a utility's "84" is every telephone company, so it needs more
    if not any(line.payee.startswith(p if "/" in p else f"{p:3}/") for p in payees.boleto):
        raise _fault("line", "it pays somebody whom portal.payees.boleto does not list")
    return line


def _pix(text: str, payees: Payees) -> brcode.BrCode:
    try:
        code = brcode.read(text)
    except ValueError as e:
        raise _fault("pix", str(e)) from None
    if not all(any(brcode.pays(p, entry) for entry in payees.pix) for p in code.payees):
        raise _fault("pix", "it pays somebody whom portal.payees.pix does not list")
    return code


def _day(text: str) -> dt.date:
    try:
        return msgspec.convert(text, dt.date)
    except msgspec.ValidationError:
        raise _fault("due", 'write a day such as "2026-11-30"') from None


def _expires(text: str | None, now: int) -> int:
    if text is None:
        return now + LONGEST_MS
    try:
        moment: dt.datetime = msgspec.convert(text, Annotated[dt.datetime, Meta(tz=True)])
        at = round(moment.timestamp() * 1000)
    except (msgspec.ValidationError, ValueError, OverflowError):
        raise _fault("expires", "write RFC 3339 with a zone, such as 2026-11-21T12:00:00Z") from None
    if at <= now:
        raise _fault("expires", "it has passed")
    return min(at, now + LONGEST_MS)


def _fault(field: str, what: str) -> Rejected:
    return Rejected("malformed", f"fields.{field}: {what}")
