"""What one visitor's page holds: a standing, put into words of a language. Pure; equal views are equal pages.

The renderer keeps pages by their view, so a view holds nothing finer than a minute and nothing about a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from edged.domain.levels import Level
from edged.domain.model import REASONS
from edged.domain.standing import Standing
from edged.portal import pages
from edged.portal.languages import Language

Texts = Mapping[str, Mapping[str, str]]
"""What the provider said of a reason's page with a ``page`` command: fields by reason."""


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues."""
    return sentence


MINUTE = 60_000
KEPT = 4096
"""Views kept: some megabytes."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A moment on the page: what it is, the moment in words and for machines, and what is left or to be added."""

    label: str
    text: str
    iso: str
    left: str = ""
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """Somewhere to go. ``kind`` is its class on the page: ``main`` or ``other``."""

    label: str
    href: str
    kind: str = "main"


@dataclass(frozen=True, slots=True)
class View:
    """A page to be drawn. ``state`` is the same for as long as the page need not change; empty: it never does."""

    name: str
    language: str
    tone: str
    title: str
    paragraphs: tuple[str, ...]
    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    note: str = ""
    state: str = ""
    stays: bool = False
    """What changes makes it load itself again, not the main page."""
    dismiss: bool = False
    refresh: int = 0
    """Seconds after which it loads itself again, without JavaScript; only where the visitor has asked for that."""


@dataclass(frozen=True, slots=True)
class Way:
    """What this site can lead to: the provider's customer area ("" for none), its own pay page."""

    customer_area: str
    pay: bool


class Views:
    """Views of one site, kept: most visitors' pages differ in nothing, and thousands a second want to be told so."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._texts: Texts = {}
        self._kept = lru_cache(KEPT)(self._make)

    def view(self, standing: Standing | None, language: Language, now: int, texts: Texts) -> View:
        """As :func:`view`, to the minute. ``texts`` is another object when they have changed."""
        if texts is not self._texts:
            self._texts = texts
            self._kept.cache_clear()
        return self._kept(shown(standing), language, now // MINUTE)

    def _make(self, standing: Standing | None, language: Language, minute: int) -> View:
        return view(standing, language, minute * MINUTE, self._way, self._texts)


def shown(standing: Standing | None) -> Standing | None:
    """What of a standing its page shows, the rest left out."""
    if standing is None:
        return None
    until = standing.until_ms if standing.level <= Level.NOTICE else 0
    tells = until or standing.level == Level.NOTICE
    return replace(
        standing,
        since_ms=0,
        reason=standing.reason if standing.level else "",
        until_ms=until,
        deadline_ms=standing.deadline_ms if standing.reason in {"preventive", "pause"} else 0,
        next_ms=standing.next_ms if standing.level == Level.NOTICE else 0,
        next_level=standing.next_level if tells else 0,
    )


@lru_cache(4096)
def _word(name: str, standing: Standing | None) -> str:
    told = standing and replace(standing, reason="")  # what the page is called says enough of that
    return f"{name}-{hashlib.blake2b(repr(told).encode(), digest_size=6).hexdigest()}"


def state(standing: Standing | None) -> str:
    """A word that changes exactly when what a page says of ``standing`` does; tells nothing to others."""
    return _word(pages.page_name(standing), shown(standing))


def view(standing: Standing | None, language: Language, now: int, way: Way, texts: Texts) -> View:
    """The main page of somebody with ``standing``; ``now`` in Unix milliseconds."""
    name = pages.page_name(standing)
    if standing is None:
        return replace(_worded(name, language, state(standing)), links=_links(None, way, language, name))
    found = _worded(name, language, state(standing), standing.level)
    asked = standing.asked and pages.may_promise(name)
    own = _own(texts.get(standing.reason, {}), language.code) if standing.level != Level.OPEN else {}
    said = own if _is_own_stage(standing, name) else {}
    paragraphs = tuple(p for p in said.get("text", "").splitlines() if p.strip()) or found.paragraphs
    if standing.outage and name != "outage":
        paragraphs += (language.say(pages.OUTAGE),)
    links = _links(standing, way, language, name)
    if own.get("link", "").startswith("https://"):
        links += (Link(own.get("link_text") or own["link"], own["link"], "other"),)
    return replace(
        found,
        title=said.get("title") or found.title,
        paragraphs=paragraphs,
        facts=tuple(_facts(standing, name, language, now)),
        links=links,
        note=language.say(pages.ASKED) if asked else "",
        dismiss=standing.level == Level.NOTICE,
    )


def can_promise(standing: Standing) -> bool:
    """Whether a promise is offered."""
    return standing.can_trust and not standing.asked and pages.may_promise(pages.page_name(standing))


def can_pay(standing: Standing) -> bool:
    """Whether there is something to pay, and the page leads there (over TLS)."""
    return standing.pays and pages.may_pay(pages.page_name(standing))


def _is_own_stage(standing: Standing, name: str) -> bool:
    """Whether this is the page that the provider's words of the reason were written for: no milder stage of it.

    Walled and blocked are one: what is open beside the page is nothing that the words are about.
    """
    usual = REASONS.get(standing.reason, Level.OPEN)
    return min(standing.level, Level.WALLED) == min(usual, Level.WALLED) and name != "broken"


def fixed(name: str, language: Language, note: str = "") -> View:
    """A page that depends on nobody's standing."""
    return replace(_worded(name, language, ""), note=language.say(note))


def _worded(name: str, language: Language, told: str, level: int = Level.OPEN) -> View:
    words = pages.words(name, level)
    said = tuple(language.say(sentence) for sentence in words.paragraphs)
    return View(name, language.code, words.tone, language.say(words.title), said, state=told)


def _own(fields: Mapping[str, str], code: str) -> dict[str, str]:
    """The provider's words for a language: those with its suffix (``.es``, ``.pt-BR``), else those without."""
    plain = {key: text for key, text in fields.items() if "." not in key}
    return plain | {key.partition(".")[0]: text for key, text in fields.items() if key.partition(".")[2] == code}


def _links(standing: Standing | None, way: Way, language: Language, name: str) -> tuple[Link, ...]:
    """Where to go from here, the best first."""
    found = []
    if standing is not None and can_pay(standing) and way.pay:
        found.append((_("Pay with PIX or boleto"), "/pay"))
    if way.customer_area and (action := pages.PAGES[name].action):
        found.append((action, way.customer_area))
    if standing is not None and can_promise(standing):
        found.append((_("Promise the payment and go online"), "/promise"))
    first = "other" if name == "notice" else "main"  # there the button that sends the reminder away comes first
    return tuple(Link(language.say(label), href, "other" if n else first) for n, (label, href) in enumerate(found))


def _facts(standing: Standing, name: str, language: Language, now: int) -> list[Fact]:
    found = []

    def add(label: str, ms: int, *, counts: bool) -> None:
        if ms > now:
            left = language.left(ms - now) if counts else ""
            found.append(Fact(language.say(label), language.moment(ms), language.iso(ms), left, counts))

    slows = standing.next_level == Level.REDUCED
    promised = standing.until_ms if standing.level <= Level.NOTICE else 0  # under more than that, nothing is open
    add(_("Full speed until") if slows else _("Open until"), promised, counts=True)
    if name == "documents":
        add(_("Please send them by"), standing.deadline_ms, counts=False)
    if name == "paused":
        add(_("The pause ends"), standing.deadline_ms, counts=False)
    if name == "notice" and not promised:
        less = _("If nothing changes, the speed is reduced from")
        add(less if slows else _("If nothing changes, the access pauses from"), standing.next_ms, counts=False)
    if standing.outage:
        add(_("Estimated end of the outage"), standing.eta_ms, counts=False)
        if found and standing.eta_ms > now:
            found[-1] = replace(found[-1], left=language.say(pages.EXTENDED))
    return found


def noted(found: View, note: str) -> View:
    """The same page with a word on top of what somebody has just tried."""
    return replace(found, note=note)
