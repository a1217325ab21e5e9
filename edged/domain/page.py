"""The command ``page`` (contract §1): what billing adds to the page of a reason, or a subscriber's payment data. Pure.

Laws:

1. Texts are plain: printable characters, lines in ``text`` alone. What is drawn with them is the portal's business.
2. A link is https and shown as what it is.
3. A language suffix is one of those that the page speaks; a field without one is for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edged.domain.fields import Count, Opaque, ReasonName, Shape, Sub, check_sub, no_reason
from edged.domain.model import REASONS
from edged.domain.payment import check_names

LANGUAGES = ("pt-BR", "en", "es")
LENGTHS = {"title": 120, "text": 1200, "link": 300, "link_text": 80}
"""Text -> characters at most."""
MOST_BYTES = 8000
"""Bytes of one reason's texts as JSON: they go to the portal in one record."""

Fields = Annotated[
    dict[Annotated[str, Meta(max_length=32)], Annotated[str, Meta(max_length=2000)]], Meta(max_length=40)
]


class Page(Shape, tag="page", frozen=True, kw_only=True):
    """Without ``sub``: replace the texts of a reason's page. With it: replace the subscriber's payment data."""

    fields: Fields
    reason: ReasonName | None = None
    sub: Sub | None = None
    invoices: Annotated[list[Opaque], Meta(max_length=500)] = msgspec.field(default_factory=list)
    rev: Count | None = None
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and self.reason not in REASONS:
            raise no_reason(self.reason)
        if self.sub is not None:
            check_sub(self)  # type: ignore[arg-type]  # it has one
            check_names(self.fields)
        elif self.reason is None:
            raise ValueError("give the reason whose page it is, or the sub whose payment data")
        elif self.rev is not None or self.invoices:
            raise ValueError(f"{'invoices' if self.invoices else 'rev'}: it goes with a sub")
        else:
            check_texts(self.fields)


def check_texts(fields: Mapping[str, str]) -> None:
    """Raise ValueError for texts that cannot be shown."""
    for name, value in fields.items():
        kind, dot, language = name.partition(".")
        if kind not in LENGTHS or (dot and language not in LANGUAGES):
            raise ValueError(
                f"fields.{name}: unknown; known are {', '.join(LENGTHS)}, each also with .{', .'.join(LANGUAGES)}"
            )
        if not 0 < len(value) <= LENGTHS[kind]:
            raise ValueError(f"fields.{name}: 1 to {LENGTHS[kind]} characters")
        plain = value.replace("\u00a0", " ")  # as stands between R$ and an amount
        if not all(line.isprintable() for line in (plain.split("\n") if kind == "text" else [plain])):
            raise ValueError(f"fields.{name}: printable characters only{', and line feeds' if kind == 'text' else ''}")
        if kind == "link":
            _check_link(name, value)
    if len(msgspec.json.encode(fields)) > MOST_BYTES:
        raise ValueError(f"fields: more than {MOST_BYTES} bytes in all")


def _check_link(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        good = False
    if not good or not value.isascii() or set(value) & set(' "<>\\^`{|}'):
        raise ValueError(f"fields.{name}: write an https address without user name, such as https://pay.example.net/")
