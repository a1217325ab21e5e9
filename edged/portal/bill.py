"""A bill as the pay page shows it: what is owed, the PIX and boleto codes, and a QR drawn here.

The core has judged what it sends; codes are judged here once more, because they are what people pay by.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import segno
from markupsafe import Markup

from edged.domain.payment import SHOWN, Payees, checked
from edged.domain.rejection import Rejected
from edged.portal.languages import Language

_GROUPS = {47: (5, 5, 5, 6, 5, 6, 1, 14), 48: (11, 1, 11, 1, 11, 1, 11, 1)}

_log = logging.getLogger(__name__)


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues."""
    return sentence


@dataclass(frozen=True, slots=True)
class Bill:
    """What the template shows: rows of label and text, the two codes, the QR of the first as an element."""

    rows: tuple[tuple[str, str], ...]
    pix: str
    line: str
    qr: Markup


def bill(fields: Mapping[str, str], language: Language, payees: Payees) -> Bill | None:
    """Payment data as it is shown; None where any of it must not be."""
    try:
        found = checked({name: fields[name] for name in SHOWN if name in fields}, payees)
    except Rejected as error:
        _log.error("payment data that the core let through is not shown: %s", error)  # it names fields, no values
        return None
    rows = tuple(
        (language.say(label), put(found[name]))
        for name, label, put in (
            ("amount", _("Amount"), language.money),
            ("month", _("Month"), language.month),
            ("due", _("Due date"), language.day),
        )
        if name in found
    )
    pix = found.get("pix", "")
    return Bill(rows, pix, _grouped(found.get("line", "")), qr(pix) if pix else Markup()) if found else None


def qr(text: str) -> Markup:
    """A QR code as a picture, dark on white whatever the scheme: cameras want it so.

    A bitmap in the page: of the longest code it has a fifth of the bytes that lines of SVG take. Four points a module,
    because browsers smooth what they make smaller, and blur what they make larger.
    """
    picture = segno.make_qr(text, error="m").png_data_uri(scale=4, border=4, light="#fff", dark="#000")
    return Markup('<img src="{}" alt="QR PIX">').format(picture)


def _grouped(line: str) -> str:
    """The line as it stands on paper; every program that takes one ignores the spaces."""
    found, at = [], 0
    for length in _GROUPS.get(len(line), (len(line),)):
        found.append(line[at : at + length])
        at += length
    return " ".join(found)
