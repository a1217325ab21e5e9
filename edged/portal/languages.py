"""Which language a visitor reads, and how that language says sentences, moments, lengths of time and money.

Sentences stand in English in the code and in the templates; ``locale/<language>/LC_MESSAGES/portal.po`` has the others.
The catalogues are read when the portal starts (docs/decisions/0018-the-site.md says why not compiled files), moments
and numbers are written by Babel from the Unicode CLDR.
"""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import cached_property, lru_cache
from importlib import resources

import babel
from babel import dates, numbers
from babel.messages import mofile, pofile

LANGUAGES = ("pt-BR", "en", "es")
"""As an HTML page names them. English is what the code is written in and needs no catalogue."""

_SPOKEN = {"pt": "pt-BR", "en": "en", "es": "es"}
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def choose_language(accepted: str, default: str) -> str:
    """The one of LANGUAGES that an Accept-Language header (RFC 9110 §12.5.4) likes best; ``default`` if it names none.

    Regions are not told apart: whoever reads pt-PT is better served with pt-BR than with English.
    """
    return _chosen(accepted[:512], default)


@lru_cache(256)
def _chosen(accepted: str, default: str) -> str:
    best, weight = default, 0.0
    for part in accepted.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        quality = float(found[2]) if found[2] else 1.0
        spoken = default if found[1] == "*" else _SPOKEN.get(found[1].lower())
        if spoken is not None and quality > weight:
            best, weight = spoken, quality
    return best


class Language:
    """One language. ``zone`` is where its moments are told. Raises ValueError when its catalogue cannot be read."""

    def __init__(self, code: str, zone: tzinfo) -> None:
        self.code = code
        self._zone = zone
        self._locale = babel.Locale.parse(code, sep="-")

    @cached_property
    def catalogue(self) -> gettext.NullTranslations:
        """Its sentences, as gettext has them."""
        if self.code == "en":
            return gettext.NullTranslations()
        file = resources.files("edged.portal") / "locale" / self.code.replace("-", "_") / "LC_MESSAGES" / "portal.po"
        compiled = io.BytesIO()
        mofile.write_mo(compiled, pofile.read_po(io.BytesIO(file.read_bytes()), locale=self._locale))
        compiled.seek(0)
        return gettext.GNUTranslations(compiled)

    def say(self, sentence: str) -> str:
        """``sentence`` in this language; as it is where the catalogue lacks it."""
        return self.catalogue.gettext(sentence) if sentence else ""

    def moment(self, ms: int) -> str:
        """A day and an hour: ``sexta-feira, 27 de novembro, 18:00``. ``ms``: Unix milliseconds."""
        at = self._at(ms)
        weekday = dates.format_date(at, "EEEE", locale=self._locale)
        day = dates.format_skeleton("MMMMd", at, locale=self._locale)
        return f"{weekday}, {day}, {dates.format_time(at, 'HH:mm', locale=self._locale)}"

    def iso(self, ms: int) -> str:
        """The same for ``<time datetime>``."""
        return self._at(ms).isoformat(timespec="minutes")

    def left(self, ms: int) -> str:
        """How long it is until then: ``em 23 horas``. ``ms``: milliseconds from now."""
        return dates.format_timedelta(max(ms, 0) // 1000, granularity="minute", add_direction=True, locale=self._locale)

    def day(self, text: str) -> str:
        """``2026-11-30`` as people write it. Raises ValueError."""
        return dates.format_date(datetime.strptime(text, "%Y-%m-%d").date(), "long", locale=self._locale)  # noqa: DTZ007  a day has no zone

    def month(self, text: str) -> str:
        """``2026-11`` as people write it. Raises ValueError."""
        return dates.format_skeleton("yMMMM", datetime.strptime(text, "%Y-%m"), locale=self._locale)  # noqa: DTZ007  a month has no zone

    def money(self, text: str) -> str:
        """``123.45`` in reais. Raises decimal.InvalidOperation."""
        return f"R$ {numbers.format_decimal(Decimal(text), '#,##0.00', locale=self._locale)}"

    def _at(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, self._zone)


def languages(zone: tzinfo) -> Mapping[str, Language]:
    """All of LANGUAGES, their catalogues read. Raises ValueError or OSError: the installation is broken."""
    made = {code: Language(code, zone) for code in LANGUAGES}
    for one in made.values():
        one.say("You are online")
        one.moment(0)
    return made
