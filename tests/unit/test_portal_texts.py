"""Which page, in which language, and what no page may say."""

from __future__ import annotations

import re

import pytest

from edged.domain.standing import Standing
from edged.portal.texts import LANGUAGES, choose_language, page_name, words
from edged.portal.wire import REASONS

NAMES = ["online", "notice", "reduced", "debt", "contact", "general"]


@pytest.mark.parametrize(
    ("standing", "name"),
    [
        (None, "general"),
        (Standing(0, "", 0), "online"),
        (Standing(0, "", 1_700_000_000_000), "online"),
        (Standing(1, "notice", 0), "notice"),
        (Standing(2, "debt_partial", 0), "reduced"),
        (Standing(3, "debt", 0), "debt"),
        (Standing(3, "operator", 0), "contact"),
        (Standing(3, "fraud", 0), "contact"),
        (Standing(3, "other", 0), "contact"),
        (Standing(4, "debt", 0), "contact"),
        (Standing(4, "court", 0), "contact"),
    ],
)
def test_page_by_level_and_reason(standing: Standing | None, name: str) -> None:
    assert page_name(standing) == name


@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("reason", ["", "other", *REASONS])
def test_every_standing_has_words_in_every_language(level: int, reason: str) -> None:
    for language in LANGUAGES:
        assert words(page_name(Standing(level, reason, 0)), language).title


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_no_amount_no_threat_no_discount(name: str, language: str) -> None:
    page = words(name, language)
    text = " ".join([page.title, *page.paragraphs, page.action]).lower()
    assert not re.search(r"[\d$%]", text)
    banned = (
        "inadimpl devedor dívida protesto serasa spc judicial multa desconto debtor default fine court discount".split()
    )
    assert not [word for word in banned if re.search(rf"\b{word}", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_contact_only_pages_offer_no_payment(language: str) -> None:
    assert not words("contact", language).action
    assert not re.search("pag[ao]|pay", " ".join(words("contact", language).paragraphs).lower())


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "pt-BR"),
        ("pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("en-US,en;q=0.9", "en"),
        ("EN", "en"),
        ("de, en;q=0.5, pt;q=0.4", "en"),
        ("en;q=0.3, pt;q=0.8", "pt-BR"),
        ("fr", "pt-BR"),
        ("*", "pt-BR"),
        ("en;q=0", "pt-BR"),
        ("en;q=banana", "pt-BR"),
        (",,;;q=,en", "en"),
        ("x" * 100_000, "pt-BR"),
    ],
)
def test_language(accepted: str, language: str) -> None:
    assert choose_language(accepted, "pt-BR") == language


def test_the_default_is_the_providers() -> None:
    assert choose_language("fr", "en") == "en"
    assert choose_language("fr, *;q=0.1", "en") == "en"
