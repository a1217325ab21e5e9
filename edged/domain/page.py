"""The command ``page`` (contract §1): what billing adds to the page of a reason, or a subscriber's payment data. Pure.

Laws:

1. Texts are plain: printable characters, lines in ``text`` alone. What is drawn with them is the portal's business.
2. What one page shows of them is bounded as it is written there.
3. A link is https and shown as what it is.
4. A language suffix is one of those that the page speaks; a field without one is for all of them.
"""

from __future__ import annotations

import html
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

MOST_WRITTEN = 6000
"""Bytes of what one language's page shows of them, as HTML: pages are read on slow lines. All that is allowed by its
characters and has few lines and few of ``& < > " '`` is below, whatever the script."""
_LINE = len("<p></p>\n")

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
    for language in LANGUAGES:
        shown = {kind: fields[name] for kind in LENGTHS if (name := _name(kind, language, fields)) in fields}
        if (size := _written(shown)) > MOST_WRITTEN:
            raise ValueError(
                f"fields.{_name('text', language, fields)}: on the page in {language} title, text and link take {size} "
                f"bytes, at most {MOST_WRITTEN}; write fewer lines, and fewer of & < > \" '"
            )


def _name(kind: str, language: str, fields: Mapping[str, str]) -> str:
    """The field that a page in ``language`` shows as ``kind``."""
    return own if (own := f"{kind}.{language}") in fields else kind


def _written(shown: Mapping[str, str]) -> int:
    """Bytes of these texts on a page, at most: escaped, each line a paragraph, a link that has no text twice."""
    texts = [*shown.values(), *([shown["link"]] if "link" in shown and "link_text" not in shown else [])]
    escaped = sum(len(html.escape(text).encode()) for text in texts)
    return escaped + _LINE * len(shown.get("text", "").split("\n"))


def _check_link(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        good = False
    if not good or not value.isascii() or set(value) & set(' "<>\\^`{|}'):
        raise ValueError(f"fields.{name}: write an https address without user name, such as https://pay.example.net/")
